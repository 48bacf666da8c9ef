"""What becomes large: databases beyond 1 GiB, where a page lies that SQLite never
writes; the WAL of a replica whose readers stay."""
import os

import cluster
import sql
from runner import LONG, expect, expect_eq, test, until

NAME = "app.db"
LOCK_BYTE = 1 << 30
BLOB = 1 << 20


def grow(path, until_bytes):
    """Zeroes are enough: what is looked at is where they lie."""
    with sql.connect(path, timeout=60) as connection:
        while os.path.getsize(path) + os.path.getsize(path + "-wal") < \
                until_bytes:
            with sql.transaction(connection):
                for _ in range(64):
                    connection.execute("INSERT INTO t(v) VALUES (zeroblob(?))",
                                       (BLOB,))
            connection.execute("PRAGMA wal_checkpoint")


if LONG:
    @test(seconds=600, modes=("passthrough",))
    def a_database_grows_past_the_lock_byte_page_and_shrinks_again(stage):
        nodes = cluster.pair(stage)
        primary, replica = nodes.primary, nodes.replicas[0]
        path = primary.path(NAME)
        with sql.connect(path, page_size=65536,
                         journal_mode="wal") as connection:
            connection.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, v)")
        grow(path, LOCK_BYTE + (96 << 20))
        with sql.connect(path) as connection:
            connection.execute("INSERT INTO t(id, v) VALUES (999999, 'end')")
        nodes.settle(NAME, 120)
        newcomer = nodes.add_replica().start()
        nodes.settle(NAME, 300)
        for node in nodes.nodes:
            expect_eq(sql.look(node.path(NAME), "PRAGMA integrity_check"), "ok")
            expect_eq(sql.look(node.path(NAME), "SELECT v FROM t WHERE id = "
                               "999999"), "end")
            expect("ok" in node.ask("verify", NAME, timeout=120), "verify")
        expect(replica.databases()[NAME]["size_pages"] * 65536 > LOCK_BYTE,
               "not past it")
        # Below it again, by a route of its own.
        with sql.connect(path, timeout=60) as connection:
            connection.execute("DELETE FROM t WHERE id % 3")
            connection.execute("VACUUM")
        nodes.settle(NAME, 300)
        for node in nodes.nodes:
            expect_eq(sql.look(node.path(NAME), "PRAGMA integrity_check"), "ok")
            expect("ok" in node.ask("verify", NAME, timeout=120), "verify")
        one = primary.databases()[NAME]["position"]["sum"]
        for node in (replica, newcomer):
            expect_eq(node.token(NAME), primary.token(NAME), node.name)
            expect_eq(node.databases()[NAME]["position"]["sum"], one)


@test(seconds=120)
def a_reader_that_stayed_for_long_leaves_no_large_wal_behind(stage):
    """It pins what it reads: the WAL of the replica grows. When it is gone the
    WAL starts over, and the space is given back while others read on."""
    nodes = cluster.pair(stage)
    path, size = nodes.primary.path(NAME), 0
    replica = nodes.replicas[0]
    with sql.connect(path, journal_mode="wal",
                     synchronous="normal") as connection:
        connection.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, v)")
        connection.execute("INSERT INTO t(v) VALUES (zeroblob(100000))")
        nodes.settle(NAME)
        long = sql.open_reader(replica.path(NAME))
        other = sql.open_reader(replica.path(NAME))
        long.execute("BEGIN")
        seen = sql.one(long, "SELECT count(*) FROM t")
        while size < 96 << 20:
            with sql.transaction(connection):
                for _ in range(100):
                    connection.execute("INSERT INTO t(v) VALUES "
                                       "(randomblob(100000))")
                connection.execute("DELETE FROM t WHERE id < "
                                   "(SELECT max(id) FROM t) - 200")
            nodes.settle(NAME)
            size = os.path.getsize(replica.file(NAME) + "-wal")
        expect_eq(sql.one(long, "SELECT count(*) FROM t"), seen, "it moved")
        long.close()

        def is_small():
            connection.execute("UPDATE t SET v = randomblob(2000000) WHERE id = "
                               "(SELECT max(id) FROM t)")
            nodes.settle(NAME)
            expect_eq(sql.one(other, "SELECT count(*) > 0 FROM t"), 1)
            return os.path.getsize(replica.file(NAME) + "-wal") < 64 << 20
        until(is_small, lambda: "the WAL has %d bytes: %s" % (
              os.path.getsize(replica.file(NAME) + "-wal"),
              replica.databases()[NAME]), 30)
        other.close()
    nodes.compare(NAME)
