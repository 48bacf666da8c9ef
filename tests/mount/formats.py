"""Page sizes, journal modes and synchronous levels, and what SQLite does
with pages: each database must be the same on a replica."""
import itertools
import os
import signal

import cluster
import sql
from runner import LONG, expect, expect_eq, test, until

SAMPLE = 36


def sample(stage):
    """Combinations: all of them in a long run, else a seeded choice in which
    every single value occurs."""
    every = list(itertools.product(sql.PAGE_SIZES, sql.JOURNAL_MODES,
                                   sql.SYNCHRONOUS))
    stage.rng.shuffle(every)
    if LONG:
        return every
    chosen, seen = [], set()
    for one in every:
        new = set(enumerate(one)) - seen
        if new or len(chosen) < SAMPLE - len(sql.PAGE_SIZES):
            chosen.append(one)
            seen |= new
    return chosen


def fill(connection, rng, rows):
    with sql.transaction(connection):
        connection.executemany(
            "INSERT INTO t(v) VALUES (?)",
            [(rng.randbytes(rng.randint(1, 3000)),) for _ in range(rows)])


def work(connection, rng):
    """A life in small: growing, changing, shrinking."""
    connection.execute("CREATE TABLE IF NOT EXISTS t("
                       "id INTEGER PRIMARY KEY, v BLOB)")
    for _ in range(4):
        fill(connection, rng, rng.randint(1, 20))
    connection.execute("UPDATE t SET v = zeroblob(length(v)) WHERE id % 3 = 0")
    connection.execute("DELETE FROM t WHERE id % 2 = 0")
    fill(connection, rng, 5)


@test(seconds=30)
def a_new_database_is_replicated_in_delete_mode_and_then_in_wal(stage):
    nodes = cluster.pair(stage)
    path = nodes.primary.path("app.db")
    with sql.connect(path) as connection:
        expect_eq(sql.pragma(connection, "journal_mode"), "delete")
        work(connection, stage.rng)
        nodes.compare("app.db")
        expect_eq(sql.pragma(connection, "journal_mode", "wal"), "wal")
        work(connection, stage.rng)
        nodes.compare("app.db")
    nodes.compare("app.db")


@test(seconds=120)
def every_page_size_and_journal_mode_and_synchronous_level_is_replicated(
        stage):
    nodes = cluster.pair(stage)
    chosen = sample(stage)
    for page_bytes, mode, synchronous in chosen:
        name = "%d-%s-%s.db" % (page_bytes, mode, synchronous)
        with sql.connect(nodes.primary.path(name), page_size=page_bytes,
                         journal_mode=mode, synchronous=synchronous) as c:
            work(c, stage.rng)
            expect_eq(sql.pragma(c, "page_size"), page_bytes)
            # With the connection still open, too. Without a journal and
            # without an fsync a new database is known when it is closed.
            if (mode, synchronous) not in (("memory", "off"), ("off", "off")):
                nodes.compare(name)
    expect_eq(len(nodes.compare_all()), len(chosen))
    stage.say(len(chosen), "combinations")


@test(seconds=30)
def leaving_wal_mode_is_refused_with_a_lock_and_does_no_harm(stage):
    nodes = cluster.pair(stage)
    with sql.connect(nodes.primary.path("app.db"),
                     journal_mode="wal") as connection:
        work(connection, stage.rng)  # may meet our lock while we attach
        sql.pragma(connection, "busy_timeout", 0)
        try:
            mode = sql.pragma(connection, "journal_mode", "delete")
            expect_eq(mode, "wal")
        except sql.sqlite3.OperationalError as error:
            expect("locked" in str(error), str(error))
        fill(connection, stage.rng, 3)
        nodes.compare("app.db")


@test(seconds=30)
def the_first_writes_after_a_switch_to_wal_do_not_wait_for_ever(stage):
    """The FSYNC of the first WAL header waits for the anchor; whatever the
    anchor does meanwhile must not wait for that FSYNC."""
    node = cluster.single(stage)
    for n in range(100):
        with sql.connect(node.path("%d.db" % n), journal_mode="wal") as connection:
            connection.execute("CREATE TABLE t(n)")


