"""Tokens and waits, by command and by opening a file; the virtual files."""
import errno
import json
import os
import re
import signal
import socket
import threading
import time

import cluster
import runner
import sql
import workers
from runner import LONG, expect, expect_eq, test, until


def start(stage):
    nodes = cluster.pair(stage)
    with sql.connect(nodes.primary.path("app.db"),
                     journal_mode="wal") as connection:
        connection.execute("CREATE TABLE t(n)")
    nodes.settle("app.db")
    return nodes


def insert(node, n):
    with sql.connect(node.path("app.db")) as connection:
        connection.execute("INSERT INTO t VALUES (?)", (n,))


def newest(node):
    with sql.connect(node.path("app.db")) as connection:
        return sql.one(connection, "SELECT max(n) FROM t")


def ahead(token, by=1):
    """A token of a transaction that has not happened."""
    head, _, txid = token.rpartition(".")
    return "%s.%x" % (head, int(txid, 16) + by)


def error_of(function, *arguments):
    try:
        function(*arguments)
    except OSError as error:
        return errno.errorcode[error.errno]
    return None


@test(seconds=60)
def who_waits_for_a_token_reads_the_write_before_it(stage):
    nodes = start(stage)
    replica = nodes.replicas[0]
    for n in range(100):
        insert(nodes.primary, n)
        if n % 2:
            replica.wait_by_open("app.db",
                                 nodes.primary.token_by_file("app.db"))
        else:
            replica.reach("app.db", nodes.primary.token("app.db"))
        expect_eq(newest(replica), n)


@test(seconds=30)
def a_token_by_command_and_by_file_is_the_same(stage):
    nodes = start(stage)
    for node in nodes.nodes:
        token = node.token("app.db")
        expect_eq(node.token_by_file("app.db"), token)
        expect(re.fullmatch(r"[A-Za-z0-9._-]{1,48}", token),
               "no cookie would carry %r" % token)
    expect_eq(nodes.primary.token("app.db"), nodes.replicas[0].token("app.db"))
    insert(nodes.primary, 1)
    expect(nodes.primary.token("app.db") != token, "the token did not move")


@test(seconds=90)
def a_wait_is_over_at_its_deadline_and_not_before(stage):
    nodes = start(stage)
    future = ahead(nodes.primary.token("app.db"))
    for node in nodes.nodes:
        since = time.monotonic()
        expect_eq(node.wait("app.db", future, 0.5), 3)
        took = time.monotonic() - since
        expect(0.5 <= took < 2, "took %g s" % took)
    if LONG:  # an open waits for half a minute
        for node in nodes.nodes:
            expect_eq(error_of(node.wait_by_open, "app.db", future),
                      "ETIMEDOUT")


@test(seconds=30)
def a_wait_ends_when_the_write_comes(stage):
    nodes = start(stage)
    future = ahead(nodes.primary.token("app.db"))
    waits = [workers.Worker(lambda _, n=node: n.wait_by_open("app.db", future))
             for node in nodes.nodes]
    asks = [workers.Worker(lambda _, n=node: n.wait("app.db", future, 10))
            for node in nodes.nodes]
    for node in nodes.nodes:
        until(lambda n=node: n.databases()["app.db"]["waiters"] == 2 or
              n.databases()["app.db"]["waiters"] == 0 and
              waiting_in_open(waits), "nobody waits")
    insert(nodes.primary, 1)
    for wait in waits:
        wait.join(5)
    expect_eq([ask.join(5) for ask in asks], [0, 0])


def waiting_in_open(processes):
    """All of them sleep in the kernel, in a request to the mount."""
    for process in processes:
        with open("/proc/%d/wchan" % process.pid) as file:
            if "request_wait" not in file.read():
                return False
    return True


@test(seconds=30)
def a_signal_ends_a_wait_by_open(stage):
    nodes = start(stage)
    future = ahead(nodes.primary.token("app.db"))

    def wait(_control):
        signal.signal(signal.SIGUSR1, lambda *_: raise_interrupted())
        try:
            nodes.replicas[0].wait_by_open("app.db", future)
        except InterruptedError:
            return "interrupted"
        return "reached"

    def raise_interrupted():
        raise InterruptedError
    worker = workers.Worker(wait)
    until(lambda: waiting_in_open([worker]), "it does not wait")
    os.kill(worker.pid, signal.SIGUSR1)
    expect_eq(worker.join(5), "interrupted")


@test(seconds=30)
def a_foreign_token_is_unknown_and_a_token_of_no_epoch_is_lost(stage):
    nodes = start(stage)
    token = nodes.primary.token("app.db")
    lineage, epoch, txid = token.split(".")
    foreign = "%s.%s.%s" % ("0" * len(lineage), epoch, txid)
    older = "%s.%x.%s" % (lineage, 1, txid)
    for node in nodes.nodes:
        expect_eq(node.wait("app.db", foreign, 1), 1)
        expect_eq(node.wait("app.db", "nonsense", 1), 1)
        expect_eq(node.wait("app.db", older, 1), 4)
        expect_eq(error_of(node.wait_by_open, "app.db", foreign), "EINVAL")
        expect_eq(error_of(node.wait_by_open, "app.db", "nonsense"), "EINVAL")
        expect_eq(error_of(node.wait_by_open, "app.db", older), "ESTALE")
    expect_eq(nodes.primary.command("token", "none.db").returncode, 1)


