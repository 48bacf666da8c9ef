"""A disk that is full, and has room again: a real one, small, below `data`."""
import os
import sqlite3
import subprocess

import cluster
import sql
from runner import expect, expect_eq, test, until

NAME = "app.db"
SMALL, LARGE = "24m", "160m"


def small_disk(node):
    os.makedirs(node.data, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=" + SMALL, "tmpfs",
                    node.data], check=True)


def make_room(node):
    subprocess.run(["mount", "-o", "remount,size=" + LARGE, node.data],
                   check=True)


def far(stage):
    nodes = cluster.Cluster(stage, 1)
    return nodes, nodes.primary, nodes.replicas[0]


def create(path, mode):
    with sql.connect(path, journal_mode=mode) as connection:
        connection.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, v BLOB)")


def insert(path, bytes_each=100000, count=1):
    with sql.connect(path, synchronous="full") as connection:
        for _ in range(count):
            connection.execute("INSERT INTO t(v) VALUES (randomblob(?))",
                               (bytes_each,))


def rows(path):
    return sql.look(path, "SELECT count(*) FROM t")


def is_told(node):
    one = node.databases()[NAME]
    return one["health"] != "ok" and one["problem"]


@test(seconds=120)
def a_primary_whose_disk_is_full_goes_on_when_it_has_room(stage):
    for mode in ("wal", "delete"):
        nodes, primary, _ = far(stage) if mode == "wal" else far(
            Elsewhere(stage, mode))
        small_disk(primary)
        nodes.start()
        path, committed = primary.path(NAME), 0
        create(path, mode)
        try:
            for _ in range(400):
                insert(path)
                committed += 1
        except sqlite3.OperationalError as error:
            stage.say(mode, committed, "rows, then:", error)
        expect(0 < committed < 400, "it was never full")
        expect_eq(rows(path), committed, "what is told is there")
        primary.check_alive()
        make_room(primary)

        def goes_on():
            try:
                insert(path)
                return True
            except sqlite3.OperationalError:
                return False
        until(goes_on, lambda: "still: %s" % primary.databases()[NAME], 30)
        committed += 1
        nodes.compare(NAME, 30)
        expect_eq(rows(path), committed, "rows")
        until(lambda: primary.databases()[NAME]["health"] == "ok",
              lambda: primary.databases()[NAME])
        nodes.close()


class Elsewhere:
    """A second cluster of one test: another folder, the rest is the stage's."""

    def __init__(self, stage, name):
        self.stage, self.name = stage, name
        os.makedirs(stage.path(name), exist_ok=True)

    def path(self, *parts):
        return self.stage.path(self.name, *parts)

    def __getattr__(self, name):
        return getattr(self.stage, name)


@test(seconds=120)
def a_replica_whose_disk_is_full_reads_on_and_catches_up_when_it_has_room(
        stage):
    nodes, primary, replica = far(stage)
    small_disk(replica)
    nodes.start()
    create(primary.path(NAME), "wal")
    insert(primary.path(NAME), count=5)
    nodes.compare(NAME)
    insert(primary.path(NAME), count=400)
    until(lambda: is_told(replica), lambda: replica.databases()[NAME], 30)
    stage.say(replica.databases()[NAME]["problem"])
    seen = rows(replica.path(NAME))
    expect(5 <= seen < 405, "%d rows are read" % seen)
    expect_eq(sql.look(replica.path(NAME), "PRAGMA integrity_check"), "ok")
    replica.check_alive()
    make_room(replica)
    nodes.compare(NAME, 60)
    until(lambda: replica.databases()[NAME]["health"] == "ok",
          lambda: replica.databases()[NAME])
    # Once more, from the start: it comes up on a disk that is full.
    expect_eq(rows(replica.path(NAME)), 405, "rows")


@test(seconds=120)
def a_first_copy_that_does_not_fit_is_told_and_comes_when_it_does(stage):
    nodes, primary, replica = far(stage)
    small_disk(replica)
    primary.start()
    create(primary.path(NAME), "wal")
    insert(primary.path(NAME), count=400)
    token = primary.token(NAME)
    replica.start()
    until(lambda: NAME in replica.databases() and is_told(replica) and
          "o space" in replica.databases()[NAME]["problem"],
          lambda: replica.databases(), 30)
    make_room(replica)
    replica.reach(NAME, token, 90)
    nodes.compare(NAME, 60)
