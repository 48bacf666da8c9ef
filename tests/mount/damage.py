"""A page that is not what was written: found, named, never sent to anybody;
on a replica fetched again from the primary."""
import os
import signal

import cluster
import relay
import sql
import workers
from runner import expect, expect_eq, test, until

NAME = "app.db"
PAGE = 4096
ROWS = 1200


def make(path, mode="wal"):
    with sql.connect(path, page_size=PAGE, journal_mode=mode) as connection:
        connection.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, v BLOB)")
        connection.executemany("INSERT INTO t VALUES (?, randomblob(3800))",
                               [(n,) for n in range(1, ROWS + 1)])
        if mode == "wal":
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def damage(node, *pages):
    """Below the mount, as a disk would: nobody wrote, the times are as before."""
    before = os.stat(node.file(NAME))
    with open(node.file(NAME), "r+b") as file:
        for page in pages:
            file.seek((page - 1) * PAGE + 2000)
            file.write(bytes(255 - byte for byte in file.read(1)) + b"rot")
            file.flush()
        os.fsync(file.fileno())
    os.utime(node.file(NAME), ns=(before.st_atime_ns, before.st_mtime_ns))


def is_closed(node):
    return node.databases()[NAME]["state"] in ("closed", "rollback")


@test(seconds=60)
def a_database_that_is_as_it_was_written_is_ok(stage):
    nodes = cluster.pair(stage)
    make(nodes.primary.path(NAME))
    make(nodes.primary.path("other.db"), "delete")
    nodes.compare_all()
    for node in nodes.nodes:
        expect("%s: ok, %d pages" % (NAME, node.databases()[NAME]["size_pages"])
               in node.ask("verify", NAME), node.ask("verify", NAME))
        expect_eq(len(node.ask("verify").splitlines()), 2)
        expect(node.databases()[NAME]["verified_time"] is not None, "the time")
    done = nodes.primary.command("verify", "none.db")
    expect_eq(done.returncode, 1)
    expect("none.db" in done.stderr, done.stderr)


def die_in_a_transaction(control, path):
    """With pages that were free written already: SQLite does not put their old
    content into the journal, whoever plays it back leaves them changed."""
    with sql.connect(path, cache_size=5) as connection:
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany("INSERT INTO t VALUES (?, randomblob(3800))",
                               [(2 * n,) for n in range(1, 50)])
        os.kill(os.getpid(), signal.SIGKILL)


@test(seconds=60)
def free_pages_that_a_dead_writer_had_taken_are_no_damage(stage):
    nodes = cluster.pair(stage)
    path = nodes.primary.path(NAME)
    with sql.connect(path, page_size=PAGE) as connection, \
            sql.transaction(connection):
        connection.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, v BLOB)")
        connection.executemany("INSERT INTO t VALUES (?, randomblob(3800))",
                               [(n,) for n in range(200)])
    with sql.connect(path) as connection:
        connection.execute("DELETE FROM t WHERE id % 2 = 0")
    nodes.compare(NAME)
    writer = workers.Worker(die_in_a_transaction, path)
    os.waitpid(writer.pid, 0)
    expect(os.path.getsize(path + "-journal") > 0, "it left no journal")
    expect("%s: ok" % NAME in nodes.primary.ask("verify", NAME),
           nodes.primary.ask("verify", NAME))
    nodes.compare(NAME)
    expect("%s: ok" % NAME in nodes.replicas[0].ask("verify", NAME), "replica")


@test(seconds=90)
def a_damaged_page_of_the_primary_is_named_and_sent_to_nobody(stage):
    nodes = cluster.pair(stage)
    primary = nodes.primary
    make(primary.path(NAME))
    nodes.compare(NAME)
    damage(primary, 77, 500)
    done = primary.command("verify", NAME)
    expect_eq(done.returncode, 1, done.stdout + done.stderr)
    expect("2 of " in done.stdout and "page 77 first" in done.stdout,
           done.stdout)
    one = primary.databases()[NAME]
    expect_eq((one["health"], one["damaged_pages"]), ("failed", 2))
    expect("page 77" in one["problem"], one["problem"])
    expect("event=database.damaged" in primary.log_text(), "not told")
    # A new replica is not sent them; the one that has it keeps what is right.
    newcomer = nodes.add_replica().start()
    until(lambda: "page 77 of" in primary.log_text() and
          "replication.unreadable" in primary.log_text(), "the copy goes on")
    expect(not os.path.exists(newcomer.path(NAME)), "it was sent")
    first = nodes.replicas[0]
    expect("ok" in first.ask("verify", NAME), "it spread")
    # Written again, it is as it should be.
    good = os.path.join(stage.folder, "good.db")
    first.ask("export", NAME, good)
    primary.ask("import", NAME, good)
    expect("ok" in primary.ask("verify", NAME), "still damaged")
    expect_eq(primary.databases()[NAME]["health"], "ok")
    nodes.compare(NAME, 20)


