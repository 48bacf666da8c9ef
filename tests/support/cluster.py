"""tests/support/cluster.py - nodes on loopback, asked the way people ask.

A Node is one daemon with its folder, configuration and log; a Cluster is a
primary and its replicas. They answer through the command line and through
.tidemark in the mount: nothing here knows more than a user could.
"""
import contextlib
import functools
import glob
import json
import os
import re
import signal
import subprocess
import tempfile

import runner
import sql
from runner import expect, expect_eq, free_ports, until

START_SECONDS = 20
STOP_SECONDS = 20


def program():
    return os.environ.get("TIDEMARK") or os.path.abspath(
        os.path.join(os.path.dirname(__file__), "../../build/tidemark"))


def tidemark(*arguments, timeout=30, binary=None):
    """One command; the finished process with its output as text."""
    done = subprocess.run([binary or program(), *arguments], text=True,
                          stdin=subprocess.DEVNULL, capture_output=True,
                          timeout=timeout, check=False)
    runner.expect_no_report("tidemark %s" % " ".join(arguments), done.stderr)
    return done


class Node:
    """One daemon: started, asked, stopped, killed, started again."""

    def __init__(self, stage, name, port, primary_port=None, binary=None,
                 extra=""):
        self.stage, self.name, self.port = stage, name, port
        self.primary_port = primary_port or port
        self.binary = binary or program()
        self.home = stage.path(name)
        self.mount = os.path.join(self.home, "mnt")
        self.data = os.path.join(self.home, "data")
        self.config = os.path.join(self.home, "tidemark.yml")
        self.log = os.path.join(self.home, "log")
        self.process = None
        self.prefix = []  # what the daemon is started with
        self.fetch_timeout = "2s"
        os.makedirs(self.mount)
        self.configure(extra)

    def configure(self, extra=""):
        with open(self.config, "w", encoding="utf-8") as file:
            file.write(
                "mount: %s\ndata: %s\n"
                "node: { id: %s, advertise: \"127.0.0.1:%d\" }\n"
                "listen: { replication: \"127.0.0.1:%d\" }\n"
                "lease: { type: static, primary: \"127.0.0.1:%d\","
                " fetch_timeout: %s }\n"
                "fuse: { mode: %s }\n%s"
                % (self.mount, self.data, self.name, self.port, self.port,
                   self.primary_port, self.fetch_timeout, self.stage.mode,
                   extra))

    @property
    def is_primary(self):
        return self.port == self.primary_port

    @property
    def pid(self):
        return self.process.pid

    # ---- life ------------------------------------------------------------

    def launch(self, fault=None):
        """Starts the daemon and does not wait for it. fault: which of its
        calls fail, or kill it (base/site.h)."""
        expect(self.process is None, "%s runs already" % self.name)
        parent = os.getpid()
        plan = {"TIDEMARK_FAULT": fault} if fault else {}
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                self.prefix + [self.binary, "mount", "--config", self.config],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env=dict(os.environ, **plan),
                preexec_fn=functools.partial(runner.die_with_parent, parent))
        return self

    def start(self, fault=None):
        self.launch(fault)
        self.wait_ready()
        return self

    def wait_ready(self, seconds=START_SECONDS):
        socket_path = os.path.join(self.data, "control.sock")

        def is_ready():
            expect(self.process.poll() is None,
                   "%s ended with status %s while it started"
                   % (self.name, self.process.returncode))
            # Asking costs a process: only when there is somebody to ask.
            return os.path.exists(socket_path) and self.is_answering()
        until(is_ready, "%s is not ready" % self.name, seconds)

    def is_answering(self):
        done = tidemark("status", "--json", "--config", self.config)
        if done.returncode != 0:
            return False
        node = json.loads(done.stdout)["node"]
        return node["pid"] == self.pid and node["phase"] == "serving"

    def stop(self, status=0):
        """An orderly end, which must succeed."""
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            raise AssertionError("%s did not stop within %d s"
                                 % (self.name, STOP_SECONDS)) from None
        self.process = None
        expect(code == status, "%s stopped with status %d, not %d"
               % (self.name, code, status))
        return self

    def kill(self, seconds=STOP_SECONDS):
        """kill -9; it must be gone soon, whatever it was at."""
        self.process.kill()
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError("%s was killed and does not end" % self.name
                                 ) from None
        self.process = None
        return self

    def restart(self, fault=None):
        return self.stop().start(fault)

    def lose_the_log(self):
        """Its disk does, while it is stopped: what a replica misses can only
        be told by comparing."""
        expect(self.process is None, "%s runs" % self.name)
        for name in glob.glob(os.path.join(self.data, "db/*/log/*")):
            os.unlink(name)
        return self

    def close(self):
        if self.process is not None:
            self.stop()

    def check_alive(self):
        expect(self.process.poll() is None, "%s died with status %s"
               % (self.name, self.process.returncode))

    # ---- asking ------------------------------------------------------------

    def command(self, *arguments, timeout=30):
        return tidemark(arguments[0], "--config", self.config, *arguments[1:],
                        timeout=timeout, binary=self.binary)

    def ask(self, *arguments, timeout=30):
        done = self.command(*arguments, timeout=timeout)
        expect(done.returncode == 0, "%s: tidemark %s: status %d: %s" %
               (self.name, " ".join(arguments), done.returncode, done.stderr))
        return done.stdout.strip()

    def status(self):
        return json.loads(self.ask("status", "--json"))

    def databases(self):
        return {one["name"]: one for one in self.status()["databases"]}

    def token(self, database):
        return self.ask("token", database)

    def wait(self, database, token, seconds=20):
        """Like `tidemark wait`: the exit code."""
        return self.command("wait", "--timeout", "%dms" % (seconds * 1000),
                            database, token, timeout=seconds + 20).returncode

    def reach(self, database, token, seconds=20):
        code = self.wait(database, token, seconds)
        expect(code == 0, "%s: wait %s %s ended with %d; status: %s" %
               (self.name, database, token, code,
                self.databases().get(database)))

    def token_by_file(self, database):
        with open(self.path(".tidemark/token", database)) as file:
            return file.read().strip()

    def wait_by_open(self, database, token):
        """Returns when reached, or raises what open() said."""
        os.close(os.open(self.path(".tidemark/wait", database, token),
                         os.O_RDONLY))

    def path(self, *parts):
        return os.path.join(self.mount, *parts)

    def file(self, *parts):
        """The backing file: for looking at a node that is stopped."""
        return os.path.join(self.data, "files", *parts)

    # ---- looking -------------------------------------------------------------

    def log_text(self):
        try:
            with open(self.log, encoding="utf-8", errors="replace") as file:
                return file.read()
        except FileNotFoundError:
            return ""

    def opened(self, database=r"\S+"):
        """How each stream of a database began, in order: resume, snapshot,
        delta or nothing."""
        return re.findall(r"event=replication\.open database=%s mode=(\w+)" %
                          database, self.log_text())

    def copies(self, database=r"\S+"):
        """How often a replica was told to take a copy, whole or compared."""
        return sum(mode in ("snapshot", "delta")
                   for mode in self.opened(database))

    def memory_kib(self):
        with open("/proc/%d/status" % self.pid) as file:
            for line in file:
                if line.startswith("VmRSS:"):
                    return int(line.split()[1])
        raise AssertionError("no VmRSS")

    def descriptors(self):
        return len(os.listdir("/proc/%d/fd" % self.pid))

    def threads(self):
        """The names of its threads, by their ids."""
        found = {}
        for task in os.listdir("/proc/%d/task" % self.pid):
            with open("/proc/%d/task/%s/comm" % (self.pid, task)) as file:
                found[int(task)] = file.read().strip()
        return found

    def starve_workers(self, starve=True):
        """From now on its workers run only when nobody else wants to, on one
        processor with all its threads, as on a machine that is busy: what
        depends on their being quick goes wrong. Returns the processor."""
        policy = os.SCHED_IDLE if starve else os.SCHED_OTHER
        cpu = max(os.sched_getaffinity(0))
        for task, name in self.threads().items():
            os.sched_setaffinity(task, {cpu})
            if name.startswith("worker-"):
                os.sched_setscheduler(task, policy, os.sched_param(0))
        return cpu

    def cpu_seconds(self):
        with open("/proc/%d/stat" % self.pid) as file:
            fields = file.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def without_capabilities(node, *names):
    """Until then node starts as root that may less, as in a container."""
    before = node.prefix
    node.prefix = ["setpriv", "--bounding-set",
                   ",".join("-" + name for name in names)]
    try:
        yield node
    finally:
        node.prefix = before


