"""Random loads with readers on every replica: at each moment a replica shows
a prefix of the primary, and at each rest the same."""
import collections
import random
import time

import chain
import cluster
import sql
import workers
from runner import LONG, expect, expect_eq, test, until

ROUNDS = 10 if LONG else 4
SECONDS = 1.5  # of load, between two compare points
WRITERS = 3


class Load:
    """Databases with writers on the primary and readers on the replicas."""

    def __init__(self, stage, nodes, layouts, synchronous=sql.SYNCHRONOUS):
        self.stage, self.nodes = stage, nodes
        self.names, self.journals, self.synchronous = [], {}, synchronous
        self.writers, self.readers, self.floods = [], [], []
        for layout in layouts:
            self.create(*layout)

    def create(self, name, page_bytes, mode, auto_vacuum="none"):
        with sql.connect(self.nodes.primary.path(name), page_size=page_bytes,
                         auto_vacuum=auto_vacuum,
                         journal_mode=mode) as connection:
            chain.create(connection, self.stage.rng)
        self.names.append(name)
        # A journal mode but WAL is each connection's own: where one has no
        # journal, all kinds meet.
        self.journals[name] = sql.JOURNAL_MODES[1:] \
            if mode in ("memory", "off") else ("delete", "truncate", "persist")
        self.stage.say(name, page_bytes, mode, auto_vacuum)

    def paths(self, node):
        return [node.path(name) for name in self.names]

    def start_writers(self, count=WRITERS):
        journals = {self.nodes.primary.path(name): self.journals[name]
                    for name in self.names}
        for _ in range(count):
            self.writers.append(workers.Worker(
                chain.write, self.paths(self.nodes.primary),
                self.stage.rng.random(), self.synchronous, journals))

    def create_flood(self, name):
        """Not for writers and readers of chains: see start_pressure()."""
        with sql.connect(self.nodes.primary.path(name),
                         journal_mode="wal") as connection:
            chain.create_flood(connection)
        self.floods.append(name)

    def start_pressure(self, names, level):
        """Commits in quick succession beside transactions that keep the
        daemon busy: it must lag behind now and then."""
        path = self.nodes.primary.path
        self.writers += [workers.Worker(
            chain.hurry, path(name), self.stage.rng.random(), level)
            for name in names]
        self.writers += [workers.Worker(chain.flood, path(name), level)
                         for name in self.floods]

    def start_readers(self, nodes):
        for name in self.names:
            self.nodes.settle(name)
        for node in nodes:
            self.readers.append(workers.Worker(
                chain.read, self.paths(node), self.stage.rng.random()))

    def run(self, seconds=SECONDS):
        """Load for a while: time is what is wanted here, not an event."""
        steps = int(seconds / 0.1)
        for _ in range(steps):
            for worker in self.writers + self.readers:
                worker.check()
            time.sleep(0.1)

    def compare(self):
        """Readers go on; writers rest."""
        workers.pause(self.writers)
        names = self.nodes.compare_all()
        expect(set(self.names) <= set(names), "databases are missing")
        workers.resume(self.writers)

    def stop(self):
        did = collections.Counter()
        for one in workers.stop(self.writers):
            did.update(one)
        self.nodes.compare_all()
        looks = sum(result[0] for result in workers.stop(self.readers))
        self.stage.say(dict(did), looks, "reads on replicas")
        expect(did["commits"] > 0, "nothing was written")
        self.writers, self.readers, self.names = [], [], []
        return did


def layouts(stage, page_bytes=None):
    """Three databases: one in WAL mode, one not, one of any kind; of this
    page size or of any."""
    rng, suffix = stage.rng, page_bytes or ""

    def pick(name, modes):
        return ("%s%s.db" % (name, suffix),
                page_bytes or rng.choice(sql.PAGE_SIZES), rng.choice(modes),
                rng.choice(("none", "none", "full", "incremental")))
    return [pick("wal", ("wal",)),
            pick("journal", ("delete", "truncate", "persist")),
            pick("sub/any", sql.JOURNAL_MODES)]


# What a long run must have done; a short one does what its dice say.
HABITS = set(chain.CHECKPOINTS) | {"commits", "savepoints", "attached",
                                   "rollbacks", "vacuums", "shrunk",
                                   "reconnects"}


@test(seconds=120 if not LONG else 1200)
def a_replica_shows_a_prefix_at_each_moment_and_the_same_at_rest(stage):
    nodes = cluster.Cluster(stage, 2).start()
    cluster.os.mkdir(nodes.primary.path("sub"))
    did = collections.Counter()
    for page_bytes in sql.PAGE_SIZES if LONG else (None,):
        load = Load(stage, nodes, layouts(stage, page_bytes))
        load.start_writers()
        load.start_readers(nodes.replicas)
        for _ in range(ROUNDS):
            load.run()
            load.compare()
        did.update(load.stop())
    expect(not LONG or set(did) >= HABITS, "not done: %s"
           % sorted(HABITS - set(did)))


def switch_to_wal(path):
    """SQLite asks no busy handler for this; people try again, and beside
    others who always write they need luck."""
    def attempt():
        try:
            return sql.pragma(connection, "journal_mode", "wal") == "wal"
        except sql.sqlite3.OperationalError as error:
            expect("locked" in str(error), str(error))
            return False
    with sql.connect(path) as connection:
        until(attempt, "%s stays in rollback mode" % path, 90)


def write_beside_workers(control, cpu, *arguments):
    cluster.os.sched_setaffinity(0, {cpu})
    return chain.write(control, *arguments)


