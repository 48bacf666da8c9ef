"""From start to stop of a node, and the configuration that leads there."""
import errno
import os
import shutil
import signal
import time

import cluster
import runner
import sql
import workers
from runner import expect, expect_eq, expect_raises, test, until

KILLS = 6
RESTARTS = 20


def make(path, rows=50, mode="wal"):
    with sql.connect(path, journal_mode=mode) as connection:
        connection.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, v BLOB)")
        connection.executemany("INSERT INTO t(v) VALUES (randomblob(?))",
                               [(n * 7 % 900,) for n in range(rows)])


def add(path):
    with sql.connect(path) as connection:
        connection.execute("INSERT INTO t(v) VALUES ('one more')")


def facts(path):
    with sql.connect(path) as connection:
        return sql.facts(connection)


@test(seconds=40)
def after_a_stop_the_files_are_plain_sqlite(stage):
    nodes = cluster.pair(stage)
    for mode in ("wal", "delete"):
        make(nodes.primary.path(mode + ".db"), mode=mode)
    want = {mode: nodes.compare(mode + ".db") for mode in ("wal", "delete")}
    for node in nodes.nodes:
        node.stop()
        expect_eq(runner.mounts_below(node.home), [])
        expect_eq(os.listdir(node.mount), [])
        for mode in want:
            sql.expect_same(want[mode], facts(node.file(mode + ".db")),
                            "%s of %s" % (mode, node.name))
            expect(not os.path.exists(node.file(mode + ".db-journal")),
                   "a journal is left")


@test(seconds=40)
def what_changed_in_the_files_meanwhile_is_one_commit(stage):
    nodes = cluster.pair(stage)
    for mode in ("wal", "delete"):
        make(nodes.primary.path(mode + ".db"), mode=mode)
        nodes.compare(mode + ".db")
    nodes.primary.stop()
    for mode in ("wal", "delete"):
        add(nodes.primary.file(mode + ".db"))
    make(nodes.primary.file("new.db"))
    nodes.primary.start()
    for name, rows in (("wal.db", 51), ("delete.db", 51), ("new.db", 50)):
        expect_eq((name, nodes.compare(name)["table t"][0]), (name, rows))


@test(seconds=40)
def what_changed_after_a_kill_is_found_too(stage):
    nodes = cluster.pair(stage)
    for mode in ("wal", "delete"):
        make(nodes.primary.path(mode + ".db"), mode=mode)
        nodes.compare(mode + ".db")
    until(lambda: all(one["state"] == "closed"
                      for one in nodes.primary.databases().values()),
          "not closed", 20)
    nodes.primary.kill()
    for mode in ("wal", "delete"):
        add(nodes.primary.file(mode + ".db"))
    nodes.primary.start()
    for mode in ("wal", "delete"):
        expect_eq(nodes.compare(mode + ".db")["table t"][0], 51)
    # Now with a WAL that plain SQLite recovers and copies back.
    add(nodes.primary.path("wal.db"))
    nodes.primary.kill()
    add(nodes.primary.file("wal.db"))
    nodes.primary.start()
    expect_eq(nodes.compare("wal.db")["table t"][0], 53)


@test(seconds=40)
def what_changed_in_the_files_of_a_replica_is_put_right(stage):
    nodes = cluster.pair(stage)
    for mode in ("wal", "delete"):
        make(nodes.primary.path(mode + ".db"), mode=mode)
        nodes.compare(mode + ".db")
    nodes.replicas[0].stop()
    for mode in ("wal", "delete"):
        add(nodes.replicas[0].file(mode + ".db"))
    nodes.replicas[0].start()
    for mode in ("wal", "delete"):
        expect_eq(nodes.compare(mode + ".db")["table t"][0], 50)
    expect_eq(nodes.replicas[0].status()["lost"]["count"], 2,
              "what was there is kept")


