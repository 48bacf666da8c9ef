"""tests/support/held.py - who stands still at a moment that is short otherwise.

Commit: an application between the FSYNC that makes its commit durable and the
operation that makes it one. Threads: some threads of a daemon.

In a rollback mode that is the moment before SQLite deletes the journal. It
takes system calls from a table that xSetSystemCall() changes, which is there
for tests: the program is the stock one, it is only slow.
"""
import ctypes
import os
import sqlite3

import workers
from runner import expect, until

# struct sqlite3_vfs: three ints, three pointers, then methods; this is the
# 14th (xOpen is the first).
METHODS_AT = 3 * ctypes.sizeof(ctypes.c_void_p) + 16
SET_SYSTEM_CALL = 13
UNLINK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_char_p)
SET = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p,
                       ctypes.c_void_p)


def on_unlink(function):
    """From now on SQLite asks function(path) before it deletes a file. What
    is returned must live as long as this process uses SQLite."""
    library = ctypes.CDLL("libsqlite3.so.0")
    library.sqlite3_vfs_find.restype = ctypes.c_void_p
    vfs = library.sqlite3_vfs_find(None)
    method = ctypes.c_void_p.from_address(
        vfs + METHODS_AT + SET_SYSTEM_CALL * ctypes.sizeof(ctypes.c_void_p))

    def unlink(path):
        function(os.fsdecode(path))
        try:
            os.unlink(path)
        except OSError as error:
            ctypes.set_errno(error.errno)
            return -1
        return 0
    callback = UNLINK(unlink)
    code = SET(method.value)(vfs, b"unlink",
                             ctypes.cast(callback, ctypes.c_void_p))
    expect(code == 0, "SQLite has no call named unlink: %d" % code)
    return callback


class Commit:
    """One transaction, held. Its journal is on disk, its pages are in the
    file and synced: an FSYNC(db) was answered."""

    def __init__(self, path, *statements):
        self.told, told = os.pipe()
        go, self.go = os.pipe()
        self.worker = workers.Worker(self.run, path, statements, told, go)
        os.close(told)
        os.close(go)

    def run(self, _control, path, statements, told, go):
        os.close(self.told)
        os.close(self.go)

        def wait(name):
            if name.endswith("-journal"):
                os.write(told, b"!")
                os.read(go, 1)
        kept = on_unlink(wait)
        connection = sqlite3.connect(path, isolation_level=None)
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("BEGIN IMMEDIATE")
        for statement in statements:
            connection.execute(statement)
        connection.execute("COMMIT")
        connection.close()
        return kept is not None

    def wait_held(self, seconds=20):
        os.set_blocking(self.told, False)

        def is_held():
            if self.worker.is_over():
                self.worker.join()
            try:
                return os.read(self.told, 1) == b"!"
            except BlockingIOError:
                return False
        until(is_held, "the commit does not come to its FSYNC", seconds)
        return self

    def release(self):
        """It goes on, and must succeed."""
        os.write(self.go, b"!")
        self.worker.join()
        self.close()

    def kill(self):
        self.worker.kill()
        self.close()

    def close(self):
        os.close(self.told)
        os.close(self.go)


PTRACE_SEIZE, PTRACE_INTERRUPT, PTRACE_DETACH = 0x4206, 0x4207, 17
WALL = 0x40000000  # threads that are no children, too


class Threads:
    """The threads of a node whose name begins so, stopped inside `with`."""

    def __init__(self, node, prefix):
        self.tids = [tid for tid, name in node.threads().items()
                     if name.startswith(prefix)]
        expect(self.tids, "%s has no thread %s" % (node.name, prefix))
        self.library = ctypes.CDLL(None, use_errno=True)

    def ask(self, what, tid):
        code = self.library.ptrace(ctypes.c_long(what), ctypes.c_long(tid),
                                   None, None)
        expect(code == 0, "ptrace: %s" % os.strerror(ctypes.get_errno()))

    def __enter__(self):
        for tid in self.tids:
            self.ask(PTRACE_SEIZE, tid)
            self.ask(PTRACE_INTERRUPT, tid)
            os.waitpid(tid, WALL)
        return self

    def __exit__(self, *_):
        for tid in self.tids:
            self.ask(PTRACE_DETACH, tid)