@test(seconds=40)
def mmap_sees_the_same_on_the_primary_and_on_a_replica(stage):
    nodes = cluster.pair(stage)
    with sql.connect(nodes.primary.path("app.db"), journal_mode="wal",
                     mmap_size=1 << 28) as connection:
        work(connection, stage.rng)
        reader = sql.open_reader(nodes.replicas[0].path("app.db")) \
            if nodes.settle("app.db") else None
        expect_eq(sql.pragma(reader, "mmap_size", 1 << 28), 1 << 28)
        for _ in range(10):
            fill(connection, stage.rng, 20)
            if stage.rng.random() < 0.4:
                sql.pragma(connection, "wal_checkpoint(TRUNCATE)")
            nodes.settle("app.db")
            expect_eq(sql.table_digest(reader, "t"),
                      sql.table_digest(connection, "t"))
        reader.close()
        nodes.compare("app.db")


@test(seconds=40)
def mmap_in_rollback_mode_sees_the_same(stage):
    nodes = cluster.pair(stage)
    with sql.connect(nodes.primary.path("app.db"),
                     mmap_size=1 << 28) as connection:
        for _ in range(5):
            work(connection, stage.rng)
            nodes.compare("app.db")


@test(seconds=40)
def commits_with_and_without_a_journal_take_turns(stage):
    """What one connection commits without a journal is in no journal of
    another that commits right behind it."""
    nodes = cluster.pair(stage)
    for mode in ("delete", "truncate", "persist"):
        for level in ("off", "full"):
            path = nodes.primary.path("%s-%s.db" % (mode, level))
            with sql.connect(path, synchronous=level,
                             journal_mode=mode) as one, \
                    sql.connect(path, synchronous="off",
                                journal_mode="memory") as other:
                one.execute("CREATE TABLE a(n, v)")
                one.execute("CREATE TABLE b(n, v)")
                for n in range(40):
                    other.execute("INSERT INTO a VALUES (?, randomblob(900))",
                                  (n,))
                    one.execute("INSERT INTO b VALUES (?, randomblob(900))",
                                (n,))
                    if n % 7 == 3:
                        other.execute("VACUUM")
                nodes.compare(os.path.basename(path))


def attached(nodes, modes):
    """Transactions over two databases; with rollback journals there is a
    super-journal whose removal is the commit of both."""
    one, two = nodes.primary.path("one.db"), nodes.primary.path("two.db")
    with sql.connect(two, journal_mode=modes[1]) as connection:
        connection.execute("CREATE TABLE b(n)")
    with sql.connect(one, journal_mode=modes[0]) as connection:
        connection.execute("CREATE TABLE a(n)")
        connection.execute("ATTACH ? AS two", (two,))
        for n in range(20):
            with sql.transaction(connection):
                connection.execute("INSERT INTO a VALUES (?)", (n,))
                connection.execute("INSERT INTO two.b VALUES (?)", (-n,))
            if n % 5 == 0:
                connection.execute("BEGIN")
                connection.execute("DELETE FROM a")
                connection.execute("DELETE FROM two.b")
                connection.execute("ROLLBACK")
    expect_eq(nodes.compare("one.db")["table a"][0], 20)
    expect_eq(nodes.compare("two.db")["table b"][0], 20)


@test(seconds=40)
def attach_with_a_super_journal_commits_both_databases(stage):
    attached(cluster.pair(stage), ("delete", "delete"))


@test(seconds=40)
def attach_across_journal_modes_commits_both_databases(stage):
    attached(cluster.pair(stage), stage.rng.choice(
        [("wal", "delete"), ("truncate", "wal"), ("persist", "persist"),
         ("wal", "wal"), ("truncate", "delete")]))


@test(seconds=40)
def vacuum_shrinks_the_database_everywhere(stage):
    nodes = cluster.pair(stage)
    for mode in ("wal", "delete", "truncate", "persist"):
        name = mode + ".db"
        with sql.connect(nodes.primary.path(name),
                         journal_mode=mode) as connection:
            work(connection, stage.rng)
            fill(connection, stage.rng, 200)
            before = nodes.compare(name)["page_count"]
            connection.execute("DELETE FROM t WHERE id > 5")
            connection.execute("VACUUM")
            after = nodes.compare(name)["page_count"]
            expect(after < before / 2, "%s: %d pages, before %d"
                   % (mode, after, before))
            fill(connection, stage.rng, 20)
        nodes.compare(name)