@test(seconds=60)
def stopping_and_starting_changes_nothing(stage):
    nodes = cluster.pair(stage)
    for mode in ("wal", "truncate"):
        make(nodes.primary.path(mode + ".db"), mode=mode)
        nodes.compare(mode + ".db")
    for _ in range(3):
        for node in nodes.nodes:
            tokens = {name: node.databases()[name]["position"]["txid"]
                      for name in node.databases()}
            node.restart()
            for name in tokens:
                expect_eq(node.databases()[name]["position"]["txid"],
                          tokens[name], "%s on %s" % (name, node.name))
        for mode in ("wal", "truncate"):
            add(nodes.primary.path(mode + ".db"))
            nodes.compare(mode + ".db")


@test(seconds=40)
def a_mount_that_a_killed_daemon_left_is_cleaned_at_start(stage):
    nodes = cluster.pair(stage)
    make(nodes.primary.path("app.db"))
    nodes.compare("app.db")
    for node in nodes.nodes:
        node.kill()
        expect_eq(runner.mounts_below(node.home), [node.mount])
        node.start()
        expect_eq(runner.mounts_below(node.home), [node.mount])
    add(nodes.primary.path("app.db"))
    expect_eq(nodes.compare("app.db")["table t"][0], 51)


def write_until_error(control, path):
    """What ended it. With FULL every commit asks the daemon, in both modes."""
    with sql.connect(path, timeout=2, synchronous="FULL") as connection:
        while control.running():
            try:
                connection.execute("INSERT INTO t(v) VALUES (randomblob(99))")
            except sql.sqlite3.Error as error:
                return str(error)
    return ""


def read_until_error(control, path):
    """Each time with a new connection, for which the daemon is asked."""
    while control.running():
        try:
            connection = sql.open_reader(path, timeout=2, read_only=False)
            try:
                sql.one(connection, "SELECT count(*) FROM t")
            finally:
                connection.close()
        except sql.sqlite3.Error as error:
            return str(error)
    return ""


def applications_until_error(path):
    """A writer and a reader, at work."""
    applications = [workers.Worker(write_until_error, path),
                    workers.Worker(read_until_error, path)]
    for one in applications:
        until(lambda one=one: one.count() > 3, one.name + " stands still")
    return applications


@test(seconds=60 + 10 * KILLS)
def a_kill_gives_programs_in_the_mount_an_error_at_once(stage):
    nodes = cluster.pair(stage)
    make(nodes.primary.path("app.db"))
    nodes.compare("app.db")
    for n in range(KILLS):
        applications = applications_until_error(nodes.primary.path("app.db"))
        # Neither the programs nor the daemon itself may wait for an answer
        # that nobody gives any more.
        nodes.primary.kill(10)
        stage.say(n, [one.join(10) for one in applications])
        expect_raises(OSError, os.strerror(errno.ENOTCONN), os.listdir,
                      nodes.primary.mount)
        nodes.primary.start()
    nodes.compare("app.db")


def insist(control, path):
    """A program that opens its database, made when it is missing, in a loop
    as tight as can be; how often it had it."""
    had = 0
    while control.running():
        try:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o644))
            had += 1
        except OSError:
            pass
    return had


def insist_with_sqlite(control, path):
    had = 0
    while control.running():
        try:
            with sql.connect(path, timeout=1) as connection:
                connection.execute("CREATE TABLE IF NOT EXISTS t(id, v)")
                had += 1
        except sql.sqlite3.Error:
            pass
    return had


@test(seconds=120)
def between_a_dead_mount_and_the_next_no_bare_directory_shows(stage):
    if tuple(int(n) for n in os.uname().release.split(".")[:2]) < (6, 5):
        raise runner.Skip("needs Linux 6.5: mounts beneath others")
    node = cluster.single(stage)
    make(node.path("app.db"))
    applications = [workers.Worker(insist, node.path("app.db")),
                    workers.Worker(insist_with_sqlite, node.path("app.db"))]
    for _ in range(RESTARTS):
        node.kill(10)
        node.start()  # refused when something is in the bare directory
    stage.say(workers.stop(applications))
    node.stop()
    expect_eq(os.listdir(node.mount), [])
    node.start()
    expect_eq(facts(node.path("app.db"))["table t"][0], 50)


def guardian_of(node):
    """The one child that a node has."""
    with open("/proc/%d/task/%d/children" % (node.pid, node.pid),
              encoding="ascii") as file:
        (pid,) = file.read().split()
    return int(pid)


