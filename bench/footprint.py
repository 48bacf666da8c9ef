"""bench/footprint.py - what a node costs that does nothing."""
import glob
import time

import bench
from measure import Report, middle, spread

DATABASES = 1000
LARGE_PAGES = 10 * 2**30 // 4096  # as 10 GiB have; a smaller page is enough
START_BAR_MS = 1000
IDLE_SECONDS = 10
RSS_BAR_MB = 30
ABOUT = {
    "title": "memory, start time and idle work of a node",
    "method": "start: from the start of the process until `tidemark status` "
              "answers, asked every 10 ms. Idle work: CPU time and voluntary "
              "context switches of all threads over %d s, after %d databases "
              "were written and closed by their application."
              % (IDLE_SECONDS, DATABASES),
}


def megabytes(node):
    return node.memory_kib() / 1024


def switches(node):
    """How often threads of the node woke up and went to sleep again."""
    total = 0
    for path in glob.glob("/proc/%d/task/*/status" % node.pid):
        with open(path, encoding="ascii", errors="replace") as file:
            total += sum(int(line.split()[1]) for line in file
                         if line.startswith("voluntary_ctxt_switches"))
    return total


def idle(report, what, node):
    time.sleep(3)  # what closing the databases left to do is done
    cpu, woken = node.cpu_seconds(), switches(node)
    time.sleep(IDLE_SECONDS)
    cpu, woken = node.cpu_seconds() - cpu, switches(node) - woken
    report.row("%s: idle CPU" % what, "%.2f %%" % (100 * cpu / IDLE_SECONDS),
               "%.1f wake-ups/s" % (woken / IDLE_SECONDS), "0",
               cpu / IDLE_SECONDS < 0.001)
    report.number(what, {"cpu_seconds": cpu, "wake_ups": woken,
                         "over_seconds": IDLE_SECONDS})


def start_seconds(node):
    began = time.monotonic()
    node.start()
    return time.monotonic() - began


def starts(report, what, node, bar=None):
    times = []
    for _ in range(bench.ROUNDS):
        node.stop()
        times.append(1000 * start_seconds(node))
    report.row("%s: start" % what, "%.0f ms" % middle(times),
               spread(times, "%.0f ms"), "< %d ms" % bar if bar else "",
               middle(times) < bar if bar else None)
    report.number(what + ": start ms", times)


def memory(report, what, node, bar=None):
    report.row("%s: resident memory" % what, "%.1f MB" % megabytes(node), "",
               "< %d MB" % bar if bar else "",
               megabytes(node) < bar if bar else None)
    report.number(what + ": resident MB", megabytes(node))


def measure(report, place, mode):
    nodes = place.cluster(mode, 1)
    primary, replica = nodes.primary, nodes.replicas[0]
    memory(report, mode + ", empty primary", primary, RSS_BAR_MB)
    memory(report, mode + ", empty replica", replica, RSS_BAR_MB)
    starts(report, mode + ", empty primary", primary)
    for i in range(DATABASES):
        bench.script(primary.path("d%d.db" % i),
                     "PRAGMA journal_mode = wal; PRAGMA synchronous = off;"
                     "CREATE TABLE t(a); INSERT INTO t VALUES(1)")
    bench.caught_up(primary, replica, "d%d.db" % (DATABASES - 1))
    what = "%s, %d databases" % (mode, DATABASES)
    for name, node in (("primary", primary), ("replica", replica)):
        idle(report, "%s, %s" % (what, name), node)
        memory(report, "%s, %s" % (what, name), node)
    starts(report, what, primary)
    nodes.close()


def fill_pages(path, pages):
    """So many pages of 512 bytes."""
    bench.script(path, "PRAGMA page_size = 512; PRAGMA journal_mode = wal;"
                 "PRAGMA synchronous = off; CREATE TABLE t(v BLOB);"
                 "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 "
                 "FROM n WHERE i < %d) INSERT INTO t SELECT "
                 "randomblob(50800) FROM n; PRAGMA wal_checkpoint(TRUNCATE)"
                 % (pages // 100))


def measure_large(report, place, mode):
    nodes = place.cluster(mode, 0)
    fill_pages(nodes.primary.path("large.db"), LARGE_PAGES)
    nodes.primary.token("large.db")
    what = "%s, %.1f million pages (10 GiB of 4 KiB)" % (mode,
                                                        LARGE_PAGES / 1e6)
    memory(report, what, nodes.primary)
    starts(report, what, nodes.primary, START_BAR_MS)
    nodes.close()


def run(place):
    report = Report("footprint", ABOUT)
    for mode in bench.MODES:
        measure(report, place, mode)
    measure_large(report, place, bench.MODES[0])
    return report