@test(seconds=40)
def vacuum_may_change_the_page_size_in_rollback_mode(stage):
    nodes = cluster.pair(stage)
    with sql.connect(nodes.primary.path("app.db"),
                     page_size=1024) as connection:
        work(connection, stage.rng)
        nodes.compare("app.db")
        for page_bytes in (8192, 512, 65536, 4096):
            sql.pragma(connection, "page_size", page_bytes)
            connection.execute("VACUUM")
            expect_eq(nodes.compare("app.db")["page_size"], page_bytes)
            fill(connection, stage.rng, 10)
            nodes.compare("app.db")


@test(seconds=30)
def vacuum_into_the_mount_makes_a_database(stage):
    nodes = cluster.pair(stage)
    path = nodes.primary.path
    with sql.connect(path("app.db"), journal_mode="wal") as connection:
        work(connection, stage.rng)
        connection.execute("VACUUM INTO ?", (path("copy.db"),))
        rows = nodes.compare("copy.db")["table t"]
        expect_eq(rows, nodes.compare("app.db")["table t"])


@test(seconds=30)
def savepoints_and_rollbacks_leave_what_was_committed(stage):
    nodes = cluster.pair(stage)
    for mode in ("wal", "delete", "persist"):
        name = mode + ".db"
        with sql.connect(nodes.primary.path(name),
                         journal_mode=mode) as connection:
            work(connection, stage.rng)
            connection.execute("BEGIN IMMEDIATE")
            fillings = "INSERT INTO t(v) VALUES (randomblob(2000))"
            connection.execute(fillings)
            connection.execute("SAVEPOINT a")
            connection.execute("DELETE FROM t")
            connection.execute("SAVEPOINT b")
            connection.execute(fillings)
            connection.execute("ROLLBACK TO a")
            connection.execute(fillings)
            connection.execute("RELEASE a")
            connection.execute("COMMIT")
            nodes.compare(name)
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("UPDATE t SET v = randomblob(1000)")
            connection.execute("ROLLBACK")
            nodes.compare(name)


@test(seconds=60)
def a_transaction_larger_than_the_cache_is_one_transaction(stage):
    nodes = cluster.pair(stage)
    for mode in ("wal", "delete"):
        name = mode + ".db"
        with sql.connect(nodes.primary.path(name), journal_mode=mode,
                         cache_size=10) as connection:
            work(connection, stage.rng)
            with sql.transaction(connection):
                for _ in range(10):
                    connection.executemany(
                        "INSERT INTO t(v) VALUES (randomblob(?))",
                        [(3000,)] * 100)
                    connection.execute(
                        "UPDATE t SET v = randomblob(1500)"
                        " WHERE id % 50 = 0")
            nodes.compare(name)
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany("INSERT INTO t(v) VALUES (randomblob(?))",
                                   [(3000,)] * 500)
            connection.execute("ROLLBACK")  # after it had spilled
            nodes.compare(name)
            fill(connection, stage.rng, 10)
            nodes.compare(name)


def leave_frames_without_a_checksum(connection):
    """SQLite 3.40 does so when a page that spilled within a savepoint spills
    again and the savepoint is rolled back; 3.53 does not. Needs a connection
    with a cache of 5 pages that has not seen the database yet."""
    with sql.transaction(connection):
        connection.execute("SAVEPOINT a")
        for first in (1, 25):
            connection.execute("UPDATE t SET n = n + 9 WHERE id >= ?",
                               (first,))
        connection.execute("ROLLBACK TO a")
        connection.execute("UPDATE t SET n = 1 WHERE id = 39")


def frames_without_a_checksum(stage, node):
    with open(node.file("app.db-wal"), "rb") as file:
        wal = file.read()
    frames = [wal[at + 8:at + 24] for at in range(32, len(wal), 1048)]
    stage.say(frames.count(bytes(16)), "such frames of", len(frames))