@test(seconds=60)
def without_its_guardian_a_node_goes_on_and_the_next_start_takes_over(stage):
    node = cluster.single(stage)
    make(node.path("app.db"))
    os.kill(guardian_of(node), signal.SIGKILL)
    until(lambda: "mount.unguarded" in node.log_text(), "nothing was said")
    applications = applications_until_error(node.path("app.db"))
    dead, node.process = node.process, None
    dead.kill()  # in classic mode it hangs now
    node.start()
    dead.wait(10)
    stage.say([one.join(10) for one in applications])
    add(node.path("app.db"))
    expect_eq(node.log_text().count("mount.unguarded"), 1)


@test(seconds=30)
def a_hangup_ends_nothing(stage):
    node = cluster.single(stage)
    make(node.path("app.db"))
    node.process.send_signal(signal.SIGHUP)
    until(lambda: "next start" in node.log_text(), node.log_text)
    add(node.path("app.db"))
    expect_eq(node.status()["node"]["health"], "ok")
    node.check_alive()


@test(seconds=30)
def a_second_daemon_on_the_same_data_is_refused(stage):
    node = cluster.single(stage)
    make(node.path("app.db"))
    other = cluster.Node(stage, "other", cluster.free_ports(1)[0])
    shutil.copy(node.config, other.config)
    other.launch()
    expect_eq(other.process.wait(10), 1)
    other.process = None
    expect("another tidemark runs" in other.log_text(), other.log_text())
    add(node.path("app.db"))
    node.check_alive()


@test(seconds=30)
def a_mount_point_that_is_not_fit_is_refused_in_words(stage):
    node = cluster.single(stage, start=False)

    def refused(words):
        node.launch()
        expect_eq(node.process.wait(10), 1)
        node.process = None
        expect(words in node.log_text(), node.log_text())
    with open(node.path("something"), "w"):
        pass
    refused("not empty")
    os.unlink(node.path("something"))
    os.rmdir(node.mount)
    refused("mkdir -p")
    os.mkdir(node.mount)
    node.start()


@test(seconds=40)
def a_stop_with_open_connections_loses_nothing(stage):
    nodes = cluster.pair(stage)
    make(nodes.primary.path("app.db"))
    connection = sql.sqlite3.connect(nodes.primary.path("app.db"),
                                     isolation_level=None)
    connection.execute("INSERT INTO t(v) VALUES ('kept')")
    nodes.primary.stop()
    try:
        connection.execute("INSERT INTO t(v) VALUES ('lost')")
        raise AssertionError("a write without a daemon was accepted")
    except sql.sqlite3.Error as error:
        stage.say("without a daemon:", error)
    connection.close()
    # Refused is not undone: in passthrough it may be in the WAL already.
    count = facts(nodes.primary.file("app.db"))["table t"][0]
    expect(count in (51, 52), "%d rows" % count)
    nodes.primary.start()
    expect_eq(nodes.compare("app.db")["table t"][0], count)


def write_whatever_happens(control, path, synchronous, journal_mode):
    """An application that takes no error for an answer, on one connection:
    what it has open keeps the mount."""
    connection = sql.sqlite3.connect(path, timeout=0, isolation_level=None)
    sql.pragma(connection, "journal_mode", journal_mode)
    sql.pragma(connection, "synchronous", synchronous)
    refused = 0
    while control.running():
        try:
            connection.execute("INSERT INTO t(v) VALUES (randomblob(5000))")
        except sql.sqlite3.Error:
            refused += 1
            time.sleep(0.001)
    return refused


def open_whatever_happens(control, path, token):
    """Another, that opens again and again what a worker must answer."""
    while control.running():
        try:
            with open(token) as file:
                file.read()
            connection = sql.sqlite3.connect("file:%s?mode=rw" % path,
                                             uri=True, timeout=0)
            connection.execute("SELECT count(*) FROM t").fetchall()
            connection.close()
        except (OSError, sql.sqlite3.Error):
            time.sleep(0.001)


