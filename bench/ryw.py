"""bench/ryw.py - read your own write: token, wait and read on a replica."""
import bench
import lag
from measure import (Report, merge, middle, percentile_us, percentiles_text,
                     spread, us_text)

RATE = 200
SECONDS = 2 * bench.SECONDS
MARGIN_US = 200
ABOUT = {
    "title": "commit on the primary, wait on the replica, read it there",
    "method": "one program, open loop, %d times a second: COMMIT on the "
              "primary's mount, read .tidemark/token/DB there, open "
              ".tidemark/wait/DB/TOKEN on the replica's mount, SELECT the "
              "row there; it must be there. Counted from when COMMIT "
              "returned. The bar is the lag of the same rate in the same "
              "run plus %d us." % (RATE, MARGIN_US),
}


def prepare(nodes):
    bench.script(nodes.primary.path("s.db"), "PRAGMA journal_mode = wal;"
                 "CREATE TABLE s(seq INTEGER PRIMARY KEY, v TEXT)")
    lag.prepare(nodes.primary.path("lag.db"))
    for name in ("s.db", "lag.db"):
        bench.caught_up(nodes.primary, nodes.replicas[0], name)


def session(place, nodes):
    return place.quiet.measured(lambda: place.run(
        "session", nodes.primary.mount, nodes.replicas[0].mount, "s.db", RATE,
        SECONDS))


def lag_us(place, nodes):
    """The lag's median, from when COMMIT returned."""
    found = lag.one_run(place, nodes.primary.path("lag.db"),
                        nodes.replicas[0].path("lag.db"), RATE)
    return percentile_us(found["commit"], 50)


def measure(report, place, mode, nodes):
    lags, runs = [lag_us(place, nodes)], []
    for _ in range(bench.ROUNDS):
        runs.append(session(place, nodes))
        lags.append(lag_us(place, nodes))
    bar = middle(lags) + MARGIN_US
    for step in ("token", "wait", "row"):
        found = merge([run[step] for run in runs])
        report.number("%s %s" % (mode, step), found)
        medians = [percentile_us(run[step], 50) for run in runs]
        judged = step == "row"
        report.row("%s, until the %s" % (mode, step), "p50 %s" % us_text(
            middle(medians)), spread(medians, "%.0f us"),
            "<= lag + %d us = %s" % (MARGIN_US, us_text(bar)) if judged
            else "", middle(medians) <= bar if judged else None)
        report.row("  all", percentiles_text(found))
    report.row("%s, lag at the same rate" % mode, "p50 %s" % us_text(
        middle(lags)), spread(lags, "%.0f us"))


def run(place):
    report = Report("ryw", ABOUT)
    for mode in bench.MODES:
        nodes = place.cluster(mode, 1)
        prepare(nodes)
        measure(report, place, mode, nodes)
    return report
