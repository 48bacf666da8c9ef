"""The mount as a filesystem: files that come and go, folders, users."""
import contextlib
import errno
import os
import shutil
import stat
import subprocess

import cluster
import sql
import workers
from runner import Skip, expect, expect_eq, expect_raises, test, until

NOBODY = 65534


def make(path, rows=100, mode="wal"):
    with sql.connect(path, journal_mode=mode) as connection:
        connection.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, v BLOB)")
        connection.executemany("INSERT INTO t(v) VALUES (randomblob(?))",
                               [(n * 7 % 900,) for n in range(rows)])


def rows(path):
    with sql.connect(path) as connection:
        return sql.one(connection, "SELECT count(*) FROM t")


def refuses(number, function, *arguments):
    """function must fail with this errno."""
    try:
        function(*arguments)
    except OSError as error:
        expect_eq(errno.errorcode.get(error.errno), errno.errorcode[number],
                  "errno of %s%r" % (function.__name__, arguments))
        return
    raise AssertionError("%s%r was not refused"
                         % (function.__name__, arguments))


@test(seconds=40)
def a_database_that_is_copied_into_the_mount_is_adopted(stage):
    nodes = cluster.pair(stage)
    for mode in ("wal", "delete"):
        outside = stage.path("outside-%s.db" % mode)
        make(outside, mode=mode)
        shutil.copy(outside, nodes.primary.path("copied-%s.db" % mode))
        shutil.copy(outside, nodes.primary.path("moved.tmp"))
        os.rename(nodes.primary.path("moved.tmp"),
                  nodes.primary.path("moved-%s.db" % mode))
        for name in ("copied-%s.db" % mode, "moved-%s.db" % mode):
            until(lambda n=name: n in nodes.primary.databases(),
                  "%s is not adopted" % name)
            expect_eq(nodes.compare(name)["table t"][0], 100)
            with sql.connect(nodes.primary.path(name)) as connection:
                connection.execute("DELETE FROM t WHERE id > 10")
            expect_eq(nodes.compare(name)["table t"][0], 10)


@test(seconds=40)
def mv_from_another_filesystem_is_adopted_and_leaves_the_mount_whole(stage):
    nodes = cluster.pair(stage)
    outside = stage.path("outside.db")
    make(outside)
    subprocess.run(["mv", outside, nodes.primary.path("in.db")], check=True)
    until(lambda: "in.db" in nodes.primary.databases(), "not adopted")
    expect_eq(nodes.compare("in.db")["table t"][0], 100)
    subprocess.run(["mv", nodes.primary.path("in.db"), outside], check=True)
    expect_eq(rows(outside), 100)
    until(lambda: not nodes.replicas[0].databases(), "still on the replica")


@test(seconds=40)
def the_shell_restores_into_and_backs_up_from_the_mount(stage):
    nodes = cluster.pair(stage)
    outside, copy = stage.path("outside.db"), stage.path("copy.db")
    make(outside)
    for mode in ("wal", "delete"):
        name = "%s.db" % mode
        make(nodes.primary.path(name), 7, mode)
        nodes.compare(name)
        sql.shell(nodes.primary.path(name), ".restore %s" % outside)
        expect_eq(nodes.compare(name)["table t"][0], 100)
        for node in nodes.nodes:
            sql.shell(node.path(name), ".backup %s" % copy)
            expect_eq(rows(copy), 100)
            os.unlink(copy)
        expect_eq(sql.shell(nodes.primary.path(name), ".dump"),
                  sql.shell(nodes.replicas[0].path(name), ".dump"))


@test(seconds=40)
def a_database_that_is_deleted_and_made_anew_is_a_new_one(stage):
    nodes = cluster.pair(stage)
    path = nodes.primary.path("app.db")
    lineages = set()
    for mode in ("wal", "delete", "wal"):
        make(path, 50, mode)
        expect_eq(nodes.compare("app.db")["table t"][0], 50)
        lineages.add(nodes.primary.databases()["app.db"]["lineage"])
        os.unlink(path)
        expect(not os.path.exists(path), "still there")
        until(lambda: not os.path.exists(nodes.replicas[0].path("app.db")),
              "still on the replica")
        until(lambda: not nodes.replicas[0].databases(), "still in status")
    expect_eq(len(lineages), 3)


