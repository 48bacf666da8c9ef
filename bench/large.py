"""bench/large.py - one transaction of 200 MB."""
import os
import time

import bench
from measure import Report, alternate, middle, ratios, spread

MEGABYTES = 200
BAR = 2.0  # times native
JOURNALS = (("wal", "normal"), ("delete", "full"))
ABOUT = {
    "title": "a transaction of %d MB, with one replica" % MEGABYTES,
    "method": "BEGIN, %d MB of random rows, COMMIT, by sqlite3; from its start "
              "until COMMIT returned, then until the replica shows it. Native: "
              "the same beside the mount, before and after. Memory: the "
              "largest resident size of each daemon, over all rounds. Sizes in "
              "units of 10^6 bytes." % MEGABYTES,
}


def write(path, journal, synchronous):
    """Seconds of the transaction alone; the database is new each time."""
    bench.script(path, "PRAGMA journal_mode = %s; PRAGMA synchronous = %s;"
                 "CREATE TABLE t(id INTEGER PRIMARY KEY, v BLOB)"
                 % (journal, synchronous))
    began = time.monotonic()
    bench.script(path, "PRAGMA synchronous = %s; BEGIN;"
                 "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 "
                 "FROM n WHERE i < %d) INSERT INTO t SELECT i, "
                 "randomblob(3900) FROM n; COMMIT"
                 % (synchronous, MEGABYTES * 1000000 // 4096))
    return time.monotonic() - began


class Peaks:
    """The most memory that each daemon ever had, as the kernel counts it."""

    def __init__(self, nodes):
        self.nodes = nodes

    def megabytes(self, node):
        with open("/proc/%d/status" % node.pid, encoding="ascii",
                  errors="replace") as file:
            return max(int(line.split()[1]) for line in file
                       if line.startswith("VmHWM")) / 1024

    def text(self):
        return " and ".join("%.0f MB" % self.megabytes(node)
                            for node in self.nodes.nodes)


class Writers:
    """Each transaction goes into a database of its own."""

    def __init__(self, place, nodes, journal, synchronous):
        self.place, self.nodes = place, nodes
        self.pragmas, self.count, self.behind = (journal, synchronous), 0, []

    def name(self):
        self.count += 1
        return "%s%d.db" % (self.pragmas[0], self.count)

    def native(self):
        path = os.path.join(self.place.native, self.name())
        spent = write(path, *self.pragmas)
        os.unlink(path)
        return spent

    def ours(self):
        name, primary = self.name(), self.nodes.primary
        spent = write(primary.path(name), *self.pragmas)
        began = time.monotonic()
        self.nodes.replicas[0].reach(name, primary.token(name), 60)
        self.behind.append(time.monotonic() - began)
        os.unlink(primary.path(name))
        return spent


def measure(report, place, mode):
    nodes = place.cluster(mode, 1)
    peaks = Peaks(nodes)
    for journal, synchronous in JOURNALS:
        writers = Writers(place, nodes, journal, synchronous)
        seen = alternate(
            bench.ROUNDS, lambda w=writers: place.quiet.measured(w.native),
            {mode: lambda w=writers: place.quiet.measured(w.ours)})[mode]
        what = "%s, %s, %s" % (mode, journal.upper(), synchronous.upper())
        times = ratios(seen)
        report.row(what, "%.2fx native" % middle(times), spread(times),
                   "<= %gx" % BAR, middle(times) <= BAR)
        report.row("  on the replica after", "%.2f s more" %
                   middle(writers.behind), spread(writers.behind, "%.2f s"))
        report.number(what, seen)
    report.row("%s: most memory of primary and replica" % mode, peaks.text())


def run(place):
    report = Report("large", ABOUT)
    for mode in bench.MODES:
        measure(report, place, mode)
    return report
