"""A WAL that started over while nobody captured it."""
import os
import sqlite3

import cluster
import sql
from runner import expect, expect_eq, test


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


def cut_wal(path, frames):
    """Takes the last frames off a WAL, as a power cut may: nobody synced it."""
    with open(path + "-wal", "r+b") as file:
        page_bytes = int.from_bytes(file.read(12)[8:12], "big")
        count = (os.path.getsize(path + "-wal") - 32) // (24 + page_bytes)
        file.truncate(32 + (count - frames) * (24 + page_bytes))


@test()
def what_the_log_has_and_the_wal_lost_is_redone(stage):
    nodes = cluster.pair(stage)
    primary, name = nodes.primary, "app.db"
    connection = sqlite3.connect(primary.path(name), isolation_level=None)
    connection.execute("PRAGMA journal_mode = wal")
    connection.execute("PRAGMA synchronous = normal")
    connection.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, v)")
    for i in range(60):
        connection.execute("INSERT INTO t(v) VALUES (randomblob(200))")
        if i % 7 == 0:
            nodes.settle(name)  # a record ends here
    nodes.settle(name)
    before = nodes.replicas[0].databases()[name]["position"]
    connection.close()  # the node keeps the WAL for a while
    primary.kill()
    cut_wal(primary.file(name), 13)
    primary.start()
    expect_eq(sql.look(primary.path(name), "SELECT count(*) FROM t"), 60)
    after = nodes.primary.databases()[name]["position"]
    expect_eq((after["txid"], after["sum"]), (before["txid"], before["sum"]))
    expect_eq([one["why"].partition(";")[0]
               for one in primary.status()["lost"]["newest"]],
              ["SQLite's own recovery would not see in this WAL all commits "
               "that were made"])
    nodes.compare(name)
    expect("replication.diverged" not in nodes.replicas[0].log_text(),
           "a copy was sent")