@test(seconds=40)
def a_deleted_database_is_made_anew_while_readers_have_the_old_one(stage):
    nodes = cluster.pair(stage)
    path = nodes.primary.path("app.db")
    make(path, 50)
    nodes.compare("app.db")
    old = sql.open_reader(nodes.replicas[0].path("app.db"))
    expect_eq(sql.one(old, "SELECT count(*) FROM t"), 50)
    for suffix in ("", "-wal", "-shm"):
        # The daemon takes the companions away, too.
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path + suffix)
    make(path, 20)
    # For the reader the old content stays; who opens now sees the new one.
    expect_eq(nodes.compare("app.db")["table t"][0], 20)
    expect_eq(sql.one(old, "SELECT count(*) FROM t"), 50)
    old.close()
    expect_eq(rows(nodes.replicas[0].path("app.db")), 20)


@test(seconds=40)
def folders_hold_databases_and_folders(stage):
    nodes = cluster.pair(stage)
    os.makedirs(nodes.primary.path("a/b/c"))
    names = ["a/one.db", "a/b/one.db", "a/b/c/two.db"]
    for n, name in enumerate(names):
        make(nodes.primary.path(name), n + 1)
    for n, name in enumerate(names):
        expect_eq(nodes.compare(name)["table t"][0], n + 1)
    refuses(errno.ENOTEMPTY, os.rmdir, nodes.primary.path("a/b"))
    refuses(errno.EBUSY, os.rename, nodes.primary.path("a"),
            nodes.primary.path("z"))
    os.unlink(nodes.primary.path("a/b/c/two.db"))
    # The daemon's companions of the database go soon after it.
    until(lambda: not os.listdir(nodes.primary.path("a/b/c")),
          lambda: "left: %s" % os.listdir(nodes.primary.path("a/b/c")))
    os.rmdir(nodes.primary.path("a/b/c"))
    os.mkdir(nodes.primary.path("empty"))
    os.rename(nodes.primary.path("empty"), nodes.primary.path("named"))
    os.rmdir(nodes.primary.path("named"))


@test(seconds=40)
def a_rename_moves_a_database_and_replaces_one_at_rest(stage):
    nodes = cluster.pair(stage)
    path = nodes.primary.path
    make(path("old.db"), 30, "delete")
    nodes.compare("old.db")
    os.rename(path("old.db"), path("new.db"))
    expect_eq(nodes.compare("new.db")["table t"][0], 30)
    until(lambda: sorted(nodes.replicas[0].databases()) == ["new.db"],
          "the old name is still there")
    with sql.connect(path("new.db"), journal_mode="wal") as connection:
        connection.execute("VACUUM INTO ?", (path("copy.db"),))
        connection.execute("DELETE FROM t")
        nodes.compare("new.db")
        refuses(errno.EBUSY, os.rename, path("copy.db"), path("new.db"))

    def replaced():
        try:
            os.rename(path("copy.db"), path("new.db"))
            return True
        except OSError as error:  # the daemon lets go of it soon
            expect_eq(error.errno, errno.EBUSY)
            return False
    until(replaced, "still busy although nobody has it open")
    expect_eq(nodes.compare("new.db")["table t"][0], 30)
    expect_eq(sorted(nodes.primary.databases()), ["new.db"])


@test(seconds=30)
def other_files_are_local_and_ordinary(stage):
    nodes = cluster.pair(stage)
    path = nodes.primary.path("notes.txt")
    with open(path, "w") as file:
        file.write("0123456789")
    os.truncate(path, 4)
    with open(path, "a") as file:
        file.write("abc")
    with open(path) as file:
        expect_eq(file.read(), "0123abc")
    # One database, one name: links of any kind do not exist.
    refuses(errno.EPERM, os.link, path, nodes.primary.path("link"))
    refuses(errno.EPERM, os.symlink, "notes.txt", nodes.primary.path("link"))
    expect_eq(os.listdir(nodes.primary.mount), ["notes.txt"])
    os.utime(path, (1000000, 2000000))
    expect_eq(os.stat(path).st_mtime, 2000000)
    os.chmod(path, 0o640)
    expect_eq(stat.S_IMODE(os.stat(path).st_mode), 0o640)
    make(nodes.primary.path("app.db"))
    nodes.compare("app.db")
    expect(not os.path.exists(nodes.replicas[0].path("notes.txt")),
           "a file that is no database was replicated")


@test(seconds=30)
def statfs_tells_what_is_below(stage):
    node = cluster.single(stage)
    here, below = os.statvfs(node.mount), os.statvfs(node.data)
    for field in ("f_frsize", "f_blocks", "f_files", "f_namemax"):
        expect_eq(getattr(here, field), getattr(below, field), field)


def write_as_user(path):
    make(path, 10)
    with sql.connect(path) as connection:
        connection.execute("INSERT INTO t(v) VALUES ('more')")
    return rows(path)


def read_as_user(path):
    with sql.connect(path) as connection:
        return sql.one(connection, "SELECT count(*) FROM t")


