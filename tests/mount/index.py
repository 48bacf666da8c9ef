"""tests/mount/index.py - what a wal-index says before anybody committed."""
import os
import struct

import cluster
import sql
from runner import expect_eq, expect_raises, test

SIZE_PAGES_AT = 20  # nPage in the first copy of the header


def size_pages(node, name):
    with open(node.file(name + "-shm"), "rb") as file:
        file.seek(SIZE_PAGES_AT)
        return struct.unpack("=I", file.read(4))[0]


@test()
def a_reader_after_a_restart_need_not_ask_for_the_size(stage):
    """With 0 there SQLite calls fstat() in every read transaction, and in
    passthrough each of them is a round trip to the daemon."""
    nodes = cluster.pair(stage)
    with sql.connect(nodes.primary.path("a.db"), journal_mode="wal") as db:
        db.execute("CREATE TABLE t(v)")
        db.execute("INSERT INTO t VALUES(zeroblob(100000))")
        pages = sql.pragma(db, "page_count")
    nodes.settle("a.db")
    for node in nodes.nodes:
        node.restart()
    for node in nodes.nodes:
        with sql.connect(node.path("a.db")) as db:
            expect_eq(sql.one(db, "SELECT count(*) FROM t"), 1)
            expect_eq(size_pages(node, "a.db"), pages, node.name)
    with sql.connect(nodes.primary.path("a.db")) as db:
        db.execute("INSERT INTO t VALUES(1)")
    nodes.compare("a.db")


@test()
def an_index_in_use_is_neither_cut_nor_removed_by_a_stranger(stage):
    """Who has it mapped would be ended by SIGBUS: applications, and us."""
    nodes = cluster.pair(stage)
    with sql.connect(nodes.primary.path("a.db"), journal_mode="wal") as db:
        db.execute("CREATE TABLE t(v)")
        nodes.settle("a.db")
        for node in nodes.nodes:
            reader = sql.open_reader(node.path("a.db"))
            index = node.path("a.db-shm")
            size = os.path.getsize(index)
            for cut in (lambda: os.truncate(index, 3),
                        lambda: os.truncate(index, 0),
                        lambda: os.close(os.open(index,
                                                 os.O_RDWR | os.O_TRUNC)),
                        lambda: os.unlink(index)):
                expect_raises(OSError, "", cut)
            expect_eq(os.path.getsize(index), size)
            expect_eq(sql.one(reader, "SELECT count(*) FROM t"), 0)
            reader.close()
            node.check_alive()
        db.execute("INSERT INTO t VALUES(1)")
    nodes.compare("a.db")
