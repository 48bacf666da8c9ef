"""tests/support/scene.py - a primary and a replica, one of which may die at any
call, and somebody who starts it again and goes on with what was to be done.

An occasion (tests/crash/occasions.py) is written as if nothing happened: each
step goes through Scene.do() and is done again when the node died under it, so
steps must bear that. What an application was told stays told.
"""
import contextlib
import signal
import sqlite3
import subprocess
import time

import cluster
import runner
import sql
import workers
from runner import expect, expect_eq, until

ROLES = ("primary", "replica")
STEP_SECONDS = 30
TROUBLE = (sqlite3.Error, OSError, AssertionError, subprocess.SubprocessError)


def keep_open(control, path):
    """Tries until it has it; then does nothing but have it, until it ends."""
    while True:
        try:
            with contextlib.closing(sql.open_reader(path)) as reader:
                reader.execute("SELECT count(*) FROM t").fetchone()
                while control.running():
                    time.sleep(0.05)
                return
        except sqlite3.Error:
            time.sleep(0.05)


class Scene:
    def __init__(self, stage, role, plan, extra=""):
        """plan: what TIDEMARK_FAULT is for the node of that role, until it
        dies of it."""
        self.stage, self.plan, self.died = stage, plan, False
        self.nodes = cluster.Cluster(stage, 1, extra=extra)
        self.primary, self.replica = self.nodes.nodes
        self.victim = self.nodes.nodes[ROLES.index(role)]
        self.readers = []  # (node, worker)
        self.told = {}  # name -> ids of rows of which a commit was heard

    # ---- nodes ---------------------------------------------------------------

    def start(self, *nodes):
        for node in nodes or self.nodes.nodes:
            may_die = node is self.victim and not self.died
            node.launch(self.plan if may_die else None)
        for node in nodes or self.nodes.nodes:
            try:
                node.wait_ready()
            except AssertionError:
                expect(self.mend(), "%s does not start" % node.name)

    def mend(self):
        """Starts the victim again when it has died; True: it had."""
        process = self.victim.process
        if process is None or process.poll() is None:
            return False
        expect(not self.died, "%s died again, with %s" %
               (self.victim.name, process.returncode))
        expect_eq(process.returncode, -signal.SIGKILL, "status of its end")
        self.victim.process, self.died = None, True
        for node, reader in self.readers:
            if node is self.victim:
                reader.kill()  # as an application that gets errors
        self.victim.start()
        return True

    def stop(self, node):
        """An end in order, or at the call."""
        node.process.terminate()
        code = node.process.wait(cluster.STOP_SECONDS)
        if node is self.victim and code == -signal.SIGKILL:
            expect(not self.died, "it died again")
            self.died = True
        else:
            expect_eq(code, 0, "status of its end")
        node.process = None

    def kill(self, node):
        self.mend()
        node.kill()

    def restart(self, node):
        self.mend()
        self.stop(node)
        self.start(node)

    @contextlib.contextmanager
    def paused(self, node):
        """It does nothing meanwhile; a dead one cannot."""
        self.mend()
        node.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            node.process.send_signal(signal.SIGCONT)

    @contextlib.contextmanager
    def reader(self, node, name):
        """Somebody who has it open all the time. Not this process: what it
        has mapped it would wait for with a node that is paused."""
        reader = workers.Worker(keep_open, node.path(name))
        self.readers.append((node, reader))
        try:
            self.until(lambda: reader.count() > 0 or reader.pid is None,
                       "it is not opened")
            yield
        finally:
            reader.kill()
            self.readers.remove((node, reader))

    # ---- steps ---------------------------------------------------------------

    def do(self, step, *arguments, seconds=STEP_SECONDS):
        """The step's result; it is done again after a death, and as long as
        it fails: locks and processes of before take a moment to go."""
        deadline = time.monotonic() + seconds
        while True:
            self.mend()
            try:
                return step(*arguments)
            except TROUBLE:
                if not self.mend() and time.monotonic() > deadline:
                    raise
            time.sleep(0.02)

    def until(self, probe, text, seconds=STEP_SECONDS):
        def is_so():
            try:
                return probe()
            except TROUBLE:
                return False
            finally:
                self.mend()
        until(is_so, text, seconds)

    def write(self, name, ids, size=400, **pragmas):
        """Rows of a table t, each a commit of its own, heard of one by one."""
        def rows():
            with sql.connect(self.primary.path(name), **pragmas) as db:
                db.execute("CREATE TABLE IF NOT EXISTS"
                           " t(id INTEGER PRIMARY KEY, v)")
                for ident in ids:
                    db.execute("INSERT OR REPLACE INTO t VALUES"
                               " (?, randomblob(?))", (ident, size))
                    self.told.setdefault(name, set()).add(ident)
        self.do(rows)

    def settle(self, name):
        self.do(self.nodes.settle, name)

    def rest(self, node):
        """Nobody has a database open, and the node has let go of them."""
        self.until(lambda: {one["state"] for one in node.databases().values()}
                   <= {"closed"}, "%s does not let go" % node.name)

    def compare(self):
        """The end of the scene: nothing that was told is missing, both are
        the same and well."""
        self.do(self.nodes.compare_all)
        for name, ids in self.told.items():
            with sql.connect(self.primary.path(name)) as db:
                have = {ident for ident, in db.execute("SELECT id FROM t")}
            expect(ids <= have, "%s: commits are missing: %s" %
                   (name, sorted(ids - have)[:9]))
        for node in self.nodes.nodes:
            for name, one in node.databases().items():
                expect_eq(one["health"], "ok", "%s on %s: %s" % (
                    name, node.name, one["problem"]))

    def close(self):
        """All stop. One that died of that comes back, too."""
        died_before = self.died
        self.stop_all()
        if self.died and not died_before:
            self.start()
            self.compare()
            self.stop_all()
        for node in self.nodes.nodes:
            for point in runner.mounts_below(node.home):
                runner.unmount(point)  # of the one that died

    def stop_all(self):
        for node in self.nodes.nodes:
            if node.process is not None:
                self.stop(node)
