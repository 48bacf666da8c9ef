"""tests/support/power.py - a run whose power can be cut afterwards, anywhere.

A Recording is a primary and a replica under load, each on a disk of its own
(faultfs.py). What applications were told stands among the events of the
primary's disk: at each cut one knows what had been told before.

RECORDING=folder, one that a failed test left (KEEP=1), is cut again instead
of making one; CUT="events fate seed kind" is then the only cut.

A Cut is a place in one trace and what became of what was not synced. `on`
starts a node on the state that a cut leaves.
"""
import collections
import contextlib
import json
import os
import random
import shutil
import sqlite3
import time

import chain
import cluster
import faultfs
import sql
import workers
from runner import expect, expect_eq, until

Cut = collections.namedtuple("Cut", "events fate seed kind")
# A database is this one, and has these commits: {n: id}.
Told = collections.namedtuple("Told", "lineage commits")
# name -> journal mode, level of its applications
KINDS = {"full.db": ("wal", "full"), "normal.db": ("wal", "normal"),
         "delete.db": ("delete", "full"), "extra.db": ("delete", "extra"),
         "truncate.db": ("truncate", "full"),
         "persist.db": ("persist", "full")}
COMES_AND_GOES = "gone.db"


def write(control, paths, seed, level, journals, steps, socket_path):
    """An application that takes so many steps, and says on the primary's disk
    what it was told is committed. After an error it opens again."""
    marker, errors = faultfs.Marker(socket_path), 0

    def heard(path, n, name):
        marker.mark("ack", os.path.basename(path), n, name)
    # SQLite 3.40 itself loses commits behind a savepoint that was spilled.
    writer = chain.Writer(paths, seed, (level,), journals, heard,
                          is_to_survive=True)
    for _ in range(steps):
        if not control.running():
            break
        try:
            writer.step()
        except sqlite3.OperationalError:
            errors += 1
            writer.close()
    writer.close()
    marker.close()
    writer.did["errors"] = errors
    return writer.did


def storms(control, seed, socket_path, pattern):
    """Calls for the files that match fail, now and then, until it is told to
    stop."""
    marker, rng, count = faultfs.Marker(socket_path), random.Random(seed), 0
    while control.running():
        marker.ask("fail", rng.choice(("write", "sync")),
                   rng.choice(("1", "2", "3", "2+")),
                   rng.choice(("EIO", "ENOSPC")), pattern)
        time.sleep(rng.uniform(0.01, 0.05))
        marker.ask("clear")
        count += 1
    marker.close()
    return count


def come_and_go(control, path, seed, rounds, socket_path):
    """Makes a database, writes to it, deletes it, and so on."""
    marker = faultfs.Marker(socket_path)
    rng = random.Random(seed)
    for number in range(rounds):
        mode = rng.choice(("wal", "delete"))
        with sql.connect(path, journal_mode=mode) as connection:
            chain.create(connection, rng)
            marker.mark("made", number)
            for _ in range(4):
                with sql.transaction(connection):
                    chain.extend(connection, rng, rng.randbytes(8).hex())
        sql.remove(path)
        marker.mark("dropped", number)
    marker.close()
    return {"made and dropped": rounds}


def hear_durable(control, status_path, socket_path):
    """Says on the replica's disk what the primary was told is durable there."""
    marker, told = faultfs.Marker(socket_path), {}
    while control.running():
        with open(status_path, encoding="utf-8") as file:
            replicas = json.load(file)["replicas"]
        for stream in [one for each in replicas for one in each["databases"]]:
            name, txid = stream["database"], stream["durable_txid"] or 0
            if txid > told.get(name, 0):
                told[name] = txid
                marker.mark("durable", name, txid)
    marker.close()
    return told


def copies_in(log):
    """Names of the databases that a replica was sent a copy of."""
    return [line.split("database=")[1].split()[0]
            for line in log.splitlines()
            if "event=replication.open" in line and
            ("mode=snapshot" in line or "mode=delta" in line)]


