"""What a node has in its hands does not grow with what went through it."""
import os
import re
import socket

import cluster
import sql
from runner import expect, expect_eq, expect_raises, test, until

WARM = 20_000
DONE = 100_000 + WARM  # transactions
BATCH = 4_000
ROWS = 200
RETAIN_MB = 1
# glibc keeps what was freed, more or less of it as its threads happen to meet:
# megabytes up and down. So it is told to give back what is free.
TUNABLES = ("glibc.malloc.arena_max=1:glibc.malloc.mmap_threshold=32768:"
            "glibc.malloc.trim_threshold=65536")
GROWTH_KB = 4_000  # 40 bytes in each transaction
# Each thread of the mount has a buffer; there are at most 24 of them.
THREAD_KB = 1_100
# The log of a database is cut when 64 MB were written since the last time.
LOG_MB = RETAIN_MB + 64 + 16
NAMES = ("wal.db", "journal.db")
CHECKPOINTS = ("PASSIVE", "FULL", "RESTART", "TRUNCATE")


class Load:
    """Rounds of what applications do, on two databases of constant size.

    Records are kept in memory for the links, up to 4 MB for each database:
    the warm-up fills that with records of the sizes that come after it. One
    large transaction at first makes every buffer as large as it gets."""

    def __init__(self, stage, nodes):
        self.stage, self.nodes = stage, nodes
        self.rounds, self.transactions = 0, 0
        for name, mode in zip(NAMES, ("wal", "delete")):
            with sql.connect(nodes.primary.path(name), journal_mode=mode,
                             synchronous="off") as connection:
                connection.execute("CREATE TABLE t(id INTEGER PRIMARY KEY,"
                                   " n INTEGER, v BLOB)")
                connection.executemany("INSERT INTO t VALUES (?, 0, NULL)",
                                       [(i,) for i in range(ROWS)])
                connection.execute("UPDATE t SET v = randomblob(50000)")

    def write(self, name, count, row_bytes, checkpoint="PASSIVE"):
        """Each row is a transaction of its own."""
        rng = self.stage.rng
        with sql.connect(self.nodes.primary.path(name),
                         synchronous="off") as connection:
            connection.executemany(
                "UPDATE t SET n = n + 1, v = randomblob(?) WHERE id = ?",
                [(row_bytes, rng.randrange(ROWS)) for _ in range(count)])
            connection.execute("PRAGMA wal_checkpoint(%s)" % checkpoint)
        self.transactions += count

    def read(self, name):
        """On the replica, with the token of the primary."""
        replica = self.nodes.replicas[0]
        replica.wait_by_open(name, self.nodes.primary.token_by_file(name))
        with sql.connect(replica.path(name)) as connection:
            expect_eq(sql.one(connection, "SELECT count(*) FROM t"), ROWS)

    def round(self):
        for _ in range(4):
            self.write("wal.db", BATCH // 4 - 10, 500,
                       CHECKPOINTS[self.rounds % len(CHECKPOINTS)])
            self.write("journal.db", 10, 30_000)
            self.read("wal.db")
        self.read("journal.db")
        self.rounds += 1

    def until(self, transactions):
        while self.transactions < transactions:
            self.round()


def memory_kb(node):
    """Anonymous memory, but for the buffers of the mount's threads."""
    threads = sum(name.startswith("fuse-") for name in node.threads().values())
    with open("/proc/%d/smaps_rollup" % node.pid) as file:
        for line in file:
            if line.startswith("Anonymous:"):
                return int(line.split()[1]) - threads * THREAD_KB
    raise AssertionError("no Anonymous in smaps_rollup")