class Cluster:
    """A primary and some replicas, all with the same program."""

    def __init__(self, stage, replicas, binary=None, extra=""):
        self.stage, self.binary, self.extra = stage, binary, extra
        ports = free_ports(1 + replicas)
        self.primary = Node(stage, "primary", ports[0], binary=binary,
                            extra=extra)
        self.replicas = [self.replica(i + 1, port)
                         for i, port in enumerate(ports[1:])]
        stage.closers.append(self.close)

    def replica(self, number, port):
        return Node(self.stage, "replica%d" % number, port, self.primary.port,
                    binary=self.binary, extra=self.extra)

    @property
    def nodes(self):
        return [self.primary] + self.replicas

    def start(self):
        for node in self.nodes:
            node.launch()
        for node in self.nodes:
            node.wait_ready()
        return self

    def add_replica(self):
        node = self.replica(len(self.replicas) + 1, free_ports(1)[0])
        self.replicas.append(node)
        return node

    def close(self):
        for node in reversed(self.nodes):
            node.close()

    # ---- comparing -----------------------------------------------------------

    def settle(self, database, seconds=10):
        """All replicas have what the primary has now; writers must pause.
        Returns the token."""
        token = self.primary.token(database)
        for node in self.replicas:
            node.reach(database, token, seconds)
        return token

    def compare(self, database, seconds=10):
        """The same database everywhere, for stock programs and by its
        position. Writers must pause. Returns the facts."""
        token = self.settle(database, seconds)
        with sql.connect(self.primary.path(database)) as connection:
            want = sql.facts(connection)
        for node in self.replicas:
            connection = sql.open_reader(node.path(database))
            try:
                have = sql.facts(connection)
            finally:
                connection.close()
            sql.expect_same(want, have, "%s on %s" % (database, node.name))
            expect_eq(node.token(database), token, "token on " + node.name)
            expect_eq(node.databases()[database]["position"]["sum"],
                      self.primary.databases()[database]["position"]["sum"],
                      "sum of %s on %s" % (database, node.name))
        return want

    def compare_all(self, seconds=10):
        """Every database of the primary, and no other on the replicas."""
        names = sorted(self.primary.databases())
        for name in names:
            self.compare(name, seconds)
        for node in self.replicas:
            until(lambda n=node: sorted(n.databases()) == names,
                  lambda n=node: "%s has %s, the primary %s" %
                  (n.name, sorted(n.databases()), names))
        return names


def pair(stage, extra=""):
    """A primary and one replica, running."""
    return Cluster(stage, 1, extra=extra).start()


def single(stage, extra="", start=True):
    """A node alone."""
    node = Node(stage, "primary", free_ports(1)[0], extra=extra)
    stage.closers.append(node.close)
    return node.start() if start else node


def why_not(mode):
    """Why mounts of this mode do not work here; "" when they do."""
    class Probe:
        def __init__(self, folder):
            self.folder, self.mode = folder, mode

        def path(self, *parts):
            return os.path.join(self.folder, *parts)

    folder = tempfile.mkdtemp(prefix="tidemark-probe-")
    node = Node(Probe(folder), "probe", free_ports(1)[0])
    try:
        node.start().stop()
        return ""
    except AssertionError:
        # Only what the kernel cannot do excuses; all else fails the tests.
        log = node.log_text()
        return log.strip() if mode == "passthrough" and \
            "passthrough" in log and "ready" not in log else ""
    finally:
        if node.process is not None:
            node.kill()
        for point in runner.mounts_below(folder):
            runner.unmount(point)
        runner.shutil.rmtree(folder, ignore_errors=True)
