"""A WAL that started over while nobody captured it."""
import os
import sqlite3

import cluster
import sql
from runner import expect_eq, test


def write_and_start_over(path):
    """As an application that went on without the daemon: a commit at the end
    of the WAL, a checkpoint, one more, which starts the WAL over; and no
    orderly end, so that the WAL stays."""
    child = os.fork()
    if child == 0:
        db = sqlite3.connect(path, isolation_level=None)
        db.execute("INSERT INTO u VALUES('last of its generation')")
        row = db.execute("PRAGMA wal_checkpoint(FULL)").fetchone()
        db.execute("INSERT INTO t VALUES('first of the next')")
        os._exit(0 if row[0] == 0 and row[1] == row[2] else 1)
    expect_eq(os.waitpid(child, 0)[1], 0, "status of who wrote")


@test(modes=("passthrough",))
def commits_before_a_reset_that_nobody_captured_are_found(stage):
    nodes = cluster.pair(stage)
    with sql.connect(nodes.primary.path("a.db"), journal_mode="wal") as db:
        db.execute("CREATE TABLE t(v)")
        db.execute("CREATE TABLE u(v)")  # its page is in the older one only
        db.execute("INSERT INTO t VALUES('captured')")
        nodes.settle("a.db")
    nodes.primary.kill()  # its anchor kept the WAL from being deleted
    write_and_start_over(nodes.primary.file("a.db"))
    nodes.primary.start()
    nodes.compare("a.db")
    with sql.connect(nodes.replicas[0].path("a.db")) as db:
        expect_eq(sql.one(db, "SELECT count(*) FROM u"), 1)
