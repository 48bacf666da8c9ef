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
import collections
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

def extend(connection, rng, name, size=1, largest=2000, schema="main"):
    """The body of one transaction; returns its n."""
    def run(sql_text, *arguments):
        return connection.execute(sql_text.replace("$", schema), arguments)

    n, h, total, junk = run("SELECT * FROM $.head").fetchone()
    n, h = n + 1, link(h, name)
    run("INSERT INTO $.chain VALUES (?, ?, ?)", n, name, h)
    for _ in range(rng.randint(1, 4 * size)):
        change = rng.randint(-1000, 1000)
        total += change
        run("UPDATE $.cells SET value = value + ? WHERE id = ?",
            change, rng.randint(1, CELLS))
    for _ in range(rng.randint(0, 3 * size)):
        run("INSERT INTO $.junk(v) VALUES (?)",
            rng.randbytes(rng.randint(0, largest)))
        junk += 1
    if rng.random() < 0.2:
        junk -= run("DELETE FROM $.junk WHERE id IN (SELECT id FROM $.junk"
                    " ORDER BY id LIMIT ?)", rng.randint(1, 30)).rowcount
    if rng.random() < 0.05:
        run("DELETE FROM $.chain WHERE n <= ?", n - KEEP)
    run("UPDATE $.head SET n = ?, h = ?, total = ?, junk = ?",
        n, h, total, junk)
    return n


def never_mind(connection, rng):
    """Changes inside a transaction that a savepoint takes back."""
    connection.execute("SAVEPOINT a")
    extend(connection, rng, "not this one")
    connection.execute("SAVEPOINT b")
    extend(connection, rng, "nor this one")
    connection.execute(rng.choice(("ROLLBACK TO b", "RELEASE b")))
    connection.execute("ROLLBACK TO a")
    connection.execute("RELEASE a")


