"""Sessions on a primary and two replicas, in trouble of every kind drawn from
the seed: what they saw obeys all laws. Without waiting it does not: that the
checker must find."""
import collections
import os
import time

import cluster
import history
import proxy
import sessions
import sql
import workers
from runner import LONG, expect, expect_eq, test, until

ROUNDS = int(os.environ.get("ROUNDS", "1000" if LONG else "8"))
CHAPTER = 20  # rounds between two rests, each with a database of its own
PEOPLE = 4
EQUAL_SECONDS = 30  # after the trouble is over
MODES = ("wal", "wal", "delete", "truncate", "persist")
MILD = ("cut", "reset", "flip")


class Ordeal:
    def __init__(self, stage, is_waiting=True, settings=()):
        self.stage, self.is_waiting = stage, is_waiting
        self.nodes = proxy.Apart(stage, 2, settings=settings).start()
        self.people, self.chapter, self.did = [], 0, collections.Counter()

    # ---- a chapter ---------------------------------------------------------

    def begin(self):
        self.chapter += 1
        self.database = "%d.db" % self.chapter
        self.folder = self.stage.path("chapter%d" % self.chapter)
        os.mkdir(self.folder)
        mode = self.stage.rng.choice(MODES)
        with sql.connect(self.nodes.primary.path(self.database),
                         journal_mode=mode) as connection:
            sessions.create(connection)
        self.nodes.settle(self.database, EQUAL_SECONDS)
        self.stage.say(self.database, mode)
        places = [(node.name, node.mount, node.config, node.binary)
                  for node in self.nodes.nodes]
        self.people = [workers.Worker(
            sessions.live, "person%d" % number, places, self.database,
            self.folder, self.stage.rng.random(), self.is_waiting)
            for number in range(PEOPLE)]

    def end(self):
        """The trouble is over: people go home, all nodes are equal."""
        self.nodes.heal()
        record = sessions.Record(os.path.join(self.folder, "end.history"),
                                 "end")
        levels = workers.stop(self.people, sessions.OPEN_SECONDS + 30)
        self.people = []
        invoked = time.monotonic()
        self.rest()
        token = self.nodes.primary.token(self.database)
        for node in self.nodes.replicas:
            node.reach(self.database, token, EQUAL_SECONDS)
        record.write("heal", invoked, status="ok", deadline=EQUAL_SECONDS)
        for node in self.nodes.nodes:
            reader = sql.open_reader(node.path(self.database), 5.0)
            record.write("dump", time.monotonic(), node=node.name,
                         status="ok", chain=sessions.dump(reader))
            reader.close()
        return self.judge(levels)

    def rest(self):
        """Nobody has it open: what was held back no longer is."""
        for node in self.nodes.nodes:
            until(lambda n=node: n.databases()[self.database]["state"] !=
                  "held_back", "it is held back for nobody", EQUAL_SECONDS)

    def judge(self, levels):
        """What is wrong in what they wrote down."""
        lines = history.load(*[os.path.join(self.folder, name)
                               for name in sorted(os.listdir(self.folder))
                               if name.endswith(".history")])
        said = collections.Counter((one["op"], one["status"])
                                   for one in lines)
        self.did.update("%s %s" % key for key in said.elements())
        self.stage.say(self.database, levels, {
            "%s %s" % key: count for key, count in sorted(said.items())})
        expect(said["read", "ok"] > 0 and said["write", "ok"] > 0,
               "nobody did anything: %s" % said)
        # No power was cut: what is in a WAL stays, whatever its level.
        return history.check(lines, ("full", "normal"))

    # ---- trouble -----------------------------------------------------------

    def check(self):
        for one in self.people:
            one.check()

    def spend(self, seconds):
        """Time is what is wanted here, not an event."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.check()
            time.sleep(0.05)

    def break_way(self):
        rng, between = self.stage.rng, self.stage.rng.choice(
            self.nodes.proxies)
        kind, way = rng.choice(MILD), rng.choice(("up", "down", "down"))
        words = "%s.%s=+%d" % (way, kind, rng.randrange(1, 20000) *
                               (8 if kind == "flip" else 1))
        between.set(words)
        return words

    def silence_way(self):
        rng, between = self.stage.rng, self.stage.rng.choice(
            self.nodes.proxies)
        words = rng.choice(("stall=0", "up.stall=0", "down.stall=0",
                            "down.stall=+%d" % rng.randrange(5000)))
        between.set(words)
        # For less, and for more, than it takes to notice.
        self.spend(rng.choice((0.5, 2.0, 7.0)))
        between.set("heal")
        return words

    def refuse(self):
        between = self.stage.rng.choice(self.nodes.proxies)
        between.set("refuse=1", "up.cut=0")
        self.spend(self.stage.rng.uniform(0.1, 2.0))
        between.set("heal")
        return "refuse"

    def slow_down(self):
        between = self.stage.rng.choice(self.nodes.proxies)
        words = "delay=%d jitter=%d" % (self.stage.rng.choice((0, 5, 80)),
                                        self.stage.rng.choice((0, 30)))
        between.set(words)
        return words

    def kill(self, nodes):
        for node in nodes:
            node.kill()
        self.spend(self.stage.rng.choice((0, 0, 1.0)))
        for node in nodes:
            node.launch()
        for node in nodes:
            node.wait_ready()
        return "kill " + " ".join(node.name for node in nodes)

    def round(self):
        rng = self.stage.rng
        self.spend(rng.uniform(0.1, 0.8))
        dice = rng.random()
        if dice < 0.3:
            said = self.break_way()
        elif dice < 0.45:
            said = self.silence_way()
        elif dice < 0.55:
            said = self.refuse()
        elif dice < 0.65:
            said = self.slow_down()
        elif dice < 0.82:
            said = self.kill([rng.choice(self.nodes.replicas)])
        elif dice < 0.96:
            said = self.kill([self.nodes.primary])
        else:
            said = self.kill(self.nodes.nodes)
        self.stage.say(said)


def expect_lawful(wrong):
    expect(not wrong, "%d violations:\n%s" % (len(wrong), "\n".join(
        "%s: %s" % one for one in wrong[:20])))


@test(seconds=120 + 15 * ROUNDS, sample=True)
def in_any_trouble_each_session_sees_its_writes_and_never_goes_back(stage):
    ordeal = Ordeal(stage)
    for done in range(0, ROUNDS, CHAPTER):
        ordeal.begin()
        for _ in range(min(CHAPTER, ROUNDS - done)):
            ordeal.round()
        expect_lawful(ordeal.end())
    stage.say(dict(ordeal.did))


# In passthrough mode its database is held back, and nobody reaches a token.
@test(seconds=60, modes=("classic",))
def a_connection_of_before_a_daemon_died_is_known_by_its_mounts_device(stage):
    nodes = cluster.pair(stage)
    replica = nodes.replicas[0]
    with sql.connect(nodes.primary.path("app.db"), journal_mode="wal") as db:
        db.execute("CREATE TABLE t(n)")
    nodes.settle("app.db")
    query = "SELECT count(*) FROM t"
    old = sql.open_reader(replica.path("app.db"))
    expect_eq(sql.one(old, query), 0, "rows at first")
    device = os.stat(replica.mount).st_dev
    replica.kill().start()
    with sql.connect(nodes.primary.path("app.db")) as db:
        db.execute("INSERT INTO t VALUES (1)")
    replica.reach("app.db", nodes.primary.token("app.db"))
    try:
        said = "%d rows" % sql.one(old, query)
    except sql.sqlite3.OperationalError as error:
        said = str(error)
    stage.say("the old connection says", said)
    expect(os.stat(replica.mount).st_dev != device, "the same device")
    old.close()
    expect_eq(sql.look(replica.path("app.db"), query), 1, "rows for a new one")


@test(seconds=60, sample=True)
def who_does_not_wait_is_found_reading_what_is_old(stage):
    ordeal = Ordeal(stage, is_waiting=False, settings=("delay=30",))
    ordeal.begin()
    ordeal.spend(3)
    broken = {law for law, _ in ordeal.end()}
    expect_eq(broken, {"read-your-writes", "monotonic-reads"}, "laws broken")