@test(seconds=30)
def a_wait_for_a_database_not_heard_of_yet_is_patient(stage):
    nodes = start(stage)
    token = nodes.primary.token("app.db")
    expect_eq(nodes.replicas[0].wait("none.db", token, 0.3), 3)
    expect_eq(nodes.replicas[0].wait("app.db", token, 0.3), 0)


@test(seconds=30)
def nobody_waits_for_the_first_commit_of_an_empty_database(stage):
    nodes = start(stage)
    with sql.connect(nodes.primary.path("empty.db")) as connection:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("ROLLBACK")
    nodes.primary.restart()  # now the replica is told of it, too
    nodes.settle("empty.db")
    nodes.primary.reach("empty.db", nodes.primary.token("empty.db"), 5)


@test(seconds=30)
def the_virtual_files_are_there_and_in_no_listing(stage):
    nodes = start(stage)
    replica = nodes.replicas[0]

    def text(node, name):
        with open(node.path(name)) as file:
            return file.read()
    expect(not os.path.exists(nodes.primary.path(".primary")),
           ".primary exists on the primary")
    expect_eq(text(replica, ".primary").strip(), "127.0.0.1")
    for node in nodes.nodes:
        expect_eq(sorted(name for name in os.listdir(node.mount)
                         if not name.endswith(("-wal", "-shm"))), ["app.db"])
        expect(re.fullmatch(r"[+-]\d{9}\n", text(node, ".lag")),
               ".lag is %r" % text(node, ".lag"))
        position = text(node, "app.db-pos")
        expect(re.fullmatch(r"[0-9a-f]{16}/[0-9a-f]{16}\n", position),
               "position is %r" % position)
        status = json.loads(text(node, ".tidemark/status.json"))
        expect_eq(status["node"]["id"], node.name)
        expect_eq(sorted(os.listdir(node.path(".tidemark/token"))),
                  ["app.db"])
        expect_eq(error_of(open, node.path(".tidemark/token/none.db")),
                  "ENOENT")
        expect(error_of(open, node.path(".tidemark/token/app.db"), "w")
               in ("EPERM", "EACCES", "EROFS"), "a token was writable")
    expect_eq(text(nodes.primary, "app.db-pos"), text(replica, "app.db-pos"))
    insert(nodes.primary, 1)
    expect_eq(text(nodes.primary, "app.db-pos").split("/")[0],
              "%016x" % nodes.primary.databases()["app.db"]["position"]["txid"])


@test(seconds=30)
def the_token_of_a_primary_covers_commits_of_every_kind(stage):
    nodes = cluster.pair(stage)
    for mode in sql.JOURNAL_MODES:
        for synchronous in sql.SYNCHRONOUS:
            name = "%s-%s.db" % (mode, synchronous)
            with sql.connect(nodes.primary.path(name)) as connection:
                connection.execute("CREATE TABLE t(n)")
            with sql.connect(nodes.primary.path(name), journal_mode=mode,
                             synchronous=synchronous) as connection:
                for n in range(3):
                    connection.execute("INSERT INTO t VALUES (?)", (n,))
                    nodes.replicas[0].reach(name, nodes.primary.token(name))
                    seen = sql.look(nodes.replicas[0].path(name),
                                    "SELECT max(n) FROM t")
                    expect_eq((name, seen), (name, n))


@test(seconds=30, modes=("classic",))
def the_control_socket_is_for_owner_and_group(stage):
    node = cluster.single(stage)
    path = os.path.join(node.data, "control.sock")
    expect_eq(os.stat(path).st_mode & 0o777, 0o660)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)
        client.sendall(b'{"do": "status"}\n')
        answer = b""
        while not answer.endswith(b"\n"):
            answer += client.recv(65536)
    expect_eq(json.loads(answer)["ok"], True)


@test(seconds=40)
def a_commit_that_cannot_be_captured_has_no_token(stage):
    """An application that keeps a WAL to itself: no anchor, no capture."""
    nodes = cluster.pair(stage)
    primary = nodes.primary
    with sql.connect(primary.path("app.db"), synchronous="off") as db:
        db.execute("CREATE TABLE t(v)")
        before = primary.token("app.db")
        sql.pragma(db, "locking_mode", "exclusive")
        expect_eq(sql.pragma(db, "journal_mode", "wal"), "wal")
        db.execute("INSERT INTO t VALUES ('unseen')")
        done = primary.command("token", "app.db")
        expect(done.returncode != 0, "a token that covers nothing new: %s, "
               "before %s" % (done.stdout, before))
        expect_eq(error_of(primary.token_by_file, "app.db"), "EIO")
    until(lambda: primary.command("token", "app.db").returncode == 0,
          "no token without the application either")
    nodes.compare("app.db")
    with sql.connect(nodes.replicas[0].path("app.db")) as db:
        expect_eq(sql.one(db, "SELECT v FROM t"), "unseen")


@test(seconds=60)
def a_start_that_fails_lets_go_who_waits_by_open(stage):
    first = cluster.single(stage)
    second = cluster.Node(stage, "second", first.port)  # its port is taken
    over = threading.Event()

    def wait_again_and_again():
        while not over.is_set():
            error_of(second.wait_by_open, "app.db", "6c2f9a01.1.1")

    threads = [threading.Thread(target=wait_again_and_again)
               for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(3):
            second.launch()
            status = second.process.wait(20)
            second.process = None
            expect_eq(status, 1, second.log_text()[-2000:])
            expect_eq(runner.mounts_below(second.home), [])
    finally:
        over.set()
        for thread in threads:
            thread.join(20)
    expect("in use" in second.log_text(), second.log_text())
    first.check_alive()