@test(seconds=150 if not LONG else 1200)
def no_commit_of_any_journal_is_missed_when_the_workers_are_slow(stage):
    """Each connection has its own journal mode and level: a commit that the
    node hears of in one way follows at once on one heard of in another. Then
    the database becomes a WAL database while that is going on."""
    nodes = cluster.Cluster(stage, 1).start()
    load = Load(stage, nodes, [("a.db", 1024, "delete")])
    load.start_readers(nodes.replicas)
    cpu = nodes.primary.starve_workers()
    for level in ("off", "normal", "full") * 2:
        load.writers.append(workers.Worker(
            write_beside_workers, cpu, load.paths(nodes.primary),
            stage.rng.random(), (level,), sql.JOURNAL_MODES[1:5]))
    for n in range(ROUNDS):
        load.run()
        if n == ROUNDS - 1:
            switch_to_wal(nodes.primary.path("a.db"))
            load.run(0.5)
        nodes.primary.starve_workers(False)
        load.compare()
        nodes.primary.starve_workers()
    nodes.primary.starve_workers(False)
    load.stop()


@test(seconds=120 if not LONG else 1200)
def a_live_switch_to_wal_is_followed(stage):
    nodes = cluster.Cluster(stage, 1).start()
    load = Load(stage, nodes, [
        ("one.db", stage.rng.choice(sql.PAGE_SIZES), "delete"),
        ("two.db", stage.rng.choice(sql.PAGE_SIZES), "truncate")])
    load.start_writers()
    load.start_readers(nodes.replicas)
    load.run(0.5)
    for name in load.names:
        switch_to_wal(nodes.primary.path(name))
        load.run(0.7)
        load.compare()
    load.run(0.5)
    load.stop()


def pressed(stage, nodes, synchronous, level, check):
    """Load under which a daemon lags behind; check is asked after each round.
    Databases are dealt out to the daemon's threads in turn: the third and the
    fourth after one share its thread, however many there are (4 at most)."""
    load = Load(stage, nodes, [
        ("hurried.db", 4096, "wal"), ("rushed.db", 4096, "wal"),
        ("any.db", stage.rng.choice(sql.PAGE_SIZES), "wal")], synchronous)
    load.create_flood("third.db")
    load.create_flood("fourth.db")
    load.start_writers()
    load.start_pressure(("hurried.db", "rushed.db"), level)
    load.start_readers(nodes.replicas)
    for _ in range(ROUNDS // 2):
        load.run()
        load.compare()
        check()
    load.stop()
    check()


def counters(nodes, what):
    return {name: one["counters"][what]
            for name, one in nodes.primary.databases().items()}


@test(seconds=120 if not LONG else 1200)
def without_synchronous_off_no_commit_is_ever_missed(stage):
    nodes = cluster.Cluster(stage, 1).start()

    def check():
        gaps = counters(nodes, "gaps")
        expect_eq(gaps, dict.fromkeys(gaps, 0), "gaps")
    pressed(stage, nodes, ("normal", "full"), "normal", check)


@test(seconds=120 if not LONG else 1200)
def what_synchronous_off_lets_slip_is_healed_and_counted(stage):
    nodes = cluster.Cluster(stage, 1).start()

    def check():
        gaps = counters(nodes, "gaps")

        def healed():  # the load goes on: one may be under way just now
            rereads = counters(nodes, "rereads")
            return all(rereads[name] >= count for name, count in gaps.items())
        until(healed, "gaps without a reread: %s" % gaps)
        stage.say("gaps", gaps, "rereads", counters(nodes, "rereads"))
    pressed(stage, nodes, ("off",), "off", check)
    expect(sum(counters(nodes, "gaps").values()) > 0,
           "nothing slipped: a load too light")


def churn(control, path, seed):
    """Rewrites one large row after the other: WALs fill up quickly. With
    rests, so that a checkpoint also meets a commit after some silence."""
    done, rng = 0, random.Random(seed)
    with sql.connect(path, synchronous="normal",
                     wal_autocheckpoint=2000) as connection:
        while control.running():
            with sql.transaction(connection):
                connection.execute(
                    "UPDATE big SET n = n + 1, v = randomblob(100000)"
                    " WHERE id = ?", (done % 20,))
                connection.execute("UPDATE total SET n = n + 1")
            done += 1
            if rng.random() < 0.1:
                time.sleep(rng.random() * 0.02)
    return done


def count(control, path):
    """Both tables must always tell the same number of transactions."""
    looks, last = 0, 0
    reader = sql.open_reader(path)
    while control.running():
        left, right = reader.execute(
            "SELECT (SELECT sum(n) FROM big), (SELECT n FROM total)"
        ).fetchone()
        expect_eq(left, right, "a torn transaction")
        expect(left >= last, "went back")
        looks, last = looks + 1, left
    reader.close()
    return looks


@test(seconds=60)
def a_replica_whose_wal_starts_over_under_load_loses_nothing(stage):
    nodes = cluster.Cluster(stage, 1).start()
    path = nodes.primary.path("app.db")
    with sql.connect(path, journal_mode="wal") as connection:
        connection.execute("CREATE TABLE big(id INTEGER PRIMARY KEY,"
                           " n INTEGER, v BLOB)")
        connection.execute("CREATE TABLE total(n INTEGER)")
        connection.execute("INSERT INTO total VALUES (0)")
        connection.executemany("INSERT INTO big VALUES (?, 0, NULL)",
                               [(i,) for i in range(20)])
    nodes.settle("app.db")
    writer = workers.Worker(churn, path, stage.rng.random())
    reader = workers.Worker(count, nodes.replicas[0].path("app.db"))

    def resets():
        writer.check()
        reader.check()
        return nodes.replicas[0].databases()["app.db"]["counters"]["resets"]
    until(lambda: resets() >= 4, "the WAL of the replica never starts over",
          40, pause=0.2)
    writer.stop()
    nodes.compare("app.db")
    reader.stop()
