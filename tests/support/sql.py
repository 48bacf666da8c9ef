"""tests/support/sql.py - the stock SQLite, and what two databases have in
common.

Connections are closed by `with connect(...)`: a forgotten one would keep
its locks. sqlite3's own transactions are off, BEGIN and COMMIT are written.
"""
import contextlib
import hashlib
import os
import sqlite3
import struct
import subprocess

from runner import expect_eq

JOURNAL_MODES = ("wal", "delete", "truncate", "persist", "memory", "off")
PAGE_SIZES = (512, 1024, 2048, 4096, 8192, 16384, 32768, 65536)
SYNCHRONOUS = ("off", "normal", "full")


@contextlib.contextmanager
def connect(path, timeout=10.0, **pragmas):
    """pragmas: journal_mode="wal", synchronous="off", ...; a page size is
    set first, as SQLite wants it."""
    connection = sqlite3.connect(path, timeout=timeout, isolation_level=None)
    try:
        for name in sorted(pragmas, key=lambda n: (n != "page_size",
                                                   n != "auto_vacuum", n)):
            pragma(connection, name, pragmas[name])
        yield connection
    finally:
        connection.close()


def open_reader(path, timeout=0.0, read_only=True):
    """What a careful application on a replica does. From its first read on
    it must never meet a lock, so it has no timeout then. Before, it may: in
    WAL mode SQLite asks for the database for itself whenever a connection
    is closed, and who opens one at that moment is refused."""
    connection = sqlite3.connect(
        "file:%s?mode=%s" % (path, "ro" if read_only else "rw"), uri=True,
        timeout=10, isolation_level=None)
    try:
        one(connection, "SELECT count(*) FROM sqlite_schema")
        pragma(connection, "busy_timeout", int(timeout * 1000))
    except BaseException:
        connection.close()
        raise
    return connection


def one(connection, sql, *arguments):
    """The first column of the first row."""
    row = connection.execute(sql, arguments).fetchone()
    return None if row is None else row[0]


def look(path, query):
    """One answer, by a reader that is not there any more then."""
    reader = open_reader(path)
    try:
        return one(reader, query)
    finally:
        reader.close()


def pragma(connection, name, value=None):
    if value is None:
        return one(connection, "PRAGMA %s" % name)
    return one(connection, "PRAGMA %s = %s" % (name, value))


@contextlib.contextmanager
def transaction(connection, kind="IMMEDIATE"):
    connection.execute("BEGIN " + kind)
    try:
        yield connection
    except BaseException:
        # SQLite may have rolled back by itself.
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def shell(path, *commands, check=True):
    """The sqlite3 program; what it printed."""
    done = subprocess.run(["sqlite3", "-batch", path, *commands], text=True,
                          stdin=subprocess.DEVNULL, capture_output=True,
                          timeout=60, check=False)
    if check:
        expect_eq((done.returncode, done.stderr), (0, ""),
                  "sqlite3 %s %s" % (path, commands))
    return done.stdout


# ---- comparing ----------------------------------------------------------------

def facts(connection):
    """All that two copies must share, by name, as one read view has it.
    Ends with the pages, so that a difference is first told by its content."""
    result = {}
    connection.execute("BEGIN")
    try:
        for name in ("page_size", "page_count", "user_version", "encoding",
                     "application_id", "auto_vacuum", "schema_version",
                     "freelist_count"):
            result[name] = pragma(connection, name)
        schema = connection.execute(
            "SELECT type, name, tbl_name, sql FROM sqlite_schema"
            " ORDER BY rowid").fetchall()
        result["schema"] = schema
        for kind, name, _, _ in schema:
            if kind == "table":
                result["table " + name] = table_digest(connection, name)
        result["integrity"] = connection.execute(
            "PRAGMA integrity_check").fetchall()
        result["pages"] = page_digests(connection, result["page_size"])
    finally:
        connection.execute("COMMIT")
    return result


def table_digest(connection, name):
    """Rows and a hash over all of them, in the order of the table."""
    digest, rows = hashlib.sha256(), 0
    for row in connection.execute('SELECT * FROM "%s"' % name):
        digest.update(repr(row).encode("utf-8", "surrogateescape"))
        rows += 1
    return rows, digest.hexdigest()


def page_digests(connection, page_bytes):
    """A hash of each page. Two bytes of page 1 say which journal mode a
    copy is in, and are its own affair."""
    image = bytearray(connection.serialize())
    if not image:
        return []
    image[18:20] = b"\0\0"
    lock_page = 0x40000000 // page_bytes
    return [hashlib.blake2b(image[at:at + page_bytes], digest_size=8).digest()
            for at in range(0, len(image), page_bytes)
            if at // page_bytes != lock_page]


def expect_same(left, right, text):
    """Two results of facts()."""
    for name in left:
        if name != "pages":
            expect_eq(right.get(name), left[name], "%s: %s" % (text, name))
    expect_eq(sorted(right), sorted(left), "%s: facts" % text)
    expect_eq(left["integrity"], [("ok",)], "%s: integrity_check" % text)
    differ = [i + 1 for i, (a, b) in enumerate(zip(left["pages"],
                                                   right["pages"])) if a != b]
    expect_eq(differ, [], "%s: pages that differ" % text)


def header_of(path):
    """Page size and write version of a database file at rest."""
    with open(path, "rb") as file:
        header = file.read(100)
    page_bytes, = struct.unpack(">H", header[16:18])
    return 65536 if page_bytes == 1 else page_bytes, header[18]


def remove(path):
    """As people do it: the file, then what is still beside it."""
    for suffix in ("", "-wal", "-shm", "-journal"):
        try:
            os.unlink(path + suffix)
        except FileNotFoundError:
            pass
