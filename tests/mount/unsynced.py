"""Commits that no FSYNC tells of, on a machine where the node hears of them
late: they are on the replicas all the same, in order."""
import os

import cluster
import sql
import workers
from runner import LONG, expect_eq, test, until

NAME = "app.db"


def prepare(stage, rows=300, **pragmas):
    nodes = cluster.pair(stage)
    with sql.connect(nodes.primary.path(NAME), journal_mode="delete",
                     **pragmas) as db:
        db.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, v BLOB)")
        db.executemany("INSERT INTO t(v) VALUES (zeroblob(?))",
                       [(n * 37 % 2000,) for n in range(rows)])
    nodes.compare(NAME)
    return nodes


def at_rest(nodes):
    until(lambda: nodes.primary.databases()[NAME]["state"] == "closed",
          "it stays open", 20)


def beside_workers(nodes):
    """This process and the node on one processor, the node's workers when
    nothing else runs there."""
    every = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {nodes.primary.starve_workers()})
    return every


def apart(nodes, every):
    os.sched_setaffinity(0, every)
    nodes.primary.starve_workers(False)


def spin(control):
    """Somebody who never sleeps: an idle moment is all that workers get."""
    while control.running():
        pass


def follows(nodes, want):
    """The replica gets there by itself: a token would make the node look."""
    path = nodes.replicas[0].path(NAME)

    def rows():
        reader = sql.open_reader(path)
        try:
            return sql.table_digest(reader, "t")
        finally:
            reader.close()
    until(lambda: rows() == want, lambda: "%s, not %s" % (rows(), want), 12)


@test(seconds=60)
def a_commit_before_the_node_watches_is_not_missed(stage):
    nodes = prepare(stage)
    for keep_open in (True, False):
        for mode in ("memory", "off"):
            at_rest(nodes)
            every = beside_workers(nodes)
            with sql.connect(nodes.primary.path(NAME), journal_mode=mode,
                             synchronous="off") as db:
                db.execute("INSERT INTO t(v) VALUES (randomblob(3000))")
                want = sql.table_digest(db, "t")
                if keep_open:
                    apart(nodes, every)
                    follows(nodes, want)
            apart(nodes, every)
            follows(nodes, want)
    nodes.compare(NAME)


@test(seconds=60)
def what_is_cut_off_the_file_explains_no_commit(stage):
    nodes = prepare(stage, auto_vacuum="full")
    with sql.connect(nodes.primary.path(NAME), journal_mode="memory",
                     synchronous="off") as db:
        for n in range(5):
            every = beside_workers(nodes)
            rival = workers.Worker(spin)
            until(rival.control.count, "it does not spin")
            db.execute("DELETE FROM t WHERE id % 5 = ?", (n,))
            workers.stop([rival])
            apart(nodes, every)
            follows(nodes, sql.table_digest(db, "t"))
    nodes.compare(NAME)


@test(seconds=60)
def commits_before_a_switch_to_wal_do_not_come_after_it(stage):
    nodes = prepare(stage)
    for n in range(3):
        name = "%d.db" % n
        every = beside_workers(nodes)
        with sql.connect(nodes.primary.path(name), journal_mode="delete",
                         synchronous="off") as db:
            db.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, v BLOB)")
            db.executemany("INSERT INTO t(v) VALUES (randomblob(?))",
                           [(200000,)] * 20 + [(100,)] * 200)
            expect_eq(sql.pragma(db, "journal_mode", "wal"), "wal")
            db.executemany("UPDATE t SET v = randomblob(150) WHERE id = ?",
                           [(i,) for i in range(21, 221)])
            apart(nodes, every)
            nodes.compare(name)


def came_and_went(node, number):
    """A WAL that was made, checkpointed and deleted within a moment."""
    with sql.connect(node.path("%d.db" % number), journal_mode="wal",
                     synchronous="off") as db:
        db.execute("CREATE TABLE t(v)")
        db.execute("INSERT INTO t VALUES (?)", (number,))


@test(seconds=120)
def a_wal_that_came_and_went_before_anybody_looked_is_replicated(stage):
    nodes = cluster.pair(stage)
    numbers = range(LONG and 1000 or 250)
    every = beside_workers(nodes)
    for number in numbers:
        came_and_went(nodes.primary, number)
    apart(nodes, every)

    def missing():
        return [number for number in numbers
                if not has_row(nodes.replicas[0], number)]
    until(lambda: not missing(), lambda: "without its row: %s" % missing(), 60,
          pause=0.5)


def has_row(node, number):
    try:
        return sql.look(node.path("%d.db" % number),
                        "SELECT v FROM t") == number
    except sql.sqlite3.OperationalError:  # no such file, no such table
        return False


def rereads(node):
    return node.databases()[NAME]["counters"]["rereads"]


def commit_small(control, path, level, ident):
    """Each as fast as it goes: a commit finds the note of the one before on
    its way."""
    with sql.connect(path, timeout=30, synchronous=level) as db:
        while control.running():
            db.execute("UPDATE t SET v = randomblob(40) WHERE id = ?", (ident,))


@test(seconds=LONG and 300 or 60)
def a_commit_that_is_synced_waits_for_the_one_before_that_is_not(stage):
    nodes = prepare(stage)
    before = rereads(nodes.primary)
    load = [workers.Worker(commit_small, nodes.primary.path(NAME), level, n + 1)
            for n, level in enumerate(("off", "off", "normal", "full"))]
    until(lambda: min(one.count() for one in load) > (LONG and 2000 or 250),
          "too slow", LONG and 280 or 50)
    workers.stop(load)
    nodes.compare(NAME)
    nodes.primary.check_alive()
    expect_eq(rereads(nodes.primary), before, "re-reads")


@test(seconds=90)
def a_token_covers_the_commit_whose_note_is_still_on_its_way(stage):
    nodes = prepare(stage)
    every = beside_workers(nodes)
    rival = workers.Worker(spin)
    with sql.connect(nodes.primary.path(NAME)) as db:
        for n in range(60):
            sql.pragma(db, "synchronous", stage.rng.choice(("off", "full")))
            db.execute("UPDATE t SET v = ? WHERE id = 1", ("%d" % n,))
            nodes.replicas[0].reach(NAME, nodes.primary.token_by_file(NAME))
            expect_eq(sql.look(nodes.replicas[0].path(NAME),
                               "SELECT v FROM t WHERE id = 1"),
                      str(n), "behind a token that was reached")
    workers.stop([rival])
    apart(nodes, every)
    nodes.compare(NAME)


@test(seconds=60)
def a_sync_by_somebody_else_makes_no_commit(stage):
    """As `sync FILE` or a backup does, in the middle of a transaction that
    has written a part of its pages to the database."""
    nodes = prepare(stage)
    path = nodes.primary.path(NAME)
    with sql.connect(path, synchronous="off", cache_size=5) as db:
        for n in range(10):
            db.execute("BEGIN")
            db.execute("UPDATE t SET v = randomblob(900)")
            workers.Worker(sync_file, path).join()
            db.execute("UPDATE t SET v = randomblob(800) WHERE id > ?",
                       (n * 20,))
            if n % 3 == 2:
                workers.Worker(sync_file, path).join()
            db.execute("ROLLBACK" if n % 4 == 3 else "COMMIT")
            nodes.compare(NAME)


def sync_file(_control, path):
    file = os.open(path, os.O_RDONLY)
    os.fsync(file)
    os.close(file)