@test(seconds=60)
def a_stop_does_not_wait_for_who_goes_on(stage):
    nodes = cluster.pair(stage)
    node, habits = nodes.primary, (("wal", "full"), ("delete", "full"),
                                   ("persist", "off"), ("memory", "off"))
    for mode, _ in habits:
        make(node.path(mode + ".db"), mode=mode)
    load = [workers.Worker(write_whatever_happens,
                           node.path(mode + ".db"), synchronous, mode)
            for mode, synchronous in habits]
    load += [workers.Worker(open_whatever_happens, node.path("wal.db"),
                            node.path(".tidemark/token/wal.db"))]
    until(lambda: all(one.count() > 20 for one in load), "no load")
    node.stop()
    refused = workers.stop(load)[:2]
    expect(min(refused) > 0, "nobody met the end: %s" % refused)
    node.start()
    for mode, _ in habits:
        if mode != "memory":  # cut off in a transaction, it may be damaged
            nodes.compare(mode + ".db")


@test(seconds=40)
def import_replaces_and_export_copies_while_live(stage):
    nodes = cluster.pair(stage)
    for mode in ("wal", "delete"):
        name, outside = mode + ".db", stage.path(mode + "-outside.db")
        make(nodes.primary.path(name), 10, mode)
        nodes.compare(name)
        make(outside, 300)
        with sql.connect(nodes.primary.path(name)) as connection:
            expect_eq(sql.one(connection, "SELECT count(*) FROM t"), 10)
            nodes.primary.ask("import", name, outside)
            expect_eq(sql.one(connection, "SELECT count(*) FROM t"), 300)
        expect_eq(nodes.compare(name)["table t"][0], 300)
        for node in nodes.nodes:
            out = stage.path("%s-%s" % (node.name, name))
            node.ask("export", name, out)
            expect_eq(facts(out)["table t"],
                      facts(nodes.primary.path(name))["table t"])
    nodes.primary.ask("import", "fresh.db", outside)
    expect_eq(nodes.compare("fresh.db")["table t"][0], 300)
    done = nodes.replicas[0].command("import", "wal.db", outside)
    expect_eq(done.returncode, 1)
    expect("primary" in done.stderr, done.stderr)


BAD = (
    ("mout: /x\ndata: /y\n", (":1:", "mount")),
    ("data: /y\n", ("mount",)),
    ("mount: /x\ndata: /y\nlog: { retain: lots }\n", ("log.retain",)),
    ("mount: /x\ndata: /x/data\n", ("inside",)),
    ("mount: /x\ndata: /y\nlisten: { replication: \"10.1.1.1:20202\" }\n",
     ("insecure",)),
    ("mount: /x\ndata: /y\nfuse: { mode: fast }\n", ("fuse.mode",)),
    ("mount: /x\ndata: /y\ndurability: { level: quorum }\n",
     ("durability",)),
    ("mount: [\n", (":2:",)),
)


@test(seconds=30, modes=("classic",))
def a_wrong_configuration_is_refused_where_it_is_wrong(stage):
    for n, (text, words) in enumerate(BAD):
        path = stage.write("bad%d.yml" % n, text)
        for command in (("mount", "--config", path),
                        ("config", "check", "--config", path),
                        ("config", "check", path)):
            done = cluster.tidemark(*command, timeout=10)
            if done.returncode == 2:
                continue  # the other way to name the file
            expect_eq(done.returncode, 1, text)
            for word in words:
                expect(word in done.stderr + done.stdout, "%r is not in %r"
                       % (word, done.stderr + done.stdout))


@test(seconds=30, modes=("classic",))
def commands_say_so_when_no_node_runs(stage):
    node = cluster.single(stage, start=False)
    for command in (("status",), ("token", "app.db"),
                    ("wait", "app.db", "x"), ("export", "a.db", "b")):
        done = node.command(*command)
        expect_eq(done.returncode, 1, command)
        expect(done.stderr, "nothing was said")
    for command in (("nonsense",), ("status", "--nonsense"), ("token",)):
        expect_eq(cluster.tidemark(*command).returncode, 2, command)


@test(seconds=40)
def a_database_without_applications_is_let_go(stage):
    node = cluster.single(stage)
    make(node.path("app.db"))
    until(lambda: node.databases()["app.db"]["state"] == "closed",
          lambda: "it is %s" % node.databases()["app.db"]["state"], 30)
    for suffix in ("-wal", "-shm"):
        expect(not os.path.exists(node.path("app.db" + suffix)),
               suffix + " is left")
    add(node.path("app.db"))


