"""tests/mount/drop.py - databases that are deleted, and who has them open."""
import os
import random

import cluster
import held
import sql
import workers
from runner import LONG, expect, expect_eq, test, until


def create(path, mode="wal"):
    with sql.connect(path, journal_mode=mode) as connection:
        connection.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, v BLOB)")
        connection.execute("INSERT INTO t(v) VALUES (randomblob(9000))")


def go_on_writing(control, path):
    """Commits on one connection, also when the name has gone."""
    connection = sql.sqlite3.connect(path, timeout=0, isolation_level=None)
    sql.pragma(connection, "synchronous", "full")
    while control.running():
        try:
            connection.execute("INSERT INTO t(v) VALUES (randomblob(5000))")
        except sql.sqlite3.Error:
            pass


def load_and_remake(control, path, rng):
    """Makes a database, writes more than a replica's WAL may hold, so that
    its checkpoints run, and deletes it at some moment."""
    rounds = 0
    while control.running():
        create(path)
        with sql.connect(path, synchronous="off") as connection:
            for _ in range(rng.randint(4, 14)):
                connection.execute("INSERT INTO t(v) VALUES (zeroblob(?))",
                                   (4 << 20,))
                connection.execute("DELETE FROM t WHERE id > 1")
        sql.remove(path)
        rounds += 1
    return rounds


@test(seconds=LONG and 900 or 150)
def a_replica_drops_while_its_checkpoint_runs(stage):
    nodes = cluster.pair(stage)
    load = [workers.Worker(load_and_remake, nodes.primary.path("%d.db" % i),
                           random.Random(stage.rng.random())) for i in (1, 2)]
    create(nodes.primary.path("other.db"))
    until(lambda: min(one.count() for one in load) > (LONG and 200 or 6),
          "too slow", LONG and 800 or 100)
    stage.say(workers.stop(load), "times made and deleted")
    nodes.replicas[0].check_alive()
    until(lambda: list(nodes.primary.databases()) == ["other.db"],
          "the primary does not drop")
    nodes.compare_all()


def remake(control, path):
    """As fast as it goes."""
    while control.running():
        create(path)
        sql.remove(path)
    create(path)


@test(seconds=LONG and 1100 or 110)
def a_database_made_anew_outlives_the_drop_of_the_old(stage):
    nodes = cluster.pair(stage)
    replica = nodes.replicas[0]
    load = [workers.Worker(remake, nodes.primary.path("%d.db" % i))
            for i in range(3)]
    rounds = LONG and 1000 or 40
    until(lambda: min(one.count() for one in load) > rounds,
          "too slow", 40 + rounds)
    workers.stop(load)
    expect_eq(nodes.compare_all(), ["0.db", "1.db", "2.db"])
    for node in nodes.nodes:
        expect("level=error" not in node.log_text(), "something failed")
    expect_eq(os.listdir(os.path.join(replica.data, "lost")), [],
              "a database that was deleted is not kept")


@test(seconds=60)
def who_has_a_deleted_database_open_is_not_held_up(stage):
    node = cluster.single(stage)
    for mode in ("wal", "delete"):
        for _ in range(5):
            create(node.path("app.db"), mode)
            writer = workers.Worker(go_on_writing, node.path("app.db"))
            until(lambda: writer.count() > 10, "no load")
            sql.remove(node.path("app.db"))
            before = writer.count()
            until(lambda: writer.count() > before + 10,
                  "the writer is stuck in mode " + mode, 10)
            writer.stop()
    node.check_alive()


def waits_in(worker, function, path=""):
    """In this function of the kernel, with this file as its argument."""
    def text(name):
        with open("/proc/%d/%s" % (worker.pid, name)) as file:
            return file.read()
    try:
        return function in text("stack") and \
            (not path or os.readlink("/proc/%d/fd/%d" % (
                worker.pid, int(text("syscall").split()[1], 16))) == path)
    except (FileNotFoundError, ValueError, IndexError):
        return False  # it went on meanwhile


def look_at(_control, path):
    with sql.connect("file:%s?mode=rw" % path, uri=True) as connection:
        return sql.one(connection, "SELECT count(*) FROM t")


def unlink(_control, path):
    os.unlink(path)


@test(seconds=90)
def who_deletes_a_file_that_is_being_synced_stops_nobody_for_long(stage):
    """The kernel holds the file for the sync and the folder for who deletes;
    the worker that is to answer the sync needs a name in that folder."""
    node = cluster.single(stage)
    path, others = node.path("app.db"), [node.path("%d.db" % i)
                                         for i in range(4)]
    for other in others:
        create(other)
    create(path, "delete")
    until(lambda: {one["state"] for one in node.databases().values()} ==
          {"closed"}, "they stay open")
    writer = workers.Worker(go_on_writing, path)
    until(lambda: writer.count() > 3, "no load")
    workers.pause([writer])
    with held.Threads(node, "worker-"):
        load = [workers.Worker(look_at, other) for other in others]
        for one in load:
            until(lambda one=one: waits_in(one, "fuse_file_open"), "no open")
        workers.resume([writer])
        until(lambda: waits_in(writer, "fuse_fsync", path), "no sync")
        load.append(workers.Worker(unlink, path))
        until(lambda: waits_in(load[-1], "vfs_unlink"), "no unlink")
    for one in load:
        one.join(30)
    before = writer.count()
    until(lambda: writer.count() > before + 3, "the writer is stuck")
    writer.stop()
    expect("waited for the mount" in node.log_text(), "no event")
    expect_eq([look_at(None, other) for other in others], [1] * 4)


def fill(path):
    with sql.connect(path, journal_mode="wal") as connection:
        connection.execute("CREATE TABLE t(v BLOB)")
        connection.execute("INSERT INTO t VALUES (randomblob(1000000))")


@test(seconds=LONG and 900 or 90)
def what_was_deleted_leaves_a_tombstone_and_no_more(stage):
    nodes = cluster.pair(stage)
    fill(nodes.primary.path("other.db"))
    nodes.compare_all()
    started = [node.descriptors() for node in nodes.nodes]
    rounds = LONG and 1000 or 30
    for i in range(rounds):
        name = "%d.db" % (i % 3)
        fill(nodes.primary.path(name))
        if i % 5 == 0:
            nodes.settle(name)
        sql.remove(nodes.primary.path(name))
    for node in nodes.nodes:
        until(lambda n=node: list(n.databases()) == ["other.db"],
              "%s does not drop" % node.name)
    for node, before in zip(nodes.nodes, started):
        folder = os.path.join(node.data, "db")
        full = [one for one in os.listdir(folder)
                if os.listdir(os.path.join(folder, one)) != ["meta"]]
        expect_eq(len(full), 1, "databases with files on " + node.name)
        until(lambda n=node, b=before: n.descriptors() < b + rounds / 2,
              lambda n=node, b=before: "%s: descriptors: %d, then %d" %
              (n.name, b, n.descriptors()))
    nodes.compare_all()
