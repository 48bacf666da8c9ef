"""bench/reads.py - point reads on a replica, idle and while the primary writes
as fast as it can, against native reads beside the same load."""
import os

import bench
from measure import Report, alternate, middle, ratios

ROWS = 100000
BARS = {"idle": 0.9, "under full write load": 0.5}
ABOUT = {
    "title": "point reads per second on a replica, as a ratio to native",
    "method": "one reader, closed loop, one row by key per transaction, "
              "%d rows of 100 bytes. Under load one writer commits single "
              "rows with NORMAL as fast as it can: on native into the "
              "database that is read, on ours into the primary's, with "
              "primary and replica on the same cores as writer and reader."
              % ROWS,
}


def fill(path):
    bench.script(path, "PRAGMA journal_mode = wal;"
                 "CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT);"
                 "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 "
                 "FROM n WHERE i < %d) INSERT INTO t SELECT i, "
                 "printf('%%0100d', i) FROM n;" % ROWS)


def measured(place, *arguments):
    return place.quiet.measured(lambda: reads_per_second(place, *arguments))


def reads_per_second(place, read_path, write_path, writers):
    """write_path: what a writer is busy with meanwhile, or None."""
    writer = write_path and place.start("write", write_path, "NORMAL", 1, 60)
    found = place.run("read", read_path, bench.SECONDS)
    if writer:
        wrote = place.end(writer)
        writers.append(wrote["transactions"] / wrote["seconds"])
    return found["reads"] / found["seconds"]


def measure(report, place, native, clusters, load):
    """load: "idle" or "under full write load"."""
    busy, natives = load != "idle", []
    writers = {mode: [] for mode in clusters}

    def ours(mode):
        nodes = clusters[mode]
        source = nodes.primary.path("r.db")
        value = measured(place, nodes.replicas[0].path("r.db"),
                         source if busy else None, writers[mode])
        bench.caught_up(nodes.primary, nodes.replicas[0], "r.db")
        return value

    seen = alternate(
        bench.ROUNDS, lambda: measured(
            place, native, native if busy else None, natives),
        {mode: (lambda mode=mode: ours(mode)) for mode in clusters})
    for mode, triples in seen.items():
        what = "%s, %s" % (load, mode)
        report.at_least(what, ratios(triples), BARS[load]
                        if mode == "passthrough" else None)
        report.number(what, {"native_ours_native_reads_s": triples,
                             "writer_tx_s": writers[mode]})
        if busy:
            report.row("  the writer meanwhile, %s" % mode, "%.0f tx/s" %
                       middle(writers[mode]), "native %.0f tx/s" %
                       middle(natives))
    report.row("%s, native" % load, "%.0f reads/s" % middle(
        [a for triples in seen.values() for a, _, _ in triples]))


def run(place):
    report = Report("reads", ABOUT)
    native = os.path.join(place.native, "r.db")
    fill(native)
    clusters = {}
    for mode in bench.MODES:
        nodes = clusters[mode] = place.cluster(mode, 1)
        fill(nodes.primary.path("r.db"))
        bench.caught_up(nodes.primary, nodes.replicas[0], "r.db")
    for load in BARS:
        measure(report, place, native, clusters, load)
    return report