class Recording:
    def __init__(self, stage, steps, kinds=None, comes_and_goes=2, extra="",
                 weather=None, is_copied=False):
        """weather: by the name of a node, for which files of its disk calls
        fail while the load runs. is_copied: then the replica is given copies,
        over what it has."""
        self.stage, self.weather = stage, weather or {}
        self.kinds = kinds or KINDS
        self.nodes = cluster.Cluster(stage, 1, extra=extra)
        self.disks = {node.name: faultfs.Disk(stage, node.name,
                                              node.data).start()
                      for node in self.nodes.nodes}
        stage.closers.append(self.nodes.close)  # before the disks
        self.living = self.disks["primary"]
        if "RECORDING" in os.environ:
            self.load_earlier(os.environ["RECORDING"])
        else:
            self.nodes.start()
            self.create()
            self.load(steps, comes_and_goes)
            # What failed is tried again, and may become a commit then.
            until(lambda: all(one["health"] == "ok" for one in
                              self.nodes.primary.databases().values()),
                  "the primary does not get well")
            self.nodes.compare_all(20)
            if is_copied:
                self.copy()
            self.nodes.replicas[0].stop()
        self.copied = copies_in(self.nodes.primary.log_text())
        self.traces = {name: disk.events()
                       for name, disk in self.disks.items()}
        self.marks = faultfs.Marks(self.traces["primary"])

    def load_earlier(self, folder):
        """Its traces are ours, and the primary runs where it ended. Journals
        of several files name one another by their old path."""
        mount = os.path.join(folder, "primary/mnt")
        with contextlib.suppress(OSError):
            os.unlink(mount) if os.path.islink(mount) else os.rmdir(mount)
            os.symlink(self.nodes.primary.mount, mount)
        for disk in self.disks.values():
            disk.close()
            shutil.copy(os.path.join(folder, os.path.basename(disk.home),
                                     "trace"), disk.trace)
        disk = self.disks["primary"]
        events = len(disk.events())
        self.living = faultfs.Disk(self.stage, "last", self.nodes.primary.data,
                                   disk.cut(events, "kept")).start()
        self.nodes.primary.start()

    def create(self):
        rng, primary = self.stage.rng, self.nodes.primary
        for name, (mode, _) in self.kinds.items():
            page_bytes = rng.choice(sql.PAGE_SIZES[:5])
            with sql.connect(primary.path(name), page_size=page_bytes,
                             auto_vacuum=rng.choice(("none", "incremental")),
                             synchronous="extra",
                             journal_mode=mode) as connection:
                chain.create(connection, rng)
            # From here on there is something that must not be lost.
            primary.token(name)
            self.disks["primary"].mark("created", name,
                                       primary.databases()[name]["lineage"])
            self.stage.say(name, page_bytes, mode)

    def writers(self, steps):
        rng, primary = self.stage.rng, self.nodes.primary
        socket_path = self.disks["primary"].socket
        writers = []
        for level in ("full", "extra", "normal"):
            for is_wal in (True, False):
                chosen = {primary.path(name): (mode,)
                          for name, (mode, of) in self.kinds.items()
                          if of == level and is_wal == (mode == "wal")}
                if chosen:
                    writers.append(workers.Worker(
                        write, list(chosen), rng.random(), level, chosen,
                        steps, socket_path))
        return writers

    def load(self, steps, comes_and_goes):
        rng, primary = self.stage.rng, self.nodes.primary
        socket_path = self.disks["primary"].socket
        writers = self.writers(steps)
        if comes_and_goes:
            writers.append(workers.Worker(
                come_and_go, primary.path(COMES_AND_GOES), rng.random(),
                comes_and_goes, socket_path))
        listener = self.listener()
        blows = [workers.Worker(storms, rng.random(), self.disks[name].socket,
                                pattern)
                 for name, pattern in self.weather.items()]
        did = collections.Counter()
        for one in writers:
            did.update(one.join(60))
        self.stage.say("storms:", workers.stop(blows))
        self.stage.say("durable on the replica:", listener.stop())
        self.stage.say(dict(did))

    def is_durable(self):
        """All that the primary has is, on the replica."""
        primary = self.nodes.primary
        have = {name: one["position"]["txid"]
                for name, one in primary.databases().items()}
        return all(stream["durable_txid"] == have[stream["database"]]
                   for one in primary.status()["replicas"]
                   for stream in one["databases"])

    def listener(self):
        return workers.Worker(
            hear_durable,
            self.nodes.primary.path(".tidemark/status.json"),
            self.disks["replica1"].socket)

    def copy(self):
        """The primary loses its log: what the replica misses, it can only
        give it as a copy. Commits go on meanwhile."""
        primary, (replica,) = self.nodes.primary, self.nodes.replicas
        replica.stop()
        for name in self.kinds:
            with sql.connect(primary.path(name)) as connection:
                connection.execute("CREATE TABLE missed(v)")
            primary.token(name)
        primary.stop().lose_the_log().start()
        listener, writers = self.listener(), self.writers(30)
        replica.start()
        for one in writers:
            one.join(60)
        self.nodes.compare_all(20)
        until(self.is_durable, lambda: "the copies do not become durable: %s"
              % primary.status()["replicas"])
        self.stage.say("durable of the copies:", listener.stop())

    # ---- cuts ----------------------------------------------------------------

    def cuts(self, who, count, between=0):
        """Of all places where a sync is about to be done, and so many between
        them, with all fates, on both kinds of disk: `count`, drawn from all.
        0: every one."""
        rng = self.stage.rng
        if "CUT" in os.environ:
            events, fate, seed, kind = os.environ["CUT"].split()
            return [Cut(int(events), fate, int(seed), kind)]
        points = faultfs.sync_points(self.traces[who])
        points.append(len(self.traces[who]))
        points += rng.sample(range(points[-1]), min(between, points[-1]))
        every = [Cut(point, fate, rng.randrange(1 << 32), kind)
                 for point in points for fate in faultfs.FATES
                 for kind in faultfs.KINDS]
        every = [cut for cut in every if not self.breaks_sqlite(who, cut)]
        if count == 0 or count >= len(every):
            return every
        return sorted(rng.sample(every, count))

    def breaks_sqlite(self, who, cut):
        """A transaction that makes the file smaller cuts it after it has
        deleted the journal, and syncs no folder in between unless with EXTRA:
        on a disk that keeps no order the journal may be there again, and the
        pages behind the cut gone. That is so without us, too."""
        if cut.kind != "strict" or cut.fate not in ("free", "torn"):
            return False
        deleted, cutting = set(), False
        for event in self.traces[who][:cut.events]:
            if event.kind == "unlink" and event.text.endswith("-journal"):
                deleted.add(event.text[:-len("-journal")])
            elif event.kind == "sync-dir" and event.text == "files":
                deleted.clear()
                cutting = False
            elif event.kind == "truncate" and event.text in deleted:
                cutting = True
        return cutting

    def moment(self, cut, who, other):
        """How many events the other's disk had seen when it was cut."""
        trace = self.traces[who]
        now = trace[min(cut.events, len(trace) - 1)].time_ns
        return sum(1 for event in self.traces[other] if event.time_ns <= now)

    def stopped_primary(self):
        """For states of its disk: they are looked at below the path where they
        were made, because journals of several files name one another."""
        primary = self.nodes.primary
        primary.stop()
        self.living.close()
        # What it has by itself is the question: it asks no replica.
        primary.fetch_timeout = "0s"
        primary.configure(self.nodes.extra)
        return primary

    def acknowledged(self, cut):
        """name -> Told, of all that was told before."""
        said = {}
        for words in self.marks.before(cut.events):
            if words[0] == "created":
                said[words[1]] = Told(words[2], {})
            elif words[0] == "ack":
                said[words[1]].commits[int(words[2])] = words[3]
        return said

    def durable(self, cut):
        """name -> TXID that the replica had called durable before."""
        return {words[1]: int(words[2]) for words in
                faultfs.Marks(self.traces["replica1"]).before(cut.events)}

    @contextlib.contextmanager
    def on(self, node, who, cut):
        """The node runs on what the cut left of that disk."""
        disk = self.disks[who]
        out = os.path.join(disk.home, "state-" + node.name)
        disk.cut(*cut, out)
        with running(self.stage, node, out, "again-" + node.name) as again:
            yield again


