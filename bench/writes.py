"""bench/writes.py - transactions per second through the mount, against the
same program on the same disk without it."""
import contextlib
import os
import time

import bench
from measure import Report, alternate, ratios, middle

BARS = {("NORMAL", 0): 0.75, ("NORMAL", 1): 0.55,
        ("FULL", 0): 0.85, ("FULL", 1): 0.85}
CLASSIC_BAR = 0.15
REPLICAS = (0, 1, 3) if bench.LONG else tuple(
    int(n) for n in os.environ.get("REPLICAS", "0,1").split(","))
ABOUT = {
    "title": "committed transactions per second, as a ratio to native",
    "method": "one writer, closed loop, rows of 100 bytes, a new database "
              "each time; order A B A, the ratio is to the mean of the native "
              "run before and after; a replica applies on the same cores, "
              "and must show every row at the end. Bars of passthrough: "
              "product; of classic: NORMAL only.",
}


class Side:
    """Where one writer writes: a directory, and what checks it after."""

    def __init__(self, place, folder, nodes=None):
        self.place, self.folder, self.nodes = place, folder, nodes
        self.count, self.drains = 0, []

    def measure(self, sync, rows):
        self.count += 1
        name = "w%d.db" % self.count
        path = os.path.join(self.folder, name)
        found = self.place.run("write", path, sync, rows, bench.SECONDS)
        for replica in self.nodes.replicas if self.nodes else ():
            began = time.monotonic()
            bench.caught_up(self.nodes.primary, replica, name)
            self.drains.append(time.monotonic() - began)
            self.compare(path, replica.path(name))
        self.remove(path)
        return found["transactions"] / found["seconds"]

    @staticmethod
    def remove(path):
        """With the database gone the node removes what belongs to it, too:
        who comes second finds nothing, at any moment."""
        os.unlink(path)
        for suffix in ("-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path + suffix)

    def measured(self, sync, rows):
        return self.place.quiet.measured(lambda: self.measure(sync, rows))

    def compare(self, ours, theirs):
        """A figure of a replica that lost rows would be worth nothing."""
        counts = [bench.query(path, "SELECT count(*), max(id) FROM t")
                  for path in (ours, theirs)]
        if counts[0] != counts[1]:
            raise RuntimeError("primary has %s, replica has %s" %
                               tuple(counts))


def bar_of(mode, sync, replicas):
    if mode == "classic":
        return CLASSIC_BAR if sync == "NORMAL" and replicas <= 1 else None
    return BARS.get((sync, replicas))


def measure(report, native, sides, sync, rows):
    seen = alternate(
        bench.ROUNDS, lambda: native.measured(sync, rows),
        {key: (lambda side=side: side.measured(sync, rows))
         for key, side in sides.items()})
    for (mode, replicas), triples in seen.items():
        what = "%s, %d row%s, %s, %d replica%s" % (
            sync, rows, "s" * (rows > 1), mode, replicas,
            "s" * (replicas != 1))
        report.at_least(what, ratios(triples), bar_of(mode, sync, replicas))
        report.number(what, {
            "native_ours_native_tx_s": triples, "ratios": ratios(triples)})
    report.row("%s, %d row%s, native" % (sync, rows, "s" * (rows > 1)),
               "%.0f tx/s" % middle([a for triples in seen.values()
                                     for a, _, _ in triples]))


def run(place):
    report = Report("writes", ABOUT)
    native = Side(place, place.native)
    sides = {}
    for mode in bench.MODES:
        for replicas in REPLICAS:
            nodes = place.cluster(mode, replicas)
            sides[mode, replicas] = Side(place, nodes.primary.mount, nodes)
    for sync in ("NORMAL", "FULL"):
        for rows in (1, 10):
            measure(report, native, sides, sync, rows)
    for (mode, replicas), side in sides.items():
        if side.drains:
            report.row("%s, %d replica%s: behind at the end" % (
                mode, replicas, "s" * (replicas != 1)),
                "%.0f ms to drain" % (1e3 * middle(side.drains)),
                "max %.0f ms" % (1e3 * max(side.drains)))
            report.number("drains %s %d" % (mode, replicas), side.drains)
    return report