def damage(node):
    """The segments of each log have changed their names."""
    for folder, _, names in os.walk(os.path.join(node.data, "db")):
        if os.path.basename(folder) == "log":
            for name in names:
                base, dot, ending = name.partition(".")
                os.rename(os.path.join(folder, name), os.path.join(
                    folder, base[:-1] + ("7" if base[-1] != "7" else "8") +
                    dot + ending))


def damage_meta(node):
    for folder, _, names in os.walk(os.path.join(node.data, "db")):
        if "meta" in names:
            with open(os.path.join(folder, "meta"), "r+b") as file:
                file.seek(50)
                file.write(b"damage")


@test(seconds=60)
def one_damaged_log_keeps_no_node_from_starting(stage):
    nodes = cluster.pair(stage)
    make(nodes.primary.path("a.db"))
    nodes.compare("a.db")
    for node, how in ((node, how) for how in (damage, damage_meta)
                      for node in (nodes.replicas[0], nodes.primary)):
        node.stop()
        how(node)
        node.start()
        make(nodes.primary.path("%s-%s.db" % (node.name, how.__name__)))
        add(nodes.primary.path("a.db"))  # opened, it is found again
        for name in os.listdir(nodes.primary.file()):
            if name.endswith(".db"):
                facts(nodes.primary.path(name))
        until(lambda: all(
            node.databases().get(name, {}).get("lineage") == one["lineage"]
            for node in nodes.replicas
            for name, one in nodes.primary.databases().items()), "lineages")
        nodes.compare_all()
    nodes.primary.restart()
    nodes.compare_all()


def one_lineage(nodes, name):
    """Until a replica has heard of a drop, a token of the new database is of
    another one."""
    until(lambda: len({one.databases().get(name, {}).get("lineage")
                       for one in nodes.nodes}) == 1, "two lineages")


@test(seconds=60)
def two_that_claim_one_name_keep_no_node_from_starting(stage):
    """As a power cut leaves it between a deletion and its tombstone."""
    nodes = cluster.pair(stage)
    for node in nodes.nodes:
        make(nodes.primary.path("a.db"))
        nodes.compare("a.db")
        node.stop()
        before = os.path.join(node.data, "db")
        shutil.copytree(before, stage.path("kept-" + node.name))
        node.start()
        os.unlink(nodes.primary.path("a.db"))
        make(nodes.primary.path("a.db"), rows=70)
        one_lineage(nodes, "a.db")  # it may hear of both only now
        nodes.compare("a.db")
        node.stop()
        for one in os.listdir(stage.path("kept-" + node.name)):
            shutil.rmtree(os.path.join(before, one))
        shutil.copytree(stage.path("kept-" + node.name), before,
                        dirs_exist_ok=True)
        node.start()
        one_lineage(nodes, "a.db")
        add(nodes.primary.path("a.db"))
        expect_eq(nodes.compare("a.db")["table t"][0], 71)
        nodes.compare_all()
        os.unlink(nodes.primary.path("a.db"))


def keep_syncing(control, path):
    while control.running():
        try:
            file = os.open(path, os.O_RDONLY)
            try:
                while control.running():
                    os.fsync(file)
            finally:
                os.close(file)
        except OSError:
            time.sleep(0.001)


@test(seconds=60)
def who_syncs_a_wal_keeps_no_node_from_letting_go(stage):
    """`sync FILE` on the WAL of a database that no application has open."""
    node = cluster.single(stage)
    path = node.path("app.db")
    for _ in range(4):
        with sql.connect(path, journal_mode="wal") as db:
            db.execute("CREATE TABLE IF NOT EXISTS t(v)")
            db.execute("INSERT INTO t VALUES (zeroblob(2000000))")
        syncers = [workers.Worker(keep_syncing, path + "-wal")
                   for _ in range(2)]
        until(lambda: min(one.count() for one in syncers) > 20, "no sync")
        node.restart()
        workers.stop(syncers)
    with sql.connect(path) as db:
        expect(sql.one(db, "SELECT count(*) FROM t") == 4, "rows are missing")