def make_rows(path):
    with sql.connect(path, page_size=1024, journal_mode="wal") as connection:
        connection.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, n, v)")
        connection.executemany(
            "INSERT INTO t(n, v) VALUES (0, randomblob(700))", [()] * 40)
        sql.pragma(connection, "wal_checkpoint(TRUNCATE)")


@test(seconds=30)
def frames_that_sqlite_leaves_without_a_checksum_are_commits(stage):
    nodes = cluster.pair(stage)
    path = nodes.primary.path("app.db")
    make_rows(path)
    with sql.connect(path, cache_size=5) as connection:
        leave_frames_without_a_checksum(connection)
        connection.execute("UPDATE t SET n = 2 WHERE id = 40")
        nodes.compare("app.db")
        frames_without_a_checksum(stage, nodes.primary)
        expect_eq(nodes.primary.databases()["app.db"]["counters"]["gaps"], 0)


def not_recovered(stage, name, leave_open):
    nodes = cluster.pair(stage)
    path = nodes.primary.path(name)
    make_rows(path)
    nodes.compare(name)
    with sql.connect(path, cache_size=5, synchronous="normal") as connection:
        connection.execute("UPDATE t SET n = 3 WHERE id = 38")
        leave_frames_without_a_checksum(connection)
        nodes.compare(name)
        if stage.mode == "passthrough":
            # Not captured when it is killed.
            nodes.primary.process.send_signal(signal.SIGSTOP)
        connection.execute("UPDATE t SET n = 2 WHERE id = 40")
        frames_without_a_checksum(stage, nodes.primary)
        nodes.primary.kill()
        if leave_open:
            nodes.primary.start()
            expect_eq(nodes.primary.databases()[name]["state"], "held_back")
    if leave_open:
        until(lambda: nodes.primary.databases()[name]["state"] != "held_back",
              "still held back")
    else:
        nodes.primary.start()
    with sql.connect(path) as connection:
        expect_eq(connection.execute("SELECT id, n FROM t WHERE n <> 0"
                                     ).fetchall(), [(38, 3), (39, 1), (40, 2)])
    nodes.compare(name)
    with sql.connect(path) as connection:
        connection.execute("UPDATE t SET n = 4 WHERE id = 1")
    nodes.compare(name)


@test(seconds=40)
def commits_that_sqlite_would_not_recover_are_recovered_from_the_log(stage):
    """Its own recovery ends before such a frame: the log knows better."""
    not_recovered(stage, "app.db", False)


@test(seconds=40, modes=("passthrough",))
def so_are_those_that_are_held_back(stage):
    not_recovered(stage, "app.db", True)


@test(seconds=60)
def auto_vacuum_moves_pages_on_the_replica_too(stage):
    nodes = cluster.pair(stage)
    for kind, mode in (("full", "wal"), ("full", "delete"),
                       ("incremental", "wal"), ("incremental", "truncate")):
        name = "%s-%s.db" % (kind, mode)
        with sql.connect(nodes.primary.path(name), auto_vacuum=kind,
                         journal_mode=mode) as connection:
            work(connection, stage.rng)
            for _ in range(3):
                fill(connection, stage.rng, 50)
                connection.execute("DELETE FROM t WHERE id % 3 = 1")
                if kind == "incremental":
                    connection.execute("PRAGMA incremental_vacuum(7)"
                                       ).fetchall()
                nodes.compare(name)


@test(seconds=60)
def a_database_of_64_mib_goes_through_in_one_transaction(stage):
    nodes = cluster.pair(stage)
    with sql.connect(nodes.primary.path("big.db"),
                     journal_mode="wal") as connection:
        connection.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, v BLOB)")
        with sql.transaction(connection):
            connection.executemany(
                "INSERT INTO t(v) VALUES (randomblob(?))", [(1 << 20,)] * 64)
        nodes.compare("big.db")
        connection.execute("UPDATE t SET v = zeroblob(10) WHERE id % 2")
        nodes.compare("big.db")
    # Nothing is left in memory for ever: the log holds it.
    until(lambda: nodes.primary.memory_kib() < 400 * 1024,
          "the daemon still has %d KiB" % nodes.primary.memory_kib())
