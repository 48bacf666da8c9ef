"""tests/support/chain.py - a load whose every read names the prefix it saw.

Each write transaction inserts a unique id and extends a chain of hashes,
h(n) = H(h(n-1), id(n)), and changes other rows about which `head` keeps
count. So one read of a database tells which transactions it shows, and that
it shows all of each and nothing of the next:

    head    one row: n, h(n), the sum of cells.value, the rows of junk
    chain   n, id, h; old rows are deleted now and then
    cells   some rows spread over many pages
    junk    rows of any size that come and go

`write` and `read` are applications: functions for workers.Worker.
"""
import hashlib
import random
import sqlite3
import uuid

import sql
from runner import expect, expect_eq

CELLS = 40
KEEP = 400  # rows of chain
START = "0" * 32
CHECKPOINTS = ("PASSIVE", "FULL", "RESTART", "TRUNCATE")


def link(before, name):
    return hashlib.blake2b((before + name).encode(), digest_size=16
                           ).hexdigest()


def create(connection, rng):
    pad = sql.pragma(connection, "page_size") // 3
    with sql.transaction(connection):
        connection.execute("CREATE TABLE head(n INTEGER, h TEXT,"
                           " total INTEGER, junk INTEGER)")
        connection.execute("CREATE TABLE chain(n INTEGER PRIMARY KEY,"
                           " id TEXT UNIQUE, h TEXT)")
        connection.execute("CREATE TABLE cells(id INTEGER PRIMARY KEY,"
                           " value INTEGER, pad BLOB)")
        connection.execute("CREATE TABLE junk(id INTEGER PRIMARY KEY, v BLOB)")
        connection.execute("INSERT INTO head VALUES (0, ?, 0, 0)", (START,))
        connection.executemany(
            "INSERT INTO cells(value, pad) VALUES (0, ?)",
            [(rng.randbytes(rng.randint(1, pad)),) for _ in range(CELLS)])


# ---- writing --------------------------------------------------------------------

def extend(connection, rng, name, size=1, largest=2000):
    """The body of one transaction; returns its n."""
    n, h, total, junk = connection.execute("SELECT * FROM head").fetchone()
    n, h = n + 1, link(h, name)
    connection.execute("INSERT INTO chain VALUES (?, ?, ?)", (n, name, h))
    for _ in range(rng.randint(1, 4 * size)):
        change = rng.randint(-1000, 1000)
        total += change
        connection.execute("UPDATE cells SET value = value + ? WHERE id = ?",
                           (change, rng.randint(1, CELLS)))
    for _ in range(rng.randint(0, 3 * size)):
        connection.execute("INSERT INTO junk(v) VALUES (?)",
                           (rng.randbytes(rng.randint(0, largest)),))
        junk += 1
    if rng.random() < 0.2:
        junk -= connection.execute(
            "DELETE FROM junk WHERE id IN (SELECT id FROM junk"
            " ORDER BY id LIMIT ?)", (rng.randint(1, 30),)).rowcount
    if rng.random() < 0.05:
        connection.execute("DELETE FROM chain WHERE n <= ?", (n - KEEP,))
    connection.execute("UPDATE head SET n = ?, h = ?, total = ?, junk = ?",
                       (n, h, total, junk))
    return n


