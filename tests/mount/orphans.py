"""Processes that outlive a daemon with a database open: nobody sees what they
do, so the next daemon holds the database back until they are gone. Only in
passthrough: in classic mode nothing works without a daemon."""
import time

import cluster
import sql
import workers
from runner import expect, expect_eq, expect_raises, test, until


def make(path):
    with sql.connect(path, journal_mode="wal") as connection:
        connection.execute("CREATE TABLE t(v)")
        connection.executemany("INSERT INTO t VALUES (?)",
                               [(n,) for n in range(10)])


def add(path):
    with sql.connect(path) as connection:
        connection.execute("INSERT INTO t VALUES ('one more')")


def go_on_reading(control, path):
    """Holds on to what it has, whatever happens below; the rows it saw."""
    connection = sql.open_reader(path)
    seen = set()
    while control.running():
        seen.add(sql.one(connection, "SELECT count(*) FROM t"))
    connection.close()
    return sorted(seen)


def go_on_writing(control, path):
    """NORMAL without checkpoints mostly needs no daemon. Keeps the database
    open over errors, too; the numbers of commits and of errors."""
    done, errors = 0, 0
    with sql.connect(path, synchronous="normal",
                     wal_autocheckpoint=0) as connection:
        while control.running():
            try:
                connection.execute("INSERT INTO t VALUES ('a commit')")
                done += 1
            except sql.sqlite3.OperationalError:
                errors += 1
                time.sleep(0.01)
    return done, errors


def state(node):
    return node.databases()["app.db"]["state"]


def goes_round(worker):
    before = worker.count()
    until(lambda: worker.count() > before + 2 or worker.is_over(),
          "the worker does nothing")
    worker.check()


def killed_beside_a_reader(stage):
    """The replica is dead, and who reads there goes on."""
    nodes = cluster.pair(stage)
    replica = nodes.replicas[0]
    make(nodes.primary.path("app.db"))
    nodes.compare("app.db")
    reader = workers.Worker(go_on_reading, replica.path("app.db"))
    goes_round(reader)
    replica.kill()
    return nodes, replica, reader


@test(seconds=60, modes=("passthrough",))
def a_replica_holds_back_what_a_reader_of_before_has_open(stage):
    nodes, replica, reader = killed_beside_a_reader(stage)
    add(nodes.primary.path("app.db"))
    replica.start()
    expect_eq(state(replica), "held_back")
    expect_raises(sql.sqlite3.OperationalError, "unable to open",
                  sql.open_reader, replica.path("app.db"))
    add(nodes.primary.path("app.db"))
    # Another name's stream goes on meanwhile.
    make(nodes.primary.path("other.db"))
    token = nodes.primary.token("other.db")
    replica.reach("other.db", token)
    expect_eq(state(replica), "held_back")
    goes_round(reader)
    expect_eq(reader.stop(), [10])
    until(lambda: state(replica) != "held_back", "still held back")
    expect_eq(nodes.compare("app.db")["table t"][0], 12)
    add(nodes.primary.path("app.db"))
    expect_eq(nodes.compare("app.db")["table t"][0], 13)


@test(seconds=60, modes=("passthrough",))
def what_is_held_back_is_not_verified(stage):
    nodes, replica, reader = killed_beside_a_reader(stage)
    add(nodes.primary.path("app.db"))
    replica.start()
    expect_eq(state(replica), "held_back")
    done = replica.command("verify", "app.db")
    expect_eq(done.returncode, 1, done.stdout + done.stderr)
    expect("held back" in done.stderr, done.stderr)
    expect_eq(state(replica), "held_back")
    goes_round(reader)
    expect_eq(reader.stop(), [10])
    until(lambda: state(replica) != "held_back", "still held back")
    expect_eq(nodes.compare("app.db")["table t"][0], 11)
    expect("ok" in replica.ask("verify", "app.db"), "not ok")


@test(seconds=60, modes=("passthrough",))
def a_replica_holds_back_through_a_drop_and_a_new_database(stage):
    nodes, replica, reader = killed_beside_a_reader(stage)
    replica.start()
    expect_eq(state(replica), "held_back")
    cluster.os.unlink(nodes.primary.path("app.db"))
    make(nodes.primary.path("app.db"))
    add(nodes.primary.path("app.db"))
    goes_round(reader)
    expect_eq(reader.stop(), [10])
    expect_eq(nodes.compare("app.db")["table t"][0], 11)


@test(seconds=60, modes=("passthrough",))
def a_primary_finds_what_a_writer_of_before_committed_without_it(stage):
    nodes = cluster.pair(stage)
    primary = nodes.primary
    make(primary.path("app.db"))
    nodes.compare("app.db")
    writer = workers.Worker(go_on_writing, primary.path("app.db"))
    goes_round(writer)
    primary.kill()
    goes_round(writer)
    primary.start()
    expect_eq(state(primary), "held_back")
    goes_round(writer)
    expect_raises(sql.sqlite3.OperationalError, "unable to open",
                  add, primary.path("app.db"))
    commits, errors = writer.stop()
    stage.say(commits, "commits,", errors, "errors")
    until(lambda: state(primary) != "held_back", "still held back")
    rows = nodes.compare("app.db")["table t"][0]
    # A commit that ended in an error may be one all the same.
    expect(10 + commits <= rows <= 10 + commits + errors, "%d rows" % rows)
    add(primary.path("app.db"))
    expect_eq(nodes.compare("app.db")["table t"][0], rows + 1)
