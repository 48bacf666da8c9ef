"""bench/lag.py - from commit on the primary to visible on the replica."""
import os
import subprocess

import bench
import cluster
import plot
from measure import (Report, merge, middle, percentile_us, percentiles_text,
                     spread, us_text)

RATES = (100, 1000, 10000)
SECONDS = 2 * bench.SECONDS
DISTANCES_MS = (10, 75, 150) if bench.LONG else (10, 75)
# (mode, rate): {percentile: us}
BARS = {("passthrough", 1000): {50: 200, 99: 1000},
        ("passthrough", 10000): {99: 2000},
        ("classic", 1000): {50: 400}}
CONTROLS = 4  # a bar is its figure or so many round trips of the control
ABOUT = {
    "title": "from commit on the primary to visible on a replica",
    "method": "a writer commits single rows with NORMAL on a fixed schedule "
              "(open loop); a stock reader in another process, on the "
              "replica's mount, sleeps until the -wal beside the database "
              "was written (inotify), then queries at once for 300 us and every "
              "200 us after that, and notes when it was handed each row. 'since due' counts from "
              "the schedule and hides nothing, 'since commit' from when "
              "COMMIT returned to the writer. Native: writer and reader on "
              "one database. Control: round trips over loopback TCP between "
              "two sleeping threads, at the same rate (at most 1000/s).",
}


def one_run(place, write_path, read_path, rate):
    return place.quiet.measured(
        lambda: one_try(place, write_path, read_path, rate))


def one_try(place, write_path, read_path, rate):
    """Histograms of one run, and what the writer said."""
    rows = int(rate * SECONDS)
    watch = place.start("watch", read_path, rows, SECONDS + 10)
    if watch.stderr.readline().strip() != "ready":
        place.result(watch)
    wrote = place.run("pace", write_path, "NORMAL", rate, SECONDS)
    found = place.result(watch)
    if found["rows"] != rows:
        raise RuntimeError("%s saw %d rows of %d" % (read_path, found["rows"],
                                                     rows))
    found["late"] = wrote["late"]
    found["writer"] = wrote["commit"]
    return found


def control(place, rate):
    return place.quiet.measured(lambda: place.run(
        "echo", min(rate, 1000), bench.SECONDS))["round_trip"]


def bar_us(bars, echo, percent):
    """The figure, or what the machine allows; and both in words. Distances
    have no control."""
    if echo is None:
        return bars[percent], us_text(bars[percent])
    allowed = CONTROLS * percentile_us(echo, percent)
    return max(bars[percent], allowed), "%s or %dx control %s" % (
        us_text(bars[percent]), CONTROLS, us_text(allowed))


def judge(report, what, runs, echo, bars):
    """Lag is what passes after a commit. What came before, a late timer, a
    slow insert, is in 'since due', beside the same of native."""
    for since in ("due", "commit"):
        histograms = [run[since] for run in runs]
        report.row("%s, since %s" % (what, since),
                   percentiles_text(merge(histograms)))
        for percent in bars if since == "commit" else ():
            each = [percentile_us(h, percent) for h in histograms]
            bar, words = bar_us(bars, echo, percent)
            report.row("  p%g of a round" % percent, us_text(middle(each)),
                       spread(each, "%.0f us"), "<= " + words,
                       middle(each) <= bar)


def keep(report, what, runs, echo=None):
    report.number(what, {
        "due": merge([run["due"] for run in runs]),
        "commit": merge([run["commit"] for run in runs]),
        "writer": merge([run["writer"] for run in runs]),
        "late": [run["late"] for run in runs],
        "missed": [run["missed"] for run in runs],
        "queries": [run["queries"] for run in runs],
        "control": echo})


def prepare(path):
    """The table is there before a reader asks for it."""
    bench.script(path, "PRAGMA journal_mode = wal;"
                 "CREATE TABLE IF NOT EXISTS lag(seq INTEGER PRIMARY KEY, "
                 "due INTEGER, began INTEGER, before INTEGER, v TEXT);")


def measure(report, place, clusters, rate, lines):
    """Rounds in the order control, native, ours of each mode, native."""
    native = os.path.join(place.native, "lag.db")
    prepare(native)
    echoes, natives, ours = [], [], {mode: [] for mode in clusters}
    for _ in range(bench.ROUNDS):
        for mode, nodes in clusters.items():
            echoes.append(control(place, rate))
            natives.append(one_run(place, native, native, rate))
            ours[mode].append(one_run(place, nodes.primary.path("lag.db"),
                                      nodes.replicas[0].path("lag.db"), rate))
    natives.append(one_run(place, native, native, rate))
    echo = merge(echoes)
    for mode, runs in ours.items():
        what = "%s, %d tx/s" % (mode, rate)
        judge(report, what, runs, echo, BARS.get((mode, rate), {}))
        keep(report, what, runs, echo)
        lines["%s %d/s" % (mode, rate)] = merge([r["due"] for r in runs])
    judge(report, "native, %d tx/s" % rate, natives, echo, {})
    keep(report, "native, %d tx/s" % rate, natives)
    report.row("control, %d/s" % min(rate, 1000), "p50 %s" % us_text(
        percentile_us(echo, 50)), "p99 %s" % us_text(percentile_us(echo, 99)))


def measure_distance(report, place, nodes, delay_ms, lines):
    """The primary seen through a proxy that holds each byte back."""
    port = cluster.free_ports(1)[0]
    proxy = place.start("distance", port, nodes.primary.port, delay_ms)
    proxy.stderr.readline()
    far = place.replica_of(nodes, "far%d" % delay_ms, port)
    bench.caught_up(nodes.primary, far, "lag.db")
    runs = [one_run(place, nodes.primary.path("lag.db"), far.path("lag.db"),
                    1000) for _ in range(bench.ROUNDS)]
    far.stop()
    proxy.terminate()
    proxy.wait()
    place.processes.remove(proxy)
    what = "passthrough, 1000 tx/s, %d ms one way" % delay_ms
    judge(report, what, runs, None, {50: delay_ms * 1e3 + 500,
                                     99: delay_ms * 1e3 + 3000})
    keep(report, what, runs)
    lines["%d ms away" % delay_ms] = merge([r["due"] for r in runs])


def run(place):
    report, lines, clusters = Report("lag", ABOUT), {}, {}
    for mode in bench.MODES:
        nodes = clusters[mode] = place.cluster(mode, 1)
        prepare(nodes.primary.path("lag.db"))
        bench.caught_up(nodes.primary, nodes.replicas[0], "lag.db")
    for rate in RATES:
        measure(report, place, clusters, rate, lines)
    if "passthrough" in clusters:
        for delay_ms in DISTANCES_MS:
            measure_distance(report, place, clusters["passthrough"], delay_ms,
                             lines)
    plot.percentiles("lag", "from commit due to visible on the replica", lines)
    return report
