"""Commits of a rollback-journal mode that something goes wrong with, on either
side: what an application was told of is on the replicas, and nothing that it
was not told of."""
import ctypes
import os
import shutil
import signal
import sqlite3

import cluster
import sql
from runner import LONG, expect, expect_eq, test, until

NAME = "app.db"


def prepare(stage, **pragmas):
    nodes = cluster.Cluster(stage, 1).start()
    with sql.connect(nodes.primary.path(NAME), journal_mode="delete",
                     **pragmas) as db:
        for table in "abc":
            db.execute("CREATE TABLE %s(id INTEGER PRIMARY KEY, v BLOB)"
                       % table)
            db.execute("INSERT INTO %s(v) VALUES (randomblob(9000))" % table)
    nodes.compare(NAME)
    return nodes


def at_rest(node):
    until(lambda: node.databases()[NAME]["state"] == "closed",
          "still open", 20)


class Vfs(ctypes.Structure):
    """sqlite3_vfs up to xSetSystemCall."""
    _fields_ = [("version", ctypes.c_int), ("file_bytes", ctypes.c_int),
                ("path_bytes", ctypes.c_int)] + [
        (name, ctypes.c_void_p) for name in (
            "next", "name", "data", "open", "delete", "access", "full_path",
            "dl_open", "dl_error", "dl_sym", "dl_close", "random", "sleep",
            "time", "last_error", "time64")] + [
        ("set_system_call", ctypes.CFUNCTYPE(
            ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p))]


def die_at_unlink():
    """SQLite in this process: the commit operation is never done."""
    library = ctypes.CDLL("libsqlite3.so.0")
    library.sqlite3_vfs_find.restype = ctypes.POINTER(Vfs)
    vfs = library.sqlite3_vfs_find(None)
    unlink = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_char_p)(
        lambda path: os.kill(os.getpid(), signal.SIGKILL) or 0)
    # No one asks for the old function: it is kept for as long as we live.
    die_at_unlink.kept = unlink
    expect_eq(vfs.contents.set_system_call(
        vfs, b"unlink", ctypes.cast(unlink, ctypes.c_void_p)), 0)


def commit_and_die(path):
    """An application that is killed between its FSYNC and its commit."""
    pid = os.fork()
    if pid == 0:
        try:
            die_at_unlink()
            db = sqlite3.connect(path, isolation_level=None)
            db.execute("PRAGMA synchronous=FULL")
            db.execute("UPDATE a SET v = randomblob(9000)")
        finally:
            os._exit(1)
    _, status = os.waitpid(pid, 0)
    expect(os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL,
           "it ended by itself: %d" % status)


@test(seconds=60)
def a_commit_whose_application_died_keeps_no_new_replica_waiting(stage):
    nodes = prepare(stage)
    with sql.connect(nodes.primary.path(NAME)) as idle:
        want = sql.facts(idle)
        commit_and_die(nodes.primary.path(NAME))
        # Nobody touches the database on the primary: it is the node's affair.
        late = nodes.add_replica().start()
        until(lambda: NAME in late.databases() and
              late.databases()[NAME]["state"] != "copying" and
              os.path.exists(late.path(NAME)), "it gets no copy", 15)
        with sql.connect(late.path(NAME)) as db:
            expect_eq(sql.table_digest(db, "a"), want["table a"])
    nodes.compare(NAME)
    expect_eq(nodes.compare(NAME)["table a"], want["table a"])


@test(seconds=60)
def a_file_that_takes_the_place_of_an_unfinished_commit_is_replicated(stage):
    nodes = prepare(stage)
    path = nodes.primary.path(NAME)
    at_rest(nodes.primary)
    shutil.copy(path, nodes.primary.path("new"))
    want = nodes.compare(NAME)
    commit_and_die(path)
    until(lambda: nodes.primary.databases()[NAME]["state"] in
          ("closed", "rollback"), "neither closed nor in rollback mode")

    def move():
        try:
            os.rename(nodes.primary.path("new"), path)
            return True
        except OSError as error:
            stage.say("mv:", error)
            return False
    until(move, "it is not replaced")
    nodes.primary.check_alive()
    expect_eq(nodes.compare(NAME)["table a"], want["table a"])
    with sql.connect(path) as db:
        db.execute("UPDATE b SET v = 'later'")
    nodes.compare(NAME)


@test(seconds=120)
def a_commit_that_the_log_has_no_room_for_is_there_when_it_has(stage):
    nodes = prepare(stage)
    # Each commit is two records: what the call fails for, and what follows.
    for call, commits in ((1, 1), (2, 1), (2, 2), (3, 2), (4, 2)):
        before = nodes.primary.log_text().count("log.append")
        nodes.primary.restart("log.append=%d:ENOSPC" % call)
        failed = 0
        with sql.connect(nodes.primary.path(NAME)) as db:
            for n in range(commits):
                try:
                    db.execute("INSERT INTO a(v) VALUES (randomblob(5000))")
                except sqlite3.OperationalError as error:
                    stage.say(call, n, error)
                    failed += 1
        expect_eq(failed, call % 2, "commits that failed")
        until(lambda: nodes.primary.log_text().count("log.append") > before,
              "the call never failed")
        nodes.compare(NAME)


@test(seconds=120)
def a_commit_operation_that_cannot_be_looked_at_is_not_lost(stage):
    nodes = prepare(stage)
    plans = [("full", "entry.journal", call) for call in (2, 3)] + \
            [("off", "entry.journal", call) for call in (2, 3)] + \
            [("full", "rollback.open", call) for call in range(3, 9)]
    if not LONG:
        plans = stage.rng.sample(plans, 3)
    for level, site, call in plans:
        stage.say(level, site, call)
        nodes.primary.restart("%s=%d:EMFILE" % (site, call))
        with sql.connect(nodes.primary.path(NAME), synchronous=level) as db:
            for table in "abc":
                db.execute("UPDATE %s SET v = randomblob(8000)" % table)
            nodes.compare(NAME)
