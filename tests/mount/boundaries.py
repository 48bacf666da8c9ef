"""Sizes at which something of ours, or of SQLite's, begins or ends."""
import cluster
import sql
from runner import LONG, expect, expect_eq, test

PAGE_BYTES = 65536
PART_PAGES = (4 << 20) // PAGE_BYTES  # of one part of a record


def never_disagreed(node):
    for words in ("database.stopped", "replication.resync"):
        expect(words not in node.log_text(), "%s: %s" % (node.name, words))


@test(seconds=60)
def a_reread_that_fills_one_part_exactly_is_sent_as_it_is(stage):
    """Pages that did not change follow those that did."""
    nodes = cluster.pair(stage)
    path = nodes.primary.path("a.db")
    with sql.connect(path, page_size=PAGE_BYTES, journal_mode="memory") as db:
        db.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, v BLOB)")
        with sql.transaction(db):  # a page each
            db.executemany("INSERT INTO t VALUES(?, randomblob(60000))",
                           [(i,) for i in range(PART_PAGES + 20)])
        nodes.settle("a.db")
        # Page 1 is the one that is missing.
        db.execute("UPDATE t SET v = randomblob(60000) WHERE id < ?",
                   (PART_PAGES - 1,))
    nodes.compare("a.db")
    never_disagreed(nodes.replicas[0])


@test(seconds=300, modes=("passthrough",))
def a_vacuum_to_another_page_size_may_meet_the_lock_byte_page(stage):
    """Beyond 1 GiB the page at the lock byte is never written: another page
    number in another page size."""
    if not LONG:
        return  # writes 4 GiB
    nodes = cluster.pair(stage)
    with sql.connect(nodes.primary.path("a.db"), page_size=4096,
                     journal_mode="delete") as db:
        db.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, v BLOB)")
        for i in range(11):
            db.execute("INSERT INTO t VALUES(?, zeroblob(100000000))", (i,))
        sql.pragma(db, "page_size", 8192)
        db.execute("VACUUM")
        expect_eq(sql.pragma(db, "page_size"), 8192)
    nodes.add_replica().start()
    nodes.settle("a.db", seconds=120)
    for node in nodes.replicas:
        never_disagreed(node)
        expect_eq(node.token("a.db"), nodes.primary.token("a.db"), node.name)
        expect_eq(node.databases()["a.db"]["position"]["sum"],
                  nodes.primary.databases()["a.db"]["position"]["sum"])
        with sql.connect(node.path("a.db")) as db:
            expect_eq(sql.one(db, "SELECT sum(length(v)) FROM t"), 11 * 10**8)
