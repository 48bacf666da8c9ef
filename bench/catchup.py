"""bench/catchup.py - a new replica of a large database."""
import os
import shutil
import time

import bench
from measure import Report, alternate, middle, ratios, spread

SIZES_MB = ((200, bench.ROUNDS), (1024, 2 if not bench.LONG else bench.ROUNDS))
BAR_MB_S = 300
ABOUT = {
    "title": "a new replica copies a database",
    "method": "a database of random rows on the primary; a replica with an "
              "empty directory starts, and the clock runs from the start of "
              "its process until `tidemark wait` says that the primary's "
              "token is reached there. Native: cp of the same file and fsync, "
              "before and after. Sizes in units of 10^6 bytes.",
}


def fill(path, megabytes):
    """Rows of random bytes: nothing for a compressor to shine with."""
    bench.script(path, "PRAGMA journal_mode = wal; PRAGMA synchronous = off;"
                 "CREATE TABLE t(id INTEGER PRIMARY KEY, v BLOB);"
                 "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 "
                 "FROM n WHERE i < %d) INSERT INTO t SELECT i, "
                 "randomblob(3900) FROM n;"
                 "PRAGMA wal_checkpoint(TRUNCATE)" % (megabytes * 1000000 //
                                                      4096))


def copy(source, target):
    """Megabytes per second of cp and fsync."""
    began = time.monotonic()
    shutil.copyfile(source, target)
    fd = os.open(target, os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)
    spent = time.monotonic() - began
    size = os.path.getsize(target)
    os.unlink(target)
    return size / 1e6 / spent


class Newcomers:
    """Each measurement starts one more replica, and ends it."""

    def __init__(self, place, nodes, name):
        self.place, self.nodes, self.name, self.count = place, nodes, name, 0

    def measure(self):
        self.count += 1
        token = self.nodes.primary.token(self.name)
        began = time.monotonic()
        replica = self.place.replica_of(
            self.nodes, "new%s%d" % (self.name, self.count),
            self.nodes.primary.port)
        reach(replica, self.name, token)
        spent = time.monotonic() - began
        size = os.path.getsize(replica.path(self.name))
        check(self.nodes.primary, replica, self.name)
        replica.stop()
        shutil.rmtree(replica.home)
        return size / 1e6 / spent


def reach(replica, name, token):
    """Until the token is reached; the name is unknown in the beginning."""
    deadline = time.monotonic() + 300
    while replica.wait(name, token, 120) != 0:
        if time.monotonic() > deadline:
            raise RuntimeError("%s did not arrive" % name)
        time.sleep(0.005)


def check(primary, replica, name):
    """The copy is one only if it is equal."""
    sql = "SELECT count(*), sum(id), sum(length(v)), max(v) FROM t"
    pair = [bench.query(node.path(name), sql) for node in (primary, replica)]
    if pair[0] != pair[1]:
        raise RuntimeError("%s differs: %r %r" % ((name,) + tuple(pair)))


def measure(report, place, mode, nodes, megabytes, rounds):
    name = "c%d.db" % megabytes
    fill(nodes.primary.path(name), megabytes)
    nodes.primary.token(name)
    source, target = nodes.primary.file(name), os.path.join(place.native, name)
    seen = alternate(
        rounds, lambda: place.quiet.measured(lambda: copy(source, target)),
        {mode: lambda: place.quiet.measured(
            Newcomers(place, nodes, name).measure)})
    what = "%s, %d MB" % (mode, megabytes)
    speeds = [figure for _, figure, _ in seen[mode]]
    report.at_least(what, speeds, BAR_MB_S, "%.0f", " MB/s")
    report.row("  to cp and fsync", "%.2fx" % middle(ratios(seen[mode])),
               spread(ratios(seen[mode])))
    report.number(what, seen[mode])
    os.unlink(nodes.primary.path(name))


def run(place):
    report = Report("catchup", ABOUT)
    for mode in bench.MODES:
        nodes = place.cluster(mode, 0)
        for megabytes, rounds in SIZES_MB:
            measure(report, place, mode, nodes, megabytes, rounds)
    return report