class Writer:
    """One application: connections to some databases, and its habits."""

    def __init__(self, paths, seed, synchronous, journals, acknowledged=None,
                 busy=20.0):
        self.paths, self.rng = paths, random.Random(seed)
        self.synchronous, self.journals = synchronous, journals
        self.acknowledged, self.busy = acknowledged, busy
        self.connections = {}
        self.did = dict.fromkeys(("commits", "rollbacks", "checkpoints",
                                  "vacuums", "reconnects", "switches",
                                  "refused"), 0)

    def connect(self, path):
        if path not in self.connections:
            connection = sqlite3.connect(path, timeout=self.busy,
                                         isolation_level=None)
            sql.pragma(connection, "synchronous",
                       self.rng.choice(self.synchronous))
            if self.rng.random() < 0.3:
                sql.pragma(connection, "cache_size", 5)
            # Rollback journals are a habit of a connection; a database in
            # WAL mode stays there.
            if sql.pragma(connection, "journal_mode") != "wal":
                sql.pragma(connection, "journal_mode",
                           self.rng.choice(self.journals))
            self.connections[path] = connection
        return self.connections[path]

    def disconnect(self, path):
        connection = self.connections.pop(path, None)
        if connection is not None:
            connection.close()
            self.did["reconnects"] += 1

    def close(self):
        for path in list(self.connections):
            self.disconnect(path)

    def commit(self, path):
        connection = self.connect(path)
        name = uuid.UUID(int=self.rng.getrandbits(128)).hex
        large = self.rng.random() < 0.03
        with sql.transaction(connection):
            n = extend(connection, self.rng, name, 50 if large else 1)
        self.did["commits"] += 1
        if self.acknowledged is not None:
            self.acknowledged(path, n, name)

    def give_up(self, path):
        """A transaction that is rolled back, perhaps after it spilled."""
        connection = self.connect(path)
        if sql.pragma(connection, "journal_mode") == "off":
            return  # a rollback would destroy the database: SQLite's words
        connection.execute("BEGIN IMMEDIATE")
        extend(connection, self.rng, "never", self.rng.choice((1, 30)))
        connection.execute("SAVEPOINT a")
        extend(connection, self.rng, "neither")
        connection.execute("ROLLBACK TO a")
        connection.execute("ROLLBACK")
        self.did["rollbacks"] += 1

    def when_free(self, what, path, statement):
        """Statements that need others out of the way may be refused."""
        try:
            self.connect(path).execute(statement).fetchall()
            self.did[what] += 1
        except sqlite3.OperationalError as error:
            expect("locked" in str(error), "%s: %s" % (statement, error))
            self.did["refused"] += 1

    def step(self):
        path, dice = self.rng.choice(self.paths), self.rng.random()
        if dice < 0.86:
            self.commit(path)
        elif dice < 0.90:
            self.give_up(path)
        elif dice < 0.95:
            kind = self.rng.choice(CHECKPOINTS)
            self.when_free("checkpoints", path,
                           "PRAGMA wal_checkpoint(%s)" % kind)
        elif dice < 0.96:
            self.when_free("vacuums", path, "VACUUM")
        else:
            self.disconnect(path)


def write(control, *arguments):
    """Works until told to stop; returns what it did."""
    writer = Writer(*arguments)
    while control.running():
        writer.step()
    writer.close()
    return writer.did


# ---- reading --------------------------------------------------------------------

class Reader:
    """Looks at one database again and again, from one node."""

    def __init__(self, path, timeout=0.0):
        self.path, self.timeout = path, timeout
        self.connection = None
        self.n, self.h = 0, None  # verified up to here

    def open(self, rng):
        self.close()
        self.connection = sql.open_reader(self.path, self.timeout,
                                          rng.random() < 0.5)
        if rng.random() < 0.3:
            sql.pragma(self.connection, "mmap_size", 1 << 26)

    def close(self):
        if self.connection is not None:
            self.connection.close()
            self.connection = None

    def look(self):
        """One read view, in several statements; returns its n."""
        connection = self.connection
        connection.execute("BEGIN")
        head = connection.execute("SELECT * FROM head").fetchone()
        rows = connection.execute(
            "SELECT n, id, h FROM chain WHERE n >= ? ORDER BY n",
            (self.n,)).fetchall()
        total = sql.one(connection, "SELECT sum(value) FROM cells")
        junk = sql.one(connection, "SELECT count(*) FROM junk")
        connection.execute("COMMIT")
        self.check(head, rows, total, junk)
        return self.n

    def check(self, head, rows, total, junk):
        where = "%s after n=%d" % (self.path, self.n)
        n, h, want_total, want_junk = head
        expect(n >= self.n, "%s: went back to n=%d" % (where, n))
        expect_eq(total, want_total, "%s: sum of cells at n=%d" % (where, n))
        expect_eq(junk, want_junk, "%s: rows of junk at n=%d" % (where, n))
        # Rows that were deleted meanwhile leave the first one without its
        # predecessor; from then on each must follow.
        before = self.h if rows and rows[0][0] == self.n else None
        last = None
        for number, name, hash_value in rows:
            if number == self.n:
                if before is not None:
                    expect_eq(hash_value, before, "%s: h changed" % where)
            elif last is not None:
                expect_eq(number, last[0] + 1, "%s: n has a gap" % where)
                expect_eq(hash_value, link(last[1], name),
                          "%s: h(%d) does not follow" % (where, number))
            last = (number, hash_value)
        if n > 0:
            expect_eq(last, (n, h), "%s: head and chain" % where)
        self.n, self.h = n, h


def read(control, paths, seed, timeout=0.0):
    """Spins over databases until told to stop; returns reads per second
    and the last n of each."""
    rng = random.Random(seed)
    readers = [Reader(path, timeout) for path in paths]
    looks = 0
    while control.running():
        reader = rng.choice(readers)
        if reader.connection is None or rng.random() < 0.02:
            reader.open(rng)
        reader.look()
        looks += 1
    for reader in readers:
        reader.close()
    return looks, [reader.n for reader in readers]
