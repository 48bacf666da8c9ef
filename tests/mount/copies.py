"""How a replica comes by what it has not seen: from the log, across epochs, or
as a copy of a database that nobody has open."""
import os

import cluster
import sql
from runner import expect, expect_eq, test, until

NAME = "app.db"


def make(path, mode, rows=300):
    with sql.connect(path, journal_mode=mode) as connection:
        connection.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, v BLOB)")
        connection.executemany("INSERT INTO t(v) VALUES (randomblob(?))",
                               [(n * 7 % 900,) for n in range(rows)])


def add(path, count=1):
    with sql.connect(path) as connection:
        for _ in range(count):
            connection.execute("INSERT INTO t(v) VALUES ('one more')")


def position(node, name=NAME):
    one = node.databases().get(name)
    return one and tuple(one["position"][field]
                         for field in ("epoch_id", "txid", "sum"))


def let_go(node, name=NAME):
    until(lambda: node.databases()[name]["state"] == "closed",
          lambda: "it is %s" % node.databases()[name]["state"], 30)


def rows(path):
    return sql.look(path, "SELECT count(*) FROM t")


@test(seconds=60)
def a_database_that_nobody_has_open_is_copied_and_let_go_again(stage):
    node = cluster.Cluster(stage, 0).start()
    for mode in ("wal", "delete"):
        make(node.primary.path(mode + ".db"), mode)
    for mode in ("wal", "delete"):
        let_go(node.primary, mode + ".db")
    want = {mode: position(node.primary, mode + ".db")
            for mode in ("wal", "delete")}
    replica = node.add_replica().start()
    for mode in ("wal", "delete"):
        name = mode + ".db"
        # Not asked for: nothing but the copy opens it on the primary.
        until(lambda n=name, m=mode: position(replica, n) == want[m],
              "%s does not come" % name)
        expect_eq(rows(replica.path(name)), 300)
        let_go(node.primary, name)
        expect(not os.path.exists(node.primary.file(name + "-wal")),
               "the WAL is left")
    node.compare_all()


@test(seconds=60)
def a_wal_that_nobody_has_open_is_copied_with_what_is_only_in_it(stage):
    """After a kill -9 the last commits are in the WAL alone."""
    node = cluster.Cluster(stage, 0).start()
    make(node.primary.path(NAME), "wal")
    connection = sql.sqlite3.connect(node.primary.path(NAME),
                                     isolation_level=None)
    connection.execute("PRAGMA wal_autocheckpoint = 0")
    for _ in range(5):
        connection.execute("INSERT INTO t(v) VALUES ('in the WAL')")
    node.primary.kill()
    connection.close()
    expect(os.path.getsize(node.primary.file(NAME + "-wal")) > 0, "no WAL")
    node.primary.start()
    replica = node.add_replica().start()
    until(lambda: (position(node.primary) or (0, 0))[1] > 0 and
          position(replica) == position(node.primary), "it does not come")
    expect_eq(rows(replica.path(NAME)), 305)
    expect_eq(node.compare(NAME)["table t"][0], 305)


def sends_no_copy(node, text):
    expect("mode=snapshot" not in text and "mode=delta" not in text,
           "%s sent a copy" % node.name)


@test(seconds=60)
def records_of_an_older_epoch_follow_in_their_order(stage):
    """Each start of the primary begins an epoch; a replica that was away gets
    what was written in all of them, from the log."""
    nodes = cluster.pair(stage)
    primary, replica = nodes.primary, nodes.replicas[0]
    make(primary.path(NAME), "wal", 10)
    nodes.compare(NAME)
    before = primary.databases()[NAME]["position"]
    replica.stop()
    start = len(primary.log_text())
    add(primary.path(NAME), 3)
    primary.restart()
    add(primary.path(NAME), 3)
    token = primary.token(NAME)
    primary.kill()
    primary.start()
    add(primary.path(NAME), 3)
    replica.start()
    expect_eq(nodes.compare(NAME)["table t"][0], 19)
    after = primary.databases()[NAME]["position"]
    expect_eq(after["epoch"], before["epoch"] + 2, "epochs")
    # A token of an epoch that is over is still one.
    replica.reach(NAME, token)
    sends_no_copy(primary, primary.log_text()[start:])
    for words in ("database.stopped", "replication.resync"):
        expect(words not in replica.log_text(), words)


@test(seconds=60)
def what_a_killed_primary_had_sent_is_not_sent_again_under_another_name(stage):
    """The replica has more of the old epoch than the log of the primary may
    show at first: the tail of its WAL is captured in that epoch."""
    nodes = cluster.pair(stage)
    primary, replica = nodes.primary, nodes.replicas[0]
    make(primary.path(NAME), "wal", 10)
    nodes.compare(NAME)
    for n in range(1, 6):
        add(primary.path(NAME), 2)
        token = primary.token(NAME)
        primary.kill()
        primary.start()
        replica.reach(NAME, token)
        expect_eq(nodes.compare(NAME)["table t"][0], 10 + 2 * n)
    for words in ("database.stopped", "replication.resync"):
        expect(words not in replica.log_text(), words)
