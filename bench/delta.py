"""bench/delta.py - a replica that was away for longer than the log lasts."""
import glob
import os
import sys
import time

import bench
from catchup import check, fill, reach
from measure import ROOT, Report, middle, spread

sys.path.insert(0, os.path.join(ROOT, "tests", "support"))
import relay  # pylint: disable=wrong-import-position

MEGABYTES = 1024
NAME = "large.db"
SHARES = (0.0, 0.01, 0.1)
ABOUT = {
    "title": "a replica compares pages and fetches those that differ",
    "method": "%d MB of random rows on both; the replica stops, a share of the "
              "pages is changed, the primary's log is taken away, the replica "
              "starts; the clock runs until the primary's token is reached "
              "there. Bytes are those that a relay between the two saw come "
              "from the primary. Sizes in units of 10^6 bytes." % MEGABYTES,
}


def change(path, share):
    if share > 0:
        bench.script(path, "PRAGMA synchronous = off; UPDATE t SET v = "
                     "randomblob(3900) WHERE id %% %d = 0;"
                     "PRAGMA wal_checkpoint(TRUNCATE)" % round(1 / share))


def lose_the_log(primary):
    primary.stop()
    for name in glob.glob(os.path.join(primary.data, "db/*/log/*")):
        os.unlink(name)
    primary.start()


def measure_one(nodes, replica, between, share):
    primary = nodes.primary
    replica.stop()
    change(primary.path(NAME), share)
    lose_the_log(primary)
    token = primary.token(NAME)
    between.taken, began = 0, time.monotonic()
    replica.start()
    reach(replica, NAME, token)
    spent = time.monotonic() - began
    check(primary, replica, NAME)
    return between.taken / 1e6, spent


def measure(report, place, mode):
    nodes = place.cluster(mode, 0)
    primary = nodes.primary
    fill(primary.path(NAME), MEGABYTES)
    between = relay.Relay(nodes.stage, primary.port)
    replica = place.replica_of(nodes, "away", between.port)
    reach(replica, NAME, primary.token(NAME))
    size = os.path.getsize(primary.file(NAME)) / 1e6
    for share in SHARES:
        seen = [measure_one(nodes, replica, between, share)
                for _ in range(min(bench.ROUNDS, 3))]
        moved = [100 * one[0] / size for one in seen]
        spent = [one[1] for one in seen]
        what = "%s, %g %% changed" % (mode, 100 * share)
        report.row(what + ": bytes", "%.2f %% of all" % middle(moved),
                   spread(moved, "%.2f %%"), "about as much")
        report.row(what + ": time", "%.2f s" % middle(spent),
                   spread(spent, "%.2f s"))
        report.number(what, {"megabytes": [one[0] for one in seen],
                             "seconds": spent})


def run(place):
    report = Report("delta", ABOUT)
    for mode in bench.MODES:
        measure(report, place, mode)
    return report
