"""Calls of a daemon that fail, by the name of their site: what it had taken on
is done later, whole, and nothing half done is ever seen."""
import signal

import cluster
import sql
from runner import expect, expect_eq, test, until

NAME = "app.db"
ROWS = 3000  # of 1,000 bytes: more than one buffer of frames


def prepare(stage):
    nodes = cluster.Cluster(stage, 1).start()
    with sql.connect(nodes.primary.path(NAME), journal_mode="wal") as db:
        db.execute("CREATE TABLE small(id INTEGER PRIMARY KEY, v TEXT)")
        db.execute("CREATE TABLE large(id INTEGER PRIMARY KEY, v BLOB)")
        db.executemany("INSERT INTO large VALUES(?, zeroblob(1000))",
                       [(i,) for i in range(ROWS)])
    nodes.settle(NAME)
    return nodes


def failing_writes(stage, calls, second):
    """The replica's own WAL cannot be written for a while: first the small
    commit fails, then it is tried again in one batch with `second`, which
    changes other pages, and that fails, too."""
    nodes = prepare(stage)
    replica = nodes.replicas[0]
    replica.restart("apply.write=%s:ENOSPC" % calls)

    def write(db):
        db.execute("INSERT INTO small(v) VALUES('one')")
        nodes.primary.token(NAME)  # a record of its own
        db.execute(second)
        nodes.primary.token(NAME)
    with sql.connect(nodes.primary.path(NAME)) as db:
        db.execute("INSERT INTO small(v) VALUES('zero')")
        nodes.settle(NAME)  # calls 1 and 2: the header, and this one
        # Stopped, it finds both when it goes on.
        replica.process.send_signal(signal.SIGSTOP)
        try:
            write(db)
        finally:
            replica.process.send_signal(signal.SIGCONT)
        until(lambda: "apply.write" in replica.log_text(),
              "the call never failed")
        nodes.compare(NAME)
        write(db)
        nodes.compare(NAME)
    with sql.connect(replica.path(NAME)) as db:
        expect_eq(sql.one(db, "PRAGMA integrity_check"), "ok")
    expect_eq(replica.databases()[NAME]["health"], "ok")


@test(seconds=60)
def a_batch_that_cannot_be_written_is_written_later_whole(stage):
    failing_writes(stage, "3-%d" % stage.rng.randint(4, 6),
                   "UPDATE large SET v = zeroblob(999)")  # packs well


@test(seconds=60)
def a_publish_that_fails_leaves_nothing_behind(stage):
    failing_writes(stage, "3-5", "UPDATE large SET v = randomblob(9) WHERE id < 9")


@test(seconds=60)
def a_database_whose_log_cannot_be_made_is_taken_on_later(stage):
    nodes = cluster.Cluster(stage, 1).start()
    primary = nodes.primary
    primary.restart("catalog.add=1-4:ENOSPC")
    refused = []

    def create():
        try:
            with sql.connect(primary.path(NAME)) as db:
                db.execute("CREATE TABLE t(v)")
                return True
        except sql.sqlite3.OperationalError as error:
            refused.append(str(error))
            return False
    until(create, "the database is never taken on", pause=0.05)
    stage.say(len(refused), "refused:", refused[-1:])
    expect("catalog.add" in primary.log_text(), "the call never failed")
    nodes.compare(NAME)
    with sql.connect(primary.path(NAME)) as db:
        db.execute("INSERT INTO t VALUES(1)")
    nodes.compare(NAME)
    primary.restart()
    nodes.compare(NAME)


@test(seconds=120)
def a_meta_file_that_could_not_be_written_is_not_taken_for_written(stage):
    """The first commit of an epoch names it there. It is tried again when that
    fails, and must not go on without: after a kill nobody would know the
    epoch, and with it what a token means."""
    node = cluster.single(stage)
    with sql.connect(node.path(NAME), journal_mode="wal") as db:
        db.execute("CREATE TABLE t(v)")
    for call in range(1, 13):
        node.restart("meta.save=%d:EIO" % call)
        with sql.connect(node.path(NAME), synchronous="full") as db:
            db.execute("INSERT INTO t VALUES(?)", (call,))
            token = node.token(NAME)
        node.kill().start()
        node.reach(NAME, token, 5)


@test(seconds=120)
def a_copy_whose_log_cannot_take_its_place_takes_it_later(stage):
    """The old log moves aside, the new one takes its name, and the folder is
    synced: each of them fails once."""
    nodes = prepare(stage)
    primary, replica = nodes.primary, nodes.replicas[0]
    for call in range(1, 4):
        replica.stop()
        with sql.connect(primary.path(NAME)) as db:
            db.execute("INSERT INTO small(v) VALUES(?)", (call,))
        primary.stop().lose_the_log().start()
        start = len(replica.log_text())
        replica.start("replica.log=%d:EIO" % call)
        nodes.compare(NAME)
        expect("replica.log" in replica.log_text()[start:],
               "call %d never failed" % call)
        with sql.connect(primary.path(NAME)) as db:
            db.execute("INSERT INTO small(v) VALUES(?)", (call,))
        nodes.compare(NAME)
        replica.kill().start()
        nodes.compare(NAME)


@test(seconds=60)
def a_replica_whose_file_is_no_database_any_more_gets_a_copy(stage):
    nodes = prepare(stage)
    replica = nodes.replicas[0]
    replica.kill()
    with open(replica.file(NAME), "r+b") as file:
        file.write(stage.rng.randbytes(4096))
    with sql.connect(nodes.primary.path(NAME)) as db:
        db.execute("INSERT INTO small(v) VALUES('meanwhile')")
    replica.start()
    nodes.compare(NAME, 20)