@test(seconds=90)
def a_damaged_page_of_a_replica_is_fetched_again_and_nothing_else(stage):
    nodes = cluster.Cluster(stage, 0).start()
    between = relay.Relay(stage, nodes.primary.port)
    replica = cluster.Node(stage, "replica1", cluster.free_ports(1)[0],
                           between.port)
    nodes.replicas = [replica]
    make(nodes.primary.path(NAME))
    replica.start()
    nodes.compare(NAME)
    for pages in ((77, 900), (1,)):
        until(lambda: is_closed(replica), "it stays attached", 40)
        damage(replica, *pages)
        between.taken = 0
        before = sql.look(nodes.primary.path(NAME), "SELECT sum(length(v)) "
                          "FROM t")
        replica.command("verify", NAME)
        until(lambda: replica.command("verify", NAME).returncode == 0,
              lambda: "not healed: %s" % replica.databases()[NAME])
        nodes.compare(NAME)
        expect_eq(sql.look(replica.path(NAME),
                           "SELECT sum(length(v)) FROM t"), before)
        expect_eq(replica.databases()[NAME]["damaged_pages"], 0)
        stage.say(pages, between.taken, "bytes came")
        if 1 not in pages:  # without page 1 it is no database: all of it comes
            expect(between.taken < 200000, "%d bytes came" % between.taken)


@test(seconds=60)
def the_scrub_finds_it_without_being_asked(stage):
    node = cluster.single(stage, extra="scrub: { every: 300ms, rate: 1GiB }\n")
    make(node.path(NAME), "delete")
    make(node.path("other.db"))
    until(lambda: all(one["verified_time"] is not None
                      for one in node.databases().values()), "no pass")
    expect("database.damaged" not in node.log_text(), "found what is not there")
    damage(node, 42)
    until(lambda: node.databases()[NAME]["damaged_pages"] == 1, "not found")
    expect("page 42 of" in node.log_text(), "the page")
    expect_eq(node.databases()["other.db"]["health"], "ok")


@test(seconds=60)
def writers_that_go_on_are_no_damage(stage):
    node = cluster.single(stage, extra="scrub: { every: 1ms, rate: 64GiB }\n")
    for mode in ("wal", "delete"):
        name = mode + ".db"
        make(node.path(name), mode)
        with sql.connect(node.path(name), synchronous="normal",
                         timeout=20) as connection:
            for _ in range(300 if mode == "wal" else 40):
                connection.execute(
                    "UPDATE t SET v = randomblob(3800) WHERE id = "
                    "1 + abs(random()) %% %d" % ROWS)
        until(lambda n=name: node.databases()[n]["verified_time"] is not None,
              "no pass")
        expect("ok" in node.ask("verify", name), name)
    expect("database.damaged" not in node.log_text(), "damage was claimed")


@test(seconds=60)
def a_database_that_was_emptied_is_not_compared(stage):
    node = cluster.single(stage)
    make(node.path(NAME), "delete")
    expect("ok" in node.ask("verify", NAME), "verify")
    with open(node.path(NAME), "w"):
        pass  # and left empty
    done = node.command("verify", NAME)
    expect_eq(done.returncode, 1, done.stdout + done.stderr)
    node.check_alive()
    make(node.path(NAME), "delete")
    until(lambda: "ok" in node.command("verify", NAME).stdout, "verify, again")
    expect("database.damaged" not in node.log_text(), "damage was claimed")


@test(seconds=120, modes=("classic",))
def damage_that_a_replica_found_is_not_forgotten_by_a_restart(stage):
    """Also not with a log that reaches back to the first transaction, from
    which all hashes can be made anew."""
    nodes = cluster.pair(stage)
    primary, replica = nodes.primary, nodes.replicas[0]
    make(primary.path(NAME))
    nodes.compare(NAME)
    for how in ("stop", "kill"):
        replica.restart()  # all of it is in the file
        nodes.compare(NAME)
        primary.stop()
        damage(replica, 77)
        done = replica.command("verify", NAME)
        expect_eq(done.returncode, 1, done.stdout + done.stderr)
        getattr(replica, how)()
        primary.start()
        replica.start()
        nodes.compare(NAME, 30)
        expect("ok" in replica.ask("verify", NAME), how)
