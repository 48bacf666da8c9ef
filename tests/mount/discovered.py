"""Databases that come into data/files while no node runs are found by the
start, before anybody opens them; what is none, and what cannot be told, stops
nobody."""
import os
import shutil
import signal
import subprocess
import sys
import time

import cluster
import sql
from runner import expect, expect_eq, test, until

ROWS = 40
KILLED = """
import os, signal, sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("PRAGMA journal_mode = %s" % sys.argv[2])
db.execute("PRAGMA cache_size = 2")
db.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, v BLOB)")
db.executemany("INSERT INTO t(v) VALUES (randomblob(?))", [(900,)] * 40)
if sys.argv[2] != "wal":
    db.execute("BEGIN IMMEDIATE")
    db.execute("UPDATE t SET v = randomblob(900)")
    db.execute("DELETE FROM t WHERE id > 20")
os.kill(os.getpid(), signal.SIGKILL)
"""


def put(node, name, **pragmas):
    """A database in data/files, made by a stock program."""
    path = node.file(name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with sql.connect(path, **pragmas) as db:
        db.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, v BLOB)")
        db.executemany("INSERT INTO t(v) VALUES (randomblob(?))",
                       [(900,)] * ROWS)


def put_killed(node, name, journal):
    """The same by a program that was killed, with what it left beside."""
    path = node.file(name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    done = subprocess.run([sys.executable, "-c", KILLED, path, journal],
                          check=False, timeout=30)
    expect_eq(done.returncode, -signal.SIGKILL, "the program that is killed")


def rows(node, name):
    return sql.look(node.path(name), "SELECT count(*) FROM t")


def adopted(nodes, names):
    """The primary and the replica have them, and nobody opened one."""
    for node in nodes.nodes:
        until(lambda n=node: sorted(n.databases()) == sorted(names) and
              all(one["position"]["txid"] > 0
                  for one in n.databases().values()),
              lambda n=node: "%s has %s" % (n.name, n.databases()))


@test()
def what_came_while_no_node_ran_is_on_the_replicas_unopened(stage):
    nodes = cluster.pair(stage)
    primary = nodes.primary.stop()
    names = []
    for mode in sql.JOURNAL_MODES:
        names.append("%s/deep/er/app.db" % mode)
        put(primary, names[-1], journal_mode=mode)
    names.append("with a WAL.db")
    put_killed(primary, names[-1], "wal")
    expect(os.path.getsize(primary.file(names[-1] + "-wal")) > 0, "no WAL")
    for mode in ("delete", "truncate", "persist"):
        names.append("hot %s.db" % mode)
        put_killed(primary, names[-1], mode)
        expect(os.path.getsize(primary.file(names[-1] + "-journal")) > 0,
               "no journal")
    names += ["no ending", ".hidden", "quote\" and \\.db", "ümläut.db"]
    for name in names[-4:]:
        put(primary, name)
    primary.start()
    adopted(nodes, names)
    for name in names:
        expect_eq(rows(nodes.replicas[0], name), ROWS, name)
    nodes.compare_all()
    primary.restart()
    adopted(nodes, names)
    nodes.compare_all()


@test()
def what_is_no_database_is_passed_over_and_stays(stage):
    node = cluster.single(stage).stop()
    put(node, "real.db")
    put(node, "tab\tin it.db")
    for length in (250, 500, 1130):  # in the mount; for SQLite; for a name
        long = "/".join("d" * 124 for _ in range(length // 125)) + "/x.db"
        os.makedirs(os.path.dirname(node.file(long)), exist_ok=True)
        shutil.copy(node.file("real.db"), node.file(long))
    found = "/".join("d" * 124 for _ in range(2)) + "/x.db"
    with open(node.file("notes.txt"), "w") as file:
        file.write("SQLite format 3 is a nice file format")
    with open(node.file("notes.txt-journal"), "w") as file:
        file.write("no journal")
    with open(node.file("alone-wal"), "wb") as file:
        file.write(b"\x37\x7f\x06\x82" + bytes(28))
    open(node.file("empty.db"), "w").close()
    os.mkfifo(node.file("fifo.db"))
    os.symlink(node.file("real.db"), node.file("link.db"))
    os.symlink(".", node.file("loop"))
    os.symlink("/nowhere/at/all", node.file("nowhere"))
    os.mkdir(node.file("real.db-shm"))
    os.mkdir(node.file("folder.db"))
    before = sorted(os.listdir(node.file()))
    node.start()
    until(lambda: sorted(node.databases()) == [found, "real.db"] and
          all(one["position"]["txid"] == 1
              for one in node.databases().values()),
          lambda: str(node.databases()))
    expect("SQLite opens no path of this length" in node.log_text(),
           "the path is not told")
    expect("control characters" in node.log_text(), "the name is not told")
    expect("longer path than a database may" in node.log_text(),
           "the path is not told")
    node.stop()
    expect_eq(sorted(os.listdir(node.file())), before, "what lies there")


@test(modes=("classic",), seconds=120)
def ten_thousand_other_files_hold_no_start_up(stage):
    node = cluster.single(stage).stop()
    put(node, "app.db")
    for i in range(100):
        os.mkdir(node.file("%d" % i))
        for j in range(100):
            with open(node.file("%d" % i, "%d.txt" % j), "wb") as file:
                file.write(b"x" * 200)
    node.start()
    until(lambda: sorted(node.databases()) == ["app.db"], "it is not found")
    node.stop()
    begin = time.monotonic()
    node.start()
    stage.say("a start with 10,000 files: %.2f s" % (time.monotonic() - begin))
    expect(time.monotonic() - begin < 5, "it took longer than 5 s")


@test(modes=("classic",))
def what_cannot_be_read_is_told_and_stops_nobody(stage):
    node = cluster.single(stage).stop()
    put(node, "good.db")
    for name in ("bad.db", "folder/in.db"):
        put(node, name)
    for name in ("bad.db", "folder"):
        os.chmod(node.file(name), 0)
        os.chown(node.file(name), 65534, 65534)
    with cluster.without_capabilities(node, "dac_override", "dac_read_search"):
        node.start()
        until(lambda: sorted(node.databases()) == ["good.db"] and
              node.databases()["good.db"]["position"]["txid"] == 1,
              lambda: str(node.databases()))
        for name in ("bad.db", "folder"):
            expect("db=%s text=\"discover.read: %s: Permission denied" %
                   (name, name) in node.log_text(), node.log_text())
        node.stop()


@test()
def a_file_of_a_replica_is_kept_when_the_primary_takes_its_name(stage):
    nodes = cluster.pair(stage)
    primary, replica = nodes.primary, nodes.replicas[0]
    replica.stop()
    put(replica, "in/app.db", journal_mode="delete")
    put_killed(replica, "other.db", "wal")
    replica.start()
    expect(replica.log_text().count("event=database.strange") == 2,
           replica.log_text())
    expect_eq(rows(replica, "in/app.db"), ROWS, "it can be read")
    expect_eq(sorted(replica.databases()), [], "it is nobody's")
    with sql.connect(primary.path("other.db"), journal_mode="wal") as db:
        db.execute("CREATE TABLE mine(x)")
    os.mkdir(primary.path("in"))
    with sql.connect(primary.path("in/app.db")) as db:
        db.execute("CREATE TABLE mine(x)")
    nodes.compare_all()
    kept = explained(replica)
    for name in ("in/app.db", "other.db"):
        mine = [one for one in kept if one["database"] == name]
        expect_eq(len(mine), 1, "kept of %s: %s" % (name, kept))
        expect_eq(rows_of(replica, mine[0]["file"]), ROWS, name)


def explained(node):
    """What the texts in data/lost say, as `status` has it, too."""
    found, folder = [], os.path.join(node.data, "lost")
    for name in os.listdir(folder):
        if name.endswith(".txt"):
            with open(os.path.join(folder, name), encoding="utf-8") as file:
                found.append(dict(line.rstrip("\n").split(": ", 1)
                                  for line in file))
    lost = node.status()["lost"]
    expect_eq(lost["count"], len(found), "counted")
    expect_eq(sorted((one["file"], one["database"], one["why"],
                      str(one["txid"])) for one in lost["newest"]),
              sorted((one["file"], one["database"], one["why"], one["txid"])
                     for one in found), "in status")
    if found:
        expect("%d put aside in lost/" % len(found) in node.ask("status"),
               node.ask("status"))
    return found


def rows_of(node, file):
    """In a copy: what lies in lost/ is looked at, not changed."""
    place = os.path.join(node.home, "look")
    shutil.rmtree(place, ignore_errors=True)
    os.mkdir(place)
    for ending in ("", "-wal", "-journal"):
        path = os.path.join(node.data, "lost", file + ending)
        if os.path.exists(path):
            shutil.copy(path, place)
    with sql.connect(os.path.join(place, file)) as db:
        return sql.one(db, "SELECT count(*) FROM t")


def add_killed(path):
    """A row in a WAL that its writer never copied back."""
    done = subprocess.run(
        [sys.executable, "-c",
         "import os, signal, sqlite3, sys\n"
         "db = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
         "db.execute('INSERT INTO t(v) VALUES (1)')\n"
         "os.kill(os.getpid(), signal.SIGKILL)", path], check=False,
        timeout=30)
    expect_eq(done.returncode, -signal.SIGKILL, "the program that is killed")


@test()
def what_changed_while_a_replica_was_stopped_is_kept_and_told(stage):
    nodes = cluster.pair(stage)
    replica = nodes.replicas[0]
    names = ("plain.db", "in/a/folder.db", "with a WAL.db", "untouched.db")
    os.makedirs(nodes.primary.path("in/a"))
    for name in names:
        with sql.connect(nodes.primary.path(name), journal_mode="wal") as db:
            db.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, v)")
            db.execute("INSERT INTO t(v) VALUES (1), (2)")
        nodes.compare(name)
    where = {name: one["position"] for name, one in
             replica.databases().items()}
    replica.stop()
    for name in names[:2]:
        with sql.connect(replica.file(name)) as db:
            db.execute("INSERT INTO t(v) VALUES (3)")
    add_killed(replica.file(names[2]))
    expect(os.path.getsize(replica.file(names[2] + "-wal")) > 0, "no WAL")
    replica.start()
    nodes.compare_all()
    kept = {one["database"]: one for one in explained(replica)}
    expect_eq(sorted(kept), sorted(names[:3]), "what is kept")
    for name, one in kept.items():
        expect("while the node was stopped" in one["why"], one["why"])
        expect_eq((one["txid"], one["sum"], one["epoch"].split()[0]),
                  (str(where[name]["txid"]), where[name]["sum"],
                   str(where[name]["epoch"])), "position of " + name)
        expect_eq(rows_of(replica, one["file"]), 3, name)
        expect("kept as lost/" + one["file"] in replica.log_text(),
               "the log does not say where")
    replica.restart()
    expect_eq(sorted(one["database"] for one in explained(replica)),
              sorted(names[:3]), "after another start")


@test()
def what_changed_while_a_primary_was_stopped_is_one_commit_each(stage):
    nodes = cluster.pair(stage)
    names = ["in/%s.db" % mode for mode in sql.JOURNAL_MODES] + ["killed.db"]
    os.mkdir(nodes.primary.path("in"))
    for name, mode in zip(names, sql.JOURNAL_MODES + ("wal",)):
        with sql.connect(nodes.primary.path(name), journal_mode=mode) as db:
            db.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, v)")
            db.execute("INSERT INTO t(v) VALUES (1), (2)")
    nodes.compare_all()
    nodes.primary.stop()
    for name, mode in zip(names, sql.JOURNAL_MODES):
        with sql.connect(nodes.primary.file(name), journal_mode=mode) as db:
            for _ in range(3):
                db.execute("INSERT INTO t(v) VALUES (3)")
    add_killed(nodes.primary.file(names[-1]))
    before = {name: one["position"]["txid"]
              for name, one in nodes.replicas[0].databases().items()}
    nodes.primary.start()
    for name in names:
        expect_eq(nodes.compare(name)["table t"][0],
                  3 if name == "killed.db" else 5, name)
    expect_eq({name: one["position"]["txid"] for name, one in
               nodes.replicas[0].databases().items()},
              {name: txid + 1 for name, txid in before.items()}, "TXIDs")
    expect_eq(explained(nodes.primary), [], "nothing to put aside")


@test()
def a_file_that_is_gone_is_dropped_nowhere_and_told(stage):
    nodes = cluster.pair(stage)
    primary, replica = nodes.primary, nodes.replicas[0]
    for name in ("app.db", "back.db", "stays.db"):
        with sql.connect(primary.path(name), journal_mode="wal") as db:
            db.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, v)")
            db.execute("INSERT INTO t(v) VALUES (1), (2)")
    nodes.compare_all()
    primary.stop()
    shutil.move(primary.file("back.db"), primary.home)
    os.unlink(primary.file("app.db"))
    primary.start()
    nodes.compare("stays.db")
    expect_eq((rows(replica, "app.db"), rows(replica, "back.db")), (2, 2),
              "what the replica keeps")
    problems = primary.status()["node"]["problems"]
    expect_eq(sorted(one.split(":")[0] for one in problems),
              ["app.db", "back.db"], "problems")
    expect(all("put the file back" in one for one in problems), str(problems))
    expect_eq(primary.status()["node"]["health"], "degraded")
    # Put back, it goes on where it was; made anew, it is another one.
    before = replica.databases()
    with sql.connect(primary.path("app.db")) as db:
        db.execute("CREATE TABLE other(x)")
    primary.stop()
    shutil.move(os.path.join(primary.home, "back.db"), primary.file("back.db"))
    primary.start()
    until(lambda: replica.databases().get("app.db", {}).get("lineage") ==
          primary.databases()["app.db"]["lineage"],
          "the replica does not hear of the new one")
    nodes.compare_all()
    after = replica.databases()
    expect_eq(after["back.db"]["position"], before["back.db"]["position"])
    expect(after["app.db"]["lineage"] != before["app.db"]["lineage"],
           "a new database has the old one's name")
    expect_eq(primary.status()["node"]["problems"], [], "problems")
    expect_eq([(one["database"], rows_of(replica, one["file"]))
               for one in explained(replica)], [("app.db", 2)],
              "kept on the replica")
    expect_eq([(one["database"], one["file"].rpartition(".")[2])
               for one in explained(primary)], [("app.db", "log")],
              "kept on the primary")
