"""bench/bench.py - the place a benchmark runs in: a folder on one disk with a
native directory, nodes on loopback beside it, and the tools in C.

Everything started here ends here, also when a benchmark fails or is
interrupted: daemons die with this process, mounts are taken away, the folder
is removed.
"""
import glob
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile

import quiet
from measure import KEPT, ROOT

sys.path.insert(0, os.path.join(ROOT, "tests", "support"))
import cluster  # pylint: disable=wrong-import-position
import runner  # pylint: disable=wrong-import-position

MODES = tuple(os.environ.get("MODES", "passthrough,classic").split(","))
ROUNDS = int(os.environ.get("ROUNDS", "5"))
SECONDS = float(os.environ.get("SECONDS", "1"))
LONG = os.environ.get("LONG", "0") != "0"
SHARED = ("tool.c", "histogram.c", "weather.c")
EXTRA = "log: { level: warn }\n"


def build_tools():
    """Compiles what is newer than its program; returns where they are."""
    folder = os.path.join(KEPT, "bin")
    os.makedirs(folder, exist_ok=True)
    here = os.path.join(ROOT, "bench")
    newest = max(os.path.getmtime(path) for path in
                 glob.glob(here + "/*.h") +
                 [os.path.join(here, name) for name in SHARED])
    for path in sorted(glob.glob(here + "/*.c")):
        name = os.path.basename(path)[:-2]
        target = os.path.join(folder, name)
        if name + ".c" in SHARED or os.path.exists(target) and \
                os.path.getmtime(target) > max(newest, os.path.getmtime(path)):
            continue
        subprocess.run(
            [os.environ.get("CC", "cc"), "-std=gnu17", "-O2", "-g",
             "-D_GNU_SOURCE", "-I" + ROOT, "-pthread", "-o", target, path] +
            [os.path.join(here, shared) for shared in SHARED] + ["-lsqlite3"],
            check=True)
    return folder


class Stage:
    """What tests/support/cluster.py wants to know about where it is."""

    def __init__(self, folder, mode):
        self.folder, self.mode = folder, mode
        self.closers, self.mourners = [], []

    def path(self, *parts):
        return os.path.join(self.folder, *parts)


class Place:
    """A folder with `native` in it, and the clusters beside it."""

    def __init__(self, tools):
        os.makedirs(KEPT, exist_ok=True)
        self.folder = tempfile.mkdtemp(
            prefix="tm-", dir=os.environ.get("BENCH_DIR", KEPT))
        os.chmod(self.folder, 0o755)
        self.tools, self.stages, self.processes = tools, [], []
        self.nodes = []
        self.native = os.path.join(self.folder, "native")
        os.makedirs(self.native)
        self.quiet = quiet.Watch(self.native, self.daemon_seconds)

    def cluster(self, mode, replicas, name=None):
        """A started primary with replicas; they end with the place."""
        stage = Stage(os.path.join(self.folder, name or
                                   "%s%d" % (mode[0], replicas)), mode)
        self.stages.append(stage)
        nodes = cluster.Cluster(stage, replicas, extra=EXTRA).start()
        self.nodes += nodes.nodes
        return nodes

    def replica_of(self, nodes, name, port):
        """One more replica, whose primary is at port."""
        node = cluster.Node(nodes.stage, name, cluster.free_ports(1)[0], port,
                            extra=EXTRA)
        nodes.stage.closers.append(node.close)
        self.nodes.append(node)
        return node.start()

    def daemon_seconds(self):
        return sum(node.cpu_seconds() for node in self.nodes
                   if node.process is not None)

    # ---- tools -----------------------------------------------------------------

    def start(self, tool, *arguments):
        process = subprocess.Popen(
            [os.path.join(self.tools, tool), *map(str, arguments)], text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE)
        process.tool = " ".join(map(str, (tool,) + arguments))
        self.processes.append(process)
        return process

    def result(self, process, timeout=600):
        """What a tool found; it must have found something."""
        output, errors = process.communicate(timeout=timeout)
        self.processes.remove(process)
        if process.returncode != 0:
            raise RuntimeError("%s: %s" % (process.tool, errors.strip()))
        return json.loads(output)

    def run(self, tool, *arguments):
        return self.result(self.start(tool, *arguments))

    def end(self, process):
        """Stops a tool that would go on, and returns what it found."""
        process.terminate()
        return self.result(process, 30)

    # ---- the end -----------------------------------------------------------------

    def mourn(self):
        for stage in self.stages:
            for mourner in stage.mourners:
                mourner()

    def close(self):
        for process in self.processes:
            process.kill()
            process.wait()
        for stage in self.stages:
            for closer in reversed(stage.closers):
                try:
                    closer()
                except (AssertionError, OSError) as error:
                    print("bench: %s" % error, file=sys.stderr)
        for point in runner.mounts_below(self.folder):
            runner.unmount(point)
        if not runner.mounts_below(self.folder):
            shutil.rmtree(self.folder, ignore_errors=True)


def why_not(mode):
    return cluster.why_not(mode)


def caught_up(primary, replica, database, seconds=120):
    """Waits until the replica shows what the primary has."""
    replica.reach(database, primary.token(database), seconds)


def script(path, sql):
    """Runs SQL and closes."""
    connection = sqlite3.connect(path, timeout=10, isolation_level=None)
    try:
        connection.executescript(sql)
    finally:
        connection.close()


def query(path, sql):
    """The first row."""
    connection = sqlite3.connect(path, timeout=10, isolation_level=None)
    try:
        return connection.execute(sql).fetchone()
    finally:
        connection.close()
