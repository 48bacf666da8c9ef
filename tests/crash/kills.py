"""Daemons killed at random moments under load: they come back by themselves,
equal, with every commit that an application was told of."""
import collections
import os
import random
import sqlite3
import time

import chain
import cluster
import sql
import workers
from runner import expect, test, until

KILLS = int(os.environ.get("KILLS", "6"))
ROUND = 20  # kills between two comparisons
JOURNALS = ("delete", "truncate", "persist")
LEVELS = (("full",), ("normal",), sql.SYNCHRONOUS)  # of each application


def hold_on(control, paths, seed, levels, acknowledged):
    """An application that starts over whenever it gets an error, and writes
    down outside of everything what it was told is committed."""
    errors = 0
    with open(acknowledged, "a", encoding="ascii") as told:
        def heard(path, n, name):
            told.write("%s %d %s\n" % (os.path.basename(path), n, name))
            told.flush()
        writer = chain.Writer(paths, seed, levels, JOURNALS, heard, busy=2.0,
                              is_to_survive=True)
        while control.running():
            try:
                writer.step()
            except sqlite3.OperationalError:
                errors += 1
                writer.close()
                time.sleep(0.02)  # an application does not spin either
        writer.close()
    writer.did["errors"] = errors
    return writer.did


def circumstances(reader):
    """What a reader of nonsense has open, and what another one sees."""
    name = os.path.basename(reader.path)
    said = []
    for number in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink("/proc/self/fd/" + number)
        except OSError:
            continue
        if name in target:
            with open("/proc/self/fdinfo/" + number) as file:
                mount = [line.split()[1] for line in file
                         if line.startswith("mnt_id")]
            said.append("%s on mount %s" % (os.path.basename(target),
                                            mount[0]))
    said.append("header and mark %s" % time.time())
    try:
        with sql.open_reader(reader.path) as other:
            said.append("a new connection: %s" % other.execute(
                "PRAGMA integrity_check").fetchall()[:3])
    except sqlite3.Error as error:
        said.append("a new connection: %s" % error)
    return ", ".join(said)


def keep_reading(control, paths, seed):
    """A reader of a replica that opens again whenever it gets an error: what
    it sees goes on from what it saw, whoever was killed meanwhile."""
    rng = random.Random(seed)
    readers = [chain.Reader(path, mapped=0) for path in paths]
    looks = 0
    while control.running():
        reader = rng.choice(readers)
        try:
            if reader.connection is None or rng.random() < 0.02:
                reader.open(rng)
            reader.look()
            looks += 1
        except sqlite3.OperationalError:
            reader.close()
            time.sleep(0.02)
        except sqlite3.DatabaseError as error:
            raise AssertionError("%s: %s; %s" % (reader.path, error,
                                                 circumstances(reader))) \
                from error
    for reader in readers:
        reader.close()
    return looks


class Ordeal:
    """Databases, applications on the primary, readers on the replica."""

    def __init__(self, stage):
        self.stage = stage
        self.nodes = cluster.Cluster(stage, 1).start()
        self.record = stage.path("acknowledged")
        self.names = []
        for mode in ("wal", stage.rng.choice(JOURNALS),
                     stage.rng.choice(("wal",) + JOURNALS)):
            self.create("%d.db" % len(self.names), mode)

    def create(self, name, mode):
        rng = self.stage.rng
        page_bytes = rng.choice(sql.PAGE_SIZES)
        vacuum = rng.choice(("none", "none", "full", "incremental"))
        with sql.connect(self.nodes.primary.path(name), page_size=page_bytes,
                         auto_vacuum=vacuum, journal_mode=mode) as connection:
            chain.create(connection, rng)
        self.nodes.settle(name)
        self.names.append(name)
        self.stage.say(name, page_bytes, mode, vacuum)

    def paths(self, node):
        return [node.path(name) for name in self.names]

    def kill_some(self):
        time.sleep(self.stage.rng.uniform(0.1, 1.0))  # the moment is the point
        dice = self.stage.rng.random()
        nodes = self.nodes.nodes if dice < 0.1 else \
            [self.nodes.primary if dice < 0.55 else self.nodes.replicas[0]]
        self.stage.say("kill", *[node.name for node in nodes])
        for node in nodes:
            node.kill()
        for node in nodes:
            node.launch()
        for node in nodes:
            node.wait_ready()

    def round(self, kills):
        rng = self.stage.rng
        writers = [workers.Worker(
            hold_on, self.paths(self.nodes.primary), rng.random(), levels,
            self.record) for levels in LEVELS]
        readers = [workers.Worker(
            keep_reading, self.paths(self.nodes.replicas[0]), rng.random())]
        for _ in range(kills):
            for one in writers + readers:
                one.check()
            self.kill_some()
        self.commits_go_on()
        did = collections.Counter()
        for one in workers.stop(writers):
            did.update(one)
        looks = workers.stop(readers)[0]
        self.rest()
        self.stage.say(dict(did), looks, "reads on the replica")
        expect(looks > 0, "nothing was read")

    def commits_go_on(self):
        before = os.path.getsize(self.record)
        until(lambda: os.path.getsize(self.record) > before,
              "nobody can commit any more")

    def rest(self):
        """Nobody has anything open: what was held back no longer is."""
        for node in self.nodes.nodes:
            until(lambda n=node: not any(
                one["state"] == "held_back" for one in n.databases().values()),
                "a database is held back for nobody")
        self.nodes.compare_all(seconds=30)
        self.check()

    def told(self):
        with open(self.record, encoding="ascii") as file:
            lines = [line.split() for line in file if line.endswith("\n")]
        result = {name: {} for name in self.names}
        for name, n, unique in lines:
            expect(int(n) not in result[name],
                   "two commits %s of %s were acknowledged" % (n, name))
            result[name][int(n)] = unique
        return result

    def check(self):
        """All that was acknowledged is there; old rows of chain are not."""
        for name, said in self.told().items():
            with sql.connect(self.nodes.primary.path(name)) as connection:
                (last,) = connection.execute("SELECT n FROM head").fetchone()
                rows = dict(connection.execute("SELECT n, id FROM chain"))
            for n, unique in said.items():
                expect(n <= last, "%s: commit %d is gone, the last is %d"
                       % (name, n, last))
                expect(rows.get(n, unique) == unique,
                       "%s: commit %d is another" % (name, n))
            self.stage.say(name, len(said), "acknowledged,", last, "commits")
            expect(said, "%s: nothing was ever acknowledged" % name)


@test(seconds=60 + 20 * KILLS)
def killed_daemons_come_back_equal_with_all_that_was_acknowledged(stage):
    ordeal = Ordeal(stage)
    for done in range(0, KILLS, ROUND):
        ordeal.round(min(ROUND, KILLS - done))