def files_of(node):
    """What its descriptors are, but for two kinds that come and go within
    bounds: a thread that syncs has a ring of its own from its first sync on,
    and of each log the pieces that are written and read now are open."""
    found = []
    for fd in os.listdir("/proc/%d/fd" % node.pid):
        try:
            name = os.readlink("/proc/%d/fd/%s" % (node.pid, fd))
        except FileNotFoundError:
            continue  # closed meanwhile
        found.append(re.sub(r":\[\d+\]", "", name.replace(node.data, "")))
    rings = [name for name in found if name.endswith("[io_uring]")]
    pieces = [name for name in found if name.endswith(".seg")]
    expect(len(rings) <= len(node.threads()), "%d rings" % len(rings))
    expect(len(pieces) <= 2 * len(NAMES), "open are %s" % pieces)
    return sorted(set(found) - set(rings) - set(pieces)) + [
        "%d in all" % (len(found) - len(rings) - len(pieces))]


def settled(probe):
    """What probe gives, when it gives the same for half a second: the node
    hears a moment after a command has ended that it has."""
    seen = [probe()]

    def is_settled():
        seen.append(probe())
        return len(seen) > 10 and all(one == seen[-1] for one in seen[-10:])
    until(is_settled, lambda: "it goes on changing: %s" % (seen[-1],), 10,
          pause=0.05)
    return seen[-1]


def expect_files(node, files):
    expect_eq(settled(lambda: files_of(node)), files,
              "%s: descriptors" % node.name)


def expect_memory(node, before_kb):
    grown = memory_kb(node) - before_kb
    expect(grown <= GROWTH_KB, "%s: memory grew by %d kB" % (node.name, grown))


def logs_mb(node):
    return {name: one["log"]["bytes"] / 1e6
            for name, one in node.databases().items()}


def visit(node, count):
    """Connections that nobody closes: what a leak looks like."""
    visitors = []
    for _ in range(count):
        visitors.append(socket.socket(socket.AF_UNIX))
        visitors[-1].connect(os.path.join(node.data, "control.sock"))
        visitors[-1].sendall(b"{" * 8000)  # half a request is kept in memory
    until(lambda: node.descriptors() > count, "they are not let in")
    return visitors


def expect_a_leak_is_seen(node, files, memory_kb):
    """The canary of the two checks."""
    visitors = visit(node, 800)
    expect_raises(AssertionError, "descriptors", expect_files, node, files)
    expect_raises(AssertionError, "memory grew", expect_memory, node,
                  memory_kb)
    for visitor in visitors:
        visitor.close()


@test(seconds=120, sample=True)
def a_hundred_thousand_transactions_leave_nothing_behind(stage):
    os.environ["GLIBC_TUNABLES"] = TUNABLES
    nodes = cluster.pair(stage, extra="log: { retain: %dMiB }\n" % RETAIN_MB)
    load = Load(stage, nodes)
    load.until(WARM)
    # Somebody has them open whenever we look: so they are open on the nodes.
    readers = [sql.open_reader(node.path(name)) for node in nodes.nodes
               for name in NAMES]
    files = {node: settled(lambda n=node: files_of(n)) for node in nodes.nodes}
    memory = {node: memory_kb(node) for node in nodes.nodes}
    load.until(DONE)
    for node in nodes.nodes:
        nodes.settle("journal.db")
        stage.say(node.name, "%d, then %d kB" % (memory[node],
                                                 memory_kb(node)),
                  "logs of %d and %d MB" % tuple(logs_mb(node).values()),
                  len(files[node]), "files")
    for node in nodes.nodes:
        expect_files(node, files[node])
        expect_memory(node, memory[node])
        for name, log_mb in logs_mb(node).items():
            expect(log_mb <= LOG_MB, "%s: the log of %s has %d MB" %
                   (node.name, name, log_mb))
    nodes.compare_all()
    txid = nodes.primary.databases()["wal.db"]["position"]["txid"]
    expect(txid > 100_000, "only %d transactions were seen" % txid)
    expect_a_leak_is_seen(nodes.primary, files[nodes.primary],
                          memory_kb(nodes.primary))
    for reader in readers:
        reader.close()