class Writer:
    """One application: connections to some databases, and its habits. What
    it did is counted in `did`, by what it was."""

    def __init__(self, paths, seed, synchronous, journals, acknowledged=None,
                 busy=20.0, is_to_survive=False):
        """journals: of connections to a database in rollback mode, for all
        paths or, as a dictionary, for each. is_to_survive: the daemon is
        going to be killed. Who maps a file may then be killed, too (SIGBUS);
        and who spills within a savepoint may lose commits, since SQLite 3.40
        leaves frames in the WAL that its own recovery ends at."""
        self.paths, self.rng = paths, random.Random(seed)
        if not isinstance(journals, dict):
            journals = dict.fromkeys(paths, journals)
        self.synchronous, self.journals = synchronous, journals
        self.acknowledged, self.busy = acknowledged, busy
        self.is_to_survive = is_to_survive
        self.connections, self.did = {}, collections.Counter()

    def connect(self, path):
        if path not in self.connections:
            # It is there. Where it is not for a moment, since a daemon was
            # killed (before Linux 6.5), nothing must be made in its place.
            connection = sqlite3.connect("file:%s?mode=rw" % path, uri=True,
                                         timeout=self.busy,
                                         isolation_level=None)
            self.connections[path] = connection
            sql.pragma(connection, "synchronous",
                       self.rng.choice(self.synchronous))
            is_wal = sql.pragma(connection, "journal_mode") == "wal"
            if self.rng.random() < 0.3 and not (self.is_to_survive and is_wal):
                sql.pragma(connection, "cache_size", 5)
            if self.rng.random() < 0.3 and not self.is_to_survive:
                sql.pragma(connection, "mmap_size", 1 << 26)
            # Rollback journals are a habit of a connection; a database in
            # WAL mode stays there.
            if not is_wal:
                sql.pragma(connection, "journal_mode",
                           self.rng.choice(self.journals[path]))
        return self.connections[path]

    def disconnect(self, path):
        connection = self.connections.pop(path, None)
        if connection is not None:
            connection.close()
            self.did["reconnects"] += 1

    def close(self):
        for path in list(self.connections):
            self.disconnect(path)

    def name(self):
        return uuid.UUID(int=self.rng.getrandbits(128)).hex

    def committed(self, path, n, name):
        self.did["commits"] += 1
        if self.acknowledged is not None:
            self.acknowledged(path, n, name)

    def can_undo(self, connection):
        """Without a journal a rollback destroys the database: SQLite's
        words."""
        return sql.pragma(connection, "journal_mode") != "off"

    def commit(self, path):
        connection, name = self.connect(path), self.name()
        large = self.rng.random() < 0.03
        undo = self.rng.random() < 0.1 and self.can_undo(connection)
        with sql.transaction(connection):
            if undo:
                never_mind(connection, self.rng)
                self.did["savepoints"] += 1
            n = extend(connection, self.rng, name, 50 if large else 1)
        self.committed(path, n, name)

    def commit_two(self, path):
        """One transaction over two databases, by ATTACH."""
        # Always in the same order, or two would wait for each other.
        path, other = sorted((path, self.rng.choice(self.paths)))
        if other == path:
            return
        connection, names = self.connect(path), (self.name(), self.name())
        connection.execute("ATTACH ? AS other", (other,))
        # Not the BEGIN of before: that one was compiled for one database.
        with sql.transaction(connection, "IMMEDIATE -- both"):
            n = [extend(connection, self.rng, name, schema=schema)
                 for name, schema in zip(names, ("main", "other"))]
        self.committed(path, n[0], names[0])
        self.committed(other, n[1], names[1])
        self.did["attached"] += 1
        connection.execute("DETACH other")

    def give_up(self, path):
        """A transaction that is rolled back, perhaps after it spilled."""
        connection = self.connect(path)
        if not self.can_undo(connection):
            return
        connection.execute("BEGIN IMMEDIATE")
        extend(connection, self.rng, "never", self.rng.choice((1, 30)))
        never_mind(connection, self.rng)
        connection.execute("ROLLBACK")
        self.did["rollbacks"] += 1

    def when_free(self, what, path, statement):
        """Statements that need others out of the way may be refused."""
        try:
            self.connect(path).execute(statement).fetchall()
            self.did[what] += 1
        except sqlite3.OperationalError as error:
            if "locked" not in str(error):
                raise
            self.did["refused"] += 1

    def step(self):
        path, dice = self.rng.choice(self.paths), self.rng.random()
        if dice < 0.82:
            self.commit(path)
        elif dice < 0.85:
            self.commit_two(path)
        elif dice < 0.89:
            self.give_up(path)
        elif dice < 0.94:
            kind = self.rng.choice(CHECKPOINTS)
            self.when_free(kind, path, "PRAGMA wal_checkpoint(%s)" % kind)
        elif dice < 0.95:
            self.when_free("vacuums", path, "VACUUM")
        elif dice < 0.96:
            self.when_free("shrunk", path, "PRAGMA incremental_vacuum(9)")
        else:
            self.disconnect(path)


def write(control, *arguments):
    """Works until told to stop; returns what it did."""
    writer = Writer(*arguments)
    while control.running():
        writer.step()
    writer.close()
    return writer.did


def hurry(control, path, seed, synchronous):
    """Copies its WAL back after each commit, so that the next one starts it
    over: whoever has not seen a commit by then has missed it."""
    rng, did = random.Random(seed), 0
    with sql.connect(path, synchronous=synchronous,
                     wal_autocheckpoint=1) as connection:
        while control.running():
            with sql.transaction(connection):
                extend(connection, rng,
                       uuid.UUID(int=rng.getrandbits(128)).hex)
            did += 1
    return {"commits": did}


def create_flood(connection, rows=100):
    connection.execute("CREATE TABLE flood(v BLOB)")
    connection.executemany("INSERT INTO flood VALUES (randomblob(?))",
                           [(100000,)] * rows)


def flood(control, path, synchronous):
    """Transactions of megabytes: who captures them has time for nobody."""
    did = 0
    with sql.connect(path, synchronous=synchronous,
                     wal_autocheckpoint=4000) as connection:
        while control.running():
            connection.execute("UPDATE flood SET v = randomblob(length(v))")
            did += 1
    return {"floods": did}


# ---- reading --------------------------------------------------------------------

class Reader:
    """Looks at one database again and again, from one node."""

    def __init__(self, path, timeout=0.0, mapped=0.3):
        self.path, self.timeout, self.mapped = path, timeout, mapped
        self.connection = None
        self.n, self.h = 0, None  # verified up to here

    def open(self, rng):
        self.close()
        self.connection = sql.open_reader(self.path, self.timeout,
                                          rng.random() < 0.5)
        if rng.random() < self.mapped:
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
