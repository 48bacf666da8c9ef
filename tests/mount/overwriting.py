"""A file copied over a database that is there, as cp does it: emptied, then
written by somebody who is no SQLite."""
import contextlib
import os
import subprocess

import cluster
import sql
from runner import expect, expect_eq, test, until


def make(path, rows, mode):
    with sql.connect(path, journal_mode=mode) as connection:
        connection.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, v BLOB)")
        connection.executemany("INSERT INTO t(v) VALUES (randomblob(?))",
                               [(n * 7 % 900,) for n in range(rows)])


def facts(path):
    connection = sql.open_reader(path)
    try:
        return sql.facts(connection)
    finally:
        connection.close()


def copy(source, target):
    """cp, and what it said."""
    done = subprocess.run(["cp", source, target], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=30,
                          check=False)
    return done.stderr if done.returncode != 0 else ""


def at_rest(node, name):
    until(lambda: node.databases()[name]["state"] == "closed",
          lambda: "%s is %s" % (name, node.databases()[name]["state"]), 20)


def follows(nodes, name, want):
    """The replica gets there by itself: nobody asks the primary, which would
    make it look at the file."""
    def same():
        have = facts(nodes.replicas[0].path(name))
        return have["table t"] == want["table t"]
    until(same, "%s is not on the replica" % name)
    sql.expect_same(want, facts(nodes.replicas[0].path(name)), name)


@test(seconds=90)
def a_file_copied_over_a_database_at_rest_is_on_the_replicas(stage):
    nodes = cluster.pair(stage)
    cases = [(old, new, rows) for old in ("wal", "delete")
             for new in ("wal", "delete") for rows in (5, 400)]
    for old, new, rows in cases:
        name = "%s-%s-%d.db" % (old, new, rows)
        make(nodes.primary.path(name), 60, old)
        make(stage.path(name), rows, new)
        nodes.compare(name)
    for old, new, rows in cases:
        name = "%s-%s-%d.db" % (old, new, rows)
        at_rest(nodes.primary, name)
        expect_eq(copy(stage.path(name), nodes.primary.path(name)), "")
        follows(nodes, name, facts(stage.path(name)))
    for old, new, rows in cases:
        name = "%s-%s-%d.db" % (old, new, rows)
        with sql.connect(nodes.primary.path(name)) as connection:
            expect_eq(sql.pragma(connection, "journal_mode"), new)
            connection.execute("INSERT INTO t(v) VALUES ('one more')")
            expect_eq(nodes.compare(name)["table t"][0], rows + 1)


@test(seconds=60)
def a_database_copied_over_and_used_at_once_is_the_new_one(stage):
    nodes = cluster.pair(stage)
    for mode in ("wal", "delete"):
        make(stage.path(mode), 400, mode)
        make(nodes.primary.path(mode + ".db"), 20, mode)
        nodes.compare(mode + ".db")
        at_rest(nodes.primary, mode + ".db")
    for _ in range(10):
        mode = stage.rng.choice(("wal", "delete"))
        name = mode + ".db"
        # Who used it last may have left a WAL, which goes at the first try.
        until(lambda: copy(stage.path(mode), nodes.primary.path(name)) == "",
              "still busy", 2)
        with sql.connect(nodes.primary.path(name)) as connection:
            connection.execute("INSERT INTO t(v) VALUES (randomblob(300))")
            expect_eq(sql.one(connection, "SELECT count(*) FROM t"), 401)
        expect_eq(nodes.compare(name)["table t"][0], 401)


@test(seconds=60)
def a_database_whose_wal_is_in_use_is_not_copied_over(stage):
    nodes = cluster.pair(stage)
    path = nodes.primary.path("app.db")
    make(path, 20, "wal")
    make(stage.path("other.db"), 400, "wal")
    with sql.connect(path) as connection:
        connection.execute("INSERT INTO t(v) VALUES ('in the WAL')")
        expect("busy" in copy(stage.path("other.db"), path), "it was let in")
        expect_eq(sql.one(connection, "SELECT count(*) FROM t"), 21)
        connection.execute("INSERT INTO t(v) VALUES ('and more')")
        expect_eq(nodes.compare("app.db")["table t"][0], 22)
    until(lambda: copy(stage.path("other.db"), path) == "", "still busy", 2)
    follows(nodes, "app.db", facts(stage.path("other.db")))


@test(seconds=90)
def what_was_being_copied_at_a_stop_is_read_at_the_next_start(stage):
    nodes = cluster.pair(stage)
    for mode in ("wal", "delete"):
        path = nodes.primary.path(mode + ".db")
        make(path, 60, mode)
        make(stage.path(mode), 400, mode)
        nodes.compare(mode + ".db")
    open_files = []
    for mode in ("wal", "delete"):
        at_rest(nodes.primary, mode + ".db")
    for mode in ("wal", "delete"):
        with open(stage.path(mode), "rb") as source:
            image = source.read()
        target = os.open(nodes.primary.path(mode + ".db"),
                         os.O_WRONLY | os.O_TRUNC)
        os.write(target, image[:8192])
        open_files.append(target)
    nodes.primary.stop()
    for target in open_files:
        with contextlib.suppress(OSError):
            os.close(target)
    for mode in ("wal", "delete"):
        with open(stage.path(mode), "rb") as source, \
                open(nodes.primary.file(mode + ".db"), "wb") as target:
            target.write(source.read())
    nodes.primary.start()
    for mode in ("wal", "delete"):
        expect_eq(nodes.compare(mode + ".db")["table t"][0], 400)
