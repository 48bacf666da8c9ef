"""tests/support/proxy.py - the network between two nodes, and its bad days.

A Proxy is one process of bench/distance.c: bytes for `port` go on to the
target. What may happen to them, and the words for it, is in bench/weather.h:

    between = Proxy(stage, nodes.primary.port)
    between.set("down.stall=0")   nothing comes from the target any more
    between.set("heal")
"""
import functools
import json
import os
import signal
import subprocess

import cluster
import runner
from runner import expect_eq

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../..")
SOURCES = ("bench/distance.c", "bench/weather.c", "bench/tool.c",
           "bench/weather.h", "bench/tool.h", "base/clock.h")


def tool():
    """The program, compiled when it is not there or older than its source."""
    folder = os.path.join(ROOT, os.environ.get("BUILD", "build"), "tools")
    target = os.path.join(folder, "distance")
    sources = [os.path.join(ROOT, name) for name in SOURCES]
    if os.path.exists(target) and os.path.getmtime(target) > \
            max(os.path.getmtime(path) for path in sources):
        return target
    os.makedirs(folder, exist_ok=True)
    fresh = "%s.%d" % (target, os.getpid())
    subprocess.run([os.environ.get("CC", "cc"), "-std=gnu17", "-O2", "-g",
                    "-D_GNU_SOURCE", "-I" + ROOT, "-o", fresh] +
                   [path for path in sources if path.endswith(".c")] +
                   ["-lsqlite3"], check=True)
    os.rename(fresh, target)
    return target


class Proxy:
    def __init__(self, stage, target_port, *settings, port=None):
        self.port = port or runner.free_ports(1)[0]
        parent = os.getpid()
        self.process = subprocess.Popen(
            [tool(), str(self.port), str(target_port), "0", *settings],
            text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            preexec_fn=functools.partial(runner.die_with_parent, parent))
        stage.closers.append(self.close)
        expect_eq(self.process.stderr.readline(), "ready\n", "the proxy says")

    def say(self, *words):
        self.process.stdin.write(" ".join(words) + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def set(self, *words):
        """Holds when this returns."""
        expect_eq(self.say(*words), "ok", "the proxy on %s" % (words,))

    def report(self):
        """What happened so far: open, opened, cuts, resets, flips, and the
        bytes that went up and down."""
        return json.loads(self.say("report"))

    def close(self):
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(10)
            for pipe in (self.process.stdin, self.process.stdout,
                         self.process.stderr):
                pipe.close()
            self.process = None


class Apart(cluster.Cluster):
    """A primary and replicas, a proxy before each replica: proxies[i] is the
    way of replicas[i] to the primary."""

    def __init__(self, stage, replicas, binary=None, extra="", settings=()):
        self.proxies, self.settings = [], settings
        super().__init__(stage, replicas, binary, extra)

    def replica(self, number, port):
        between = Proxy(self.stage, self.primary.port, *self.settings)
        self.proxies.append(between)
        return cluster.Node(self.stage, "replica%d" % number, port,
                            between.port, binary=self.binary,
                            extra=self.extra)

    def heal(self):
        for between in self.proxies:
            between.set("heal")
