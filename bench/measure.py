"""bench/measure.py - numbers: rounds against the native file system, medians
with their spread, percentiles, the table and the JSON that is kept.

The order within a round is A B A: every figure of ours is compared with the
native one before it and the native one after it, so that a machine that gets
slower meanwhile (or a disk that gets fuller) does not look like us.
"""
import json
import os
import platform
import sqlite3
import statistics
import subprocess
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
KEPT = os.path.join(ROOT, "build", "bench")
PERCENTILES = (50, 90, 99, 99.9, 100)


# ---- rounds -----------------------------------------------------------------

def alternate(rounds, native, ours):
    """Runs A B1 A B2 A ... for each of ours = {name: function}, rounds times.
    Returns {name: [(native before, figure, native after), ...]}."""
    seen = {name: [] for name in ours}
    before = native()
    for _ in range(rounds):
        for name, function in ours.items():
            figure = function()
            after = native()
            seen[name].append((before, figure, after))
            before = after
    return seen


def ratios(triples):
    return [figure / ((before + after) / 2) for before, figure, after in
            triples]


def middle(values):
    return statistics.median(values)


def spread(values, form="%.2f"):
    return "%s..%s" % (form % min(values), form % max(values))


# ---- histograms that bench/histogram.c printed ---------------------------------

def merge(histograms):
    """One histogram of several; how many, the largest, and the buckets."""
    buckets = {}
    for histogram in histograms:
        for top, count in histogram["buckets"]:
            buckets[top] = buckets.get(top, 0) + count
    return {"count": sum(h["count"] for h in histograms),
            "max_ns": max(h["max_ns"] for h in histograms),
            "buckets": sorted(buckets.items())}


def percentile_us(histogram, percent):
    if percent >= 100:
        return histogram["max_ns"] / 1e3
    rank, seen = percent / 100 * histogram["count"], 0
    for top, count in histogram["buckets"]:
        seen += count
        if seen >= rank:
            return min(top, histogram["max_ns"]) / 1e3
    return histogram["max_ns"] / 1e3


def percentiles_text(histogram):
    return "  ".join("%s %s" % ("max" if p == 100 else "p%g" % p,
                                us_text(percentile_us(histogram, p)))
                     for p in PERCENTILES)


def us_text(us):
    return ("%.0f us" % us if us < 1000 else "%.2f ms" % (us / 1e3)
            if us < 100e3 else "%.0f ms" % (us / 1e3))


# ---- what the figures were measured on -------------------------------------------

def first_line(*command):
    try:
        done = subprocess.run(command, cwd=ROOT, text=True, check=False,
                              stdin=subprocess.DEVNULL, capture_output=True)
        return (done.stdout.splitlines() or [""])[0].strip()
    except OSError:
        return ""


def processor():
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        names = [line.partition(":")[2].strip() for line in file
                 if line.startswith("model name")]
    return "%d x %s" % (os.cpu_count(), names[0] if names else
                        platform.machine())


def disk_of(folder):
    words = first_line("findmnt", "-n", "-o", "FSTYPE,SOURCE", "-T", folder)
    return " on ".join(words.split()) or "unknown"


def environment(folder, binary):
    commit = first_line("git", "rev-parse", "--short", "HEAD")
    changed = first_line("git", "status", "--porcelain", "-uno")
    return {
        "tidemark": first_line(binary, "version"),
        "commit": commit + ("+" if changed else ""),
        "kernel": platform.release(),
        "sqlite": sqlite3.sqlite_version,
        "processor": processor(),
        "disk": disk_of(folder),
        "fsync": "OFF, NORMAL: no fsync per commit; FULL: one fdatasync per "
                 "commit, ours and native alike",
        "load_before": "%.2f %.2f %.2f" % os.getloadavg(),
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


# ---- the table and the JSON --------------------------------------------------------

class Report:
    """What one benchmark found: rows for people, all the numbers as JSON."""

    def __init__(self, name, about):
        self.name, self.about, self.rows, self.numbers = name, about, [], {}

    def row(self, what, figure, seen="", bar="", met=None):
        """met: True, False, or None where there is no bar."""
        verdict = "-" if met is None else "met" if met else "MISSED"
        self.rows.append((what, figure, seen, bar, verdict))
        print("    %-44s %s%s" % (what, figure, "  (%s)" % seen if seen
                                  else ""), flush=True)

    def at_least(self, what, values, bar, form="%.2f", unit="x native"):
        """A row for figures of which the median should reach bar."""
        value = middle(values)
        self.row(what, "%s%s" % (form % value, unit), spread(values, form),
                 ">= " + form % bar if bar else "",
                 value >= bar if bar else None)

    def number(self, key, value):
        self.numbers[key] = value

    def print(self):
        head = ("what", "figure", "spread", "bar", "verdict")
        widths = [max(len(row[i]) for row in self.rows + [head])
                  for i in range(len(head))]
        print("\n%s: %s" % (self.name, self.about["title"]))
        for row in [head] + self.rows:
            print("  " + "  ".join(cell.ljust(width) for cell, width in
                                   zip(row, widths)).rstrip())
        print(flush=True)

    def keep(self):
        os.makedirs(KEPT, exist_ok=True)
        path = os.path.join(KEPT, self.name + ".json")
        with open(path + ".new", "w", encoding="utf-8") as file:
            json.dump({"name": self.name, "about": self.about,
                       "table": self.rows, "numbers": self.numbers}, file,
                      indent=1)
        os.replace(path + ".new", path)
        return path