@test(seconds=40)
def a_user_who_is_not_root_works_on_every_node(stage):
    nodes = cluster.pair(stage)
    os.chmod(nodes.primary.mount, 0o777)
    os.chmod(nodes.replicas[0].mount, 0o777)
    path = nodes.primary.path("app.db")
    expect_eq(workers.as_user(NOBODY, write_as_user, path), 11)
    nodes.settle("app.db")
    expect_eq(workers.as_user(NOBODY, read_as_user,
                              nodes.replicas[0].path("app.db")), 11)
    for node in nodes.nodes:
        status = os.stat(node.path("app.db"))
        expect_eq((status.st_uid, status.st_gid), (NOBODY, NOBODY), node.name)
        for suffix in ("-wal", "-shm"):
            if os.path.exists(node.path("app.db" + suffix)):
                expect_eq(os.stat(node.path("app.db" + suffix)).st_uid,
                          NOBODY, node.name + suffix)
    # Root and the user take turns.
    with sql.connect(path) as connection:
        connection.execute("INSERT INTO t(v) VALUES ('root')")
        expect_eq(workers.as_user(NOBODY, read_as_user, path), 12)
    nodes.compare("app.db")
    make(nodes.primary.path("secret.db"))
    os.chmod(nodes.primary.path("secret.db"), 0o600)
    nodes.settle("secret.db")
    for node in nodes.nodes:
        expect_raises(AssertionError, "unable to open", workers.as_user,
                      NOBODY, read_as_user, node.path("secret.db"))


@test(seconds=40)
def a_replica_refuses_what_would_change_a_database(stage):
    nodes = cluster.pair(stage)
    make(nodes.primary.path("app.db"))
    nodes.settle("app.db")
    there = nodes.replicas[0].path
    with sql.connect(there("app.db"), timeout=0) as connection:
        expect_raises(sql.sqlite3.OperationalError, "readonly",
                      connection.execute, "DELETE FROM t")
        expect_eq(sql.one(connection, "SELECT count(*) FROM t"), 100)
    refuses(errno.EROFS, os.unlink, there("app.db"))
    refuses(errno.EROFS, os.rename, there("app.db"), there("b.db"))
    refuses(errno.EROFS, os.truncate, there("app.db"), 0)
    refuses(errno.EROFS, open, there("new.db"), "w")
    expect_raises(sql.sqlite3.OperationalError, ("unable to open",
                                                 "readonly"),
                  make, there("new.db"))
    nodes.compare_all()


@test(seconds=40)
def a_replica_with_the_busy_policy_says_busy(stage):
    nodes = cluster.pair(stage, extra="replica: { writes: busy }\n")
    make(nodes.primary.path("app.db"))
    nodes.settle("app.db")
    with sql.connect(nodes.replicas[0].path("app.db"),
                     timeout=0.1) as connection:
        expect_raises(sql.sqlite3.OperationalError, "locked",
                      connection.execute, "DELETE FROM t")
        expect_eq(sql.one(connection, "SELECT count(*) FROM t"), 100)
    nodes.compare("app.db")


@test(seconds=30)
def who_may_not_see_a_database_does_not_learn_its_name(stage):
    if os.geteuid() != 0:
        raise Skip("only root can become somebody else")
    node = cluster.single(stage)
    os.mkdir(node.path("private"), 0o700)
    with sql.connect(node.path("private", "secret.db")) as connection:
        connection.execute("CREATE TABLE t(n)")
    with sql.connect(node.path("open.db")) as connection:
        connection.execute("CREATE TABLE t(n)")
    home = node.path(".tidemark")

    def look(command):
        done = subprocess.run(command, shell=True, cwd=home, text=True,
                              user=NOBODY, group=NOBODY, extra_groups=[],
                              capture_output=True, timeout=10, check=False)
        expect("secret" not in done.stdout, "%s: %s" % (command, done.stdout))
        return done
    for command in ("ls token", "ls wait", "ls token/private",
                    "cat status.json"):
        done = look(command)
        expect(done.returncode != 0 and "denied" in done.stderr,
               "%s: %d %s" % (command, done.returncode, done.stderr))
    # What it knows the name of it may use.
    token = look("cat token/open.db")
    expect_eq(token.returncode, 0, token.stderr)
    expect_eq(look("cat wait/open.db/%s" % token.stdout.strip()).returncode, 0)
    expect_eq(look("ls").stdout.split(), ["status.json", "token", "wait"])
    for command in ("ls token", "cat status.json"):  # its owner sees all
        done = subprocess.run(command, shell=True, cwd=home, text=True,
                              capture_output=True, timeout=10, check=True)
        expect("private" in done.stdout, done.stdout)