@contextlib.contextmanager
def running(stage, node, folder, name):
    """The node runs on a disk of that name over the folder, which goes then.
    It may be killed inside."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(node.log)
    disk = faultfs.Disk(stage, name, node.data, folder).start()
    try:
        node.start()
        yield disk
        if node.process is not None:
            node.stop()
    finally:
        if node.process is not None:
            node.kill()
        disk.close()
        stage.closers.remove(disk.close)
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def named(path):
    """SQLite does not say which file it means."""
    try:
        yield
    except sqlite3.Error as error:
        raise AssertionError("%s: %s" % (os.path.basename(path), error)) \
            from error


def look(path):
    """A database as a stock program finds it: integrity, n, rows of chain.
    None: it has no tables."""
    with named(path), \
            contextlib.closing(sql.open_reader(path, 10, False)) as connection:
        bad = connection.execute("PRAGMA integrity_check").fetchall()
        expect_eq(bad, [("ok",)], "integrity_check of %s" % path)
        try:
            (n,) = connection.execute("SELECT n FROM head").fetchone()
        except sqlite3.OperationalError as error:
            expect("no such table" in str(error), str(error))
            return None
        reader = chain.Reader(path)
        reader.connection = connection
        reader.look()  # the hash chain, and the sums beside it
        return n, dict(connection.execute("SELECT n, id FROM chain"))


def check_acknowledged(name, said, seen, may_lose=0):
    """All that was told of is there, but for so many at the end."""
    last = max(said, default=0)
    n, rows = seen
    expect(n >= last - may_lose, "%s: commit %d was told of, the last is %d"
           % (name, last, n))
    for number, unique in said.items():
        expect(number > n or rows.get(number, unique) == unique,
               "%s: commit %d is another" % (name, number))
