"""What `tidemark doctor` must say, with the pids of those who are the reason,
and what it must not say of a node that is well."""
import ctypes
import json
import mmap
import os
import re
import shutil
import signal
import subprocess
import threading
import time

import cluster
import sql
import workers
from runner import expect, expect_eq, test, until

LEVELS = ("ok", "warn", "bad")
WAL_BYTES = 64 << 20  # above that a WAL is large


def make(path):
    with sql.connect(path, journal_mode="wal") as connection:
        connection.execute("CREATE TABLE t(v)")
        connection.execute("INSERT INTO t VALUES ('first')")


def findings(done, code):
    """What a run with --json found, after a look at what must always hold."""
    expect_eq((done.returncode, done.stderr), (code, ""), done.stdout)
    said = json.loads(done.stdout)
    for one in said["findings"]:
        expect(one["level"] in LEVELS, one)
        expect(one["text"] and one["about"] and one["group"], one)
        expect((one["advice"] is None) == (one["level"] == "ok"), one)
    for level in LEVELS:
        expect_eq(said[level], len([one for one in said["findings"]
                                    if one["level"] == level]), level)
    expect_eq(code, 1 if said["bad"] else 0)
    return said["findings"]


def examine(node, code=0):
    return findings(node.command("doctor", "--json"), code)


def of(found, group, about=""):
    """(level, text) of the findings of a group, about that."""
    return [(one["level"], one["text"]) for one in found
            if one["group"] == group and about in one["about"]]


def the(found, group, about):
    these = of(found, group, about)
    expect_eq(len(these), 1, "findings about %s: %r" % (about, found))
    return these[0]


def sqlite_of_this_process():
    """The file, and the version that it must have."""
    with open("/proc/self/maps", encoding="utf-8") as maps:
        names = [line.split()[-1] for line in maps if "libsqlite3" in line]
    return names[0], sql.sqlite3.sqlite_version


@test(seconds=60)
def a_node_that_is_well_is_told_so_and_which_sqlite_its_programs_have(stage):
    node = cluster.single(stage)
    make(node.path("app.db"))
    reader = workers.Worker(keep_open, node.path("app.db"))
    until(lambda: reader.count() > 1, "the reader does nothing")
    found = examine(node)
    path, version = sqlite_of_this_process()
    for group in ("system", "configuration", "node", "mount point",
                  "databases"):
        expect(of(found, group), "nothing about " + group)
        if (group, stage.mode) != ("system", "classic"):
            expect_eq({level for level, _ in of(found, group)}, {"ok"}, group)
    expect_eq(the(found, "mount point", node.mount),
              ("ok", "mounted by this node"))
    expect(the(found, "system", "mode")[1].startswith(stage.mode + ": "), found)
    level, text = [one for one in of(found, "programs", "SQLite " + version)
                   if "(pid %d)" % reader.pid in one[1]][0]
    expect(path in text, text)
    expect_eq(level, "warn" if is_faulty(version) else "ok", text)
    expect_eq(len([one for one in found
                   if "(pid %d)" % reader.pid in one["text"]]), 1)
    # This one has files open, and none of the mount.
    expect("(pid %d)" % os.getpid() not in str(found), found)
    reader.stop()


def is_faulty(version):
    numbers = tuple(map(int, version.split(".")))
    return numbers < (3, 51, 3) and not (3, 50, 7) <= numbers < (3, 51) and \
        not (3, 44, 6) <= numbers < (3, 45)


def keep_open(control, path):
    """Has it open, and no transaction."""
    connection = sql.open_reader(path)
    while control.running():
        os.sched_yield()
    connection.close()


def keep_reading(control, path):
    """A read transaction, as long as the test likes."""
    connection = sql.open_reader(path)
    connection.execute("BEGIN")
    sql.one(connection, "SELECT count(*) FROM t")
    while control.running():
        os.sched_yield()
    connection.close()


def open_with(control, library, path):
    """As a program that has an SQLite of its own."""
    sqlite, handle = ctypes.CDLL(library), ctypes.c_void_p()
    expect_eq(sqlite.sqlite3_open(os.fsencode(path), ctypes.byref(handle)), 0)
    expect_eq(sqlite.sqlite3_exec(handle, b"SELECT v FROM t", None, None, None),
              0)
    while control.running():
        os.sched_yield()
    sqlite.sqlite3_close(handle)


@test(seconds=60, modes=("classic",))
def an_sqlite_under_another_name_is_found_also_after_it_was_removed(stage):
    node = cluster.single(stage)
    make(node.path("app.db"))
    path, version = sqlite_of_this_process()
    own = shutil.copy(path, stage.path("an application"))
    user = workers.Worker(open_with, own, node.path("app.db"))
    until(lambda: user.count() > 1, "the program does nothing")
    for _ in range(2):
        texts = [text for _, text in of(examine(node), "programs",
                                        "SQLite " + version)
                 if "(pid %d)" % user.pid in text]
        expect(any(own in text for text in texts), texts)
        if os.path.exists(own):
            os.unlink(own)
    user.stop()


@test(seconds=60, modes=("classic",))
def for_people_each_finding_is_a_line_and_nothing_is_coloured_in_a_pipe(stage):
    node = cluster.single(stage)
    make(node.path("app.db"))
    text = node.ask("doctor")
    lines = text.splitlines()
    expect("\033" not in text, text)
    for line in lines[:-1]:
        expect(re.match(r"  (ok|warn|bad) +\S|        -> \S|[a-z]", line), line)
    expect(re.fullmatch(r"\d+ ok, \d+ warn, 0 bad", lines[-1]), lines[-1])
    said = json.loads(node.ask("doctor", "--json"))
    expect_eq(len([line for line in lines if line.startswith("  ") and
                   not line.startswith("   ")]), len(said["findings"]))


@test(seconds=60)
def a_node_that_does_not_run_is_bad_and_the_places_are_looked_at(stage):
    node = cluster.single(stage, start=False)
    found = examine(node, 1)
    level, text = the(found, "node", "node")
    expect_eq(level, "bad")
    expect("no node is running" in text, text)
    expect_eq(the(found, "mount point", node.mount),
              ("ok", "an empty directory, nothing is mounted"))
    expect("does not exist yet" in the(found, "data directory", node.data)[1],
           found)
    expect_eq(of(found, "databases") + of(found, "system", "mode"), [])
    stage.write("primary/mnt/something", "in the way")
    level, text = the(examine(node, 1), "mount point", node.mount)
    expect_eq(level, "bad")
    expect("something" in text, text)
    os.unlink(node.path("something"))
    os.rmdir(node.mount)
    level, text = the(examine(node, 1), "mount point", "directory")
    expect("does not exist" in text, text)
    os.mkdir(node.mount)


@test(seconds=60)
def what_a_killed_node_left_is_named(stage):
    node = cluster.single(stage)
    make(node.path("app.db"))
    with open("/proc/self/mountinfo", encoding="utf-8") as mounts:
        expect(node.mount in mounts.read(), "not mounted")
    node.kill()
    found = examine(node, 1)
    expect("has stopped" in the(found, "node", "node")[1], found)
    level, text = the(found, "mount point", node.mount)
    expect_eq(level, "bad")
    expect("dead mount" in text, text)
    node.start()
    expect_eq(the(examine(node), "mount point", node.mount)[0], "ok")


@test(seconds=90)
def a_node_that_hangs_makes_nobody_hang_who_asks_about_it(stage):
    node = cluster.single(stage)
    make(node.path("app.db"))
    reader = workers.Worker(keep_reading, node.path("app.db"))
    until(lambda: reader.count() > 1, "the reader does nothing")
    begun = time.monotonic()
    os.kill(node.pid, signal.SIGSTOP)
    try:
        found = examine(node, 1)
    finally:
        os.kill(node.pid, signal.SIGCONT)
    stage.say("%.1f s" % (time.monotonic() - begun))
    level, text = the(found, "node", "node")
    expect_eq(level, "bad")
    expect("did not answer in time" in text, text)
    level, text = the(found, "mount point", node.mount)
    expect_eq(level, "bad")
    expect("hang" in text, text)
    expect("(pid %d)" % reader.pid in str(of(found, "programs")), found)
    reader.stop()
    expect_eq(the(examine(node), "mount point", node.mount)[0], "ok")


UNUSED_AT = 132  # in a -shm, says SQLite's walIndexHdr


def use_until_told(control, path):
    """Then its -shm has a page that is to be written, as after any read that
    moves a read mark: who unmaps it waits until it is."""
    connection = sql.open_reader(path)
    sql.one(connection, "SELECT count(*) FROM t")
    with open(path + "-shm", "r+b") as file:
        shm = mmap.mmap(file.fileno(), mmap.PAGESIZE)
    while control.running():
        time.sleep(0.01)
    shm[UNUSED_AT] = shm[UNUSED_AT]
    return connection, shm


def execute_something_else(control, path):
    """What it has mapped is unmapped by the kernel, in the middle of that."""
    kept = use_until_told(control, path)
    os.execv("/bin/true", ["true", str(kept)])


def map_and_unmap():
    while True:
        mmap.mmap(-1, mmap.PAGESIZE).close()


def close_one_of_two(control, path, other):
    """Beside a thread that waits then until it may map something. The other
    one stays open, and nothing tells of that but its descriptors."""
    kept = sql.open_reader(other)
    threading.Thread(target=map_and_unmap, daemon=True).start()
    connection, shm = use_until_told(control, path)
    connection.close()
    shm.close()
    return sql.one(kept, "SELECT count(*) FROM t")


def states(pid):
    """Of all its threads. Asks what is always answered."""
    found = []
    for task in os.listdir("/proc/%d/task" % pid):
        with open("/proc/%d/task/%s/status" % (pid, task)) as file:
            found.append(re.search(r"State:\s+(\S)", file.read())[1])
    return found


def is_stuck(pid):
    return set(states(pid)) == {"D"}


def stop_at_once(node):
    """Returns when none of its threads runs any more."""
    os.kill(node.pid, signal.SIGSTOP)
    until(lambda: set(states(node.pid)) == {"T"},
          lambda: "%s does not stop: %s" % (node.name, states(node.pid)))


@test(seconds=120, modes=("classic",))
def programs_that_are_stuck_in_the_kernel_are_named_and_the_others_seen(stage):
    nodes = cluster.pair(stage)
    primary, replica = nodes.nodes
    for name in ("app.db", "b.db", "c.db"):
        make(primary.path(name))
        nodes.settle(name)
    before = workers.Worker(keep_open, primary.path("app.db"))
    stuck = [workers.Worker(execute_something_else, replica.path(name))
             for name in ("app.db", "b.db")]
    # Its maps are answered, or not, as the kernel likes (Linux 6.17).
    closer = workers.Worker(close_one_of_two, replica.path("c.db"),
                            primary.path("app.db"))
    after = workers.Worker(keep_open, primary.path("app.db"))
    for worker in (before, *stuck, closer, after):
        until(lambda w=worker: w.count() > 1, "%s does nothing" % worker.name)
    try:
        stop_at_once(replica)
        for worker in (*stuck, closer):
            worker.wish(workers.STOP)
            until(lambda w=worker: is_stuck(w.pid), lambda w=worker:
                  "%s is not stuck: %s" % (w.name, states(w.pid)))
        begun = time.monotonic()
        found = examine(primary)
        stage.say("%.1f s" % (time.monotonic() - begun))
        expect(all(is_stuck(worker.pid) for worker in (*stuck, closer)), found)
    finally:
        os.kill(replica.pid, signal.SIGCONT)
    level, text = the(found, "programs", "stuck")
    expect_eq(level, "warn")
    for worker in stuck:
        expect("(pid %d)" % worker.pid in text, text)
        until(worker.is_over, "it does not become something else")
    for worker in (before, closer, after):
        expect("(pid %d)" % worker.pid in str(of(found, "programs")), found)
        expect(worker is closer or "(pid %d)" % worker.pid not in text, text)
    expect_eq(closer.join(), 1)
    said = str(of(examine(primary), "programs", "stuck"))
    for worker in stuck:
        expect("(pid %d)" % worker.pid not in said, said)
    workers.stop((before, after))


@test(seconds=60, modes=("classic",))
def calls_that_wait_for_replicas_to_be_asked_are_no_mount_that_hangs(stage):
    nodes = cluster.Cluster(stage, 1)
    nodes.primary.fetch_timeout = "12s"
    nodes.primary.configure()
    nodes.start()
    make(nodes.primary.path("app.db"))
    nodes.settle("app.db")
    nodes.replicas[0].stop()
    nodes.primary.kill().launch()
    until(lambda: nodes.primary.command("status").returncode == 0,
          "no status while it asks")
    found = examine(nodes.primary)
    level, text = the(found, "mount point", nodes.primary.mount)
    expect_eq(level, "warn")
    expect("asked its replicas" in text, text)
    expect(any("replica1" in text for _, text in of(found, "node")), found)
    nodes.primary.wait_ready()
    nodes.replicas[0].start()


@test(seconds=60, modes=("classic",))
def what_is_wrong_with_a_configuration_is_told_with_its_line(stage):
    node = cluster.single(stage, start=False)
    node.configure("loq: { retain: 1GiB }\n")
    found = examine(node, 1)
    level, text = the(found, "configuration", "file")
    expect_eq(level, "bad")
    expect("tidemark.yml:7" in text and "loq" in text, text)
    expect(of(found, "system", "kernel"), "the rest was not looked at")
    expect_eq(of(found, "data directory"), [])


@test(seconds=60, modes=("classic",))
def a_node_is_found_by_its_data_directory_alone(stage):
    node = cluster.single(stage)
    found = findings(cluster.tidemark("doctor", "--json", "--data", node.data),
                     0)
    expect_eq(of(found, "configuration"), [])
    expect_eq(the(found, "mount point", node.mount)[0], "ok")
    expect_eq(the(found, "data directory", node.data)[0], "ok")


@test(seconds=60, modes=("passthrough",))
def who_holds_a_database_back_is_named(stage):
    node = cluster.single(stage)
    os.mkdir(node.path("in"))
    make(node.path("in/app.db"))
    make(node.path("other.db"))
    reader = workers.Worker(keep_open, node.path("in/app.db"))
    until(lambda: reader.count() > 1, "the reader does nothing")
    node.kill()
    node.start()
    found = examine(node, 1)
    level, text = the(found, "databases", "in/app.db")
    expect_eq(level, "bad")
    expect("held back" in text and "(pid %d)" % reader.pid in text, text)
    expect_eq(text.count("(pid "), 1, text)
    reader.stop()
    until(lambda: node.databases()["in/app.db"]["state"] != "held_back",
          "still held back")
    expect_eq(the(examine(node), "databases", "all")[0], "ok")


@test(seconds=120)
def a_reader_that_pins_a_grown_wal_is_named(stage):
    node = cluster.single(stage)
    path = node.path("app.db")
    make(path)
    reader = workers.Worker(keep_reading, path)
    idler = workers.Worker(keep_open, path)
    for worker in (reader, idler):
        until(lambda w=worker: w.count() > 1, "a worker does nothing")
    expect_eq(the(examine(node), "databases", "all")[0], "ok")
    with sql.connect(path, synchronous="normal") as connection:
        while os.stat(path + "-wal").st_size <= WAL_BYTES:
            connection.execute("INSERT INTO t VALUES (randomblob(4000000))")
        level, text = the(examine(node), "databases", "app.db")
        expect_eq(level, "warn")
        expect("(pid %d)" % reader.pid in text, text)
        expect_eq(text.count("(pid "), 1, text)
        reader.stop()
        level, text = the(examine(node), "databases", "app.db")
        expect_eq((level, text.count("(pid ")), ("warn", 0), text)
        sql.pragma(connection, "wal_checkpoint(TRUNCATE)")
        expect_eq(the(examine(node), "databases", "all")[0], "ok")
    idler.stop()


@test(seconds=60, modes=("classic",))
def a_log_above_what_it_may_keep_is_named(stage):
    node = cluster.single(stage, extra="log: { retain: 1MiB }\n")
    make(node.path("app.db"))
    with sql.connect(node.path("app.db")) as connection:
        connection.execute("INSERT INTO t VALUES (randomblob(3000000))")
        node.token("app.db")  # it is captured
        level, text = the(examine(node), "databases", "app.db")
    expect_eq(level, "warn")
    expect("log.retain is 1.0 MiB" in text, text)


@test(seconds=60, modes=("classic",))
def data_on_a_tmpfs_is_gone_with_the_machine(stage):
    node = cluster.single(stage, start=False)
    os.mkdir(node.data)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256m,mode=700", "none",
                    node.data], check=True)
    node.start()
    found = examine(node)
    level, text = the(found, "data directory", "file system")
    expect_eq(level, "warn")
    expect("tmpfs" in text and "gone with the machine" in text, text)
    level, text = the(found, "data directory", "logs")
    expect_eq(level, "warn", text)  # 1 GiB of log.retain are not there
    node.stop()
    subprocess.run(["umount", node.data], check=True)


def without_sys_admin(*arguments):
    return subprocess.run(
        ["setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin",
         cluster.program(), *arguments], text=True, capture_output=True,
        stdin=subprocess.DEVNULL, timeout=30, check=False)


@test(seconds=60, modes=("classic",))
def without_cap_sys_admin_it_says_so_and_of_whom(stage):
    node = cluster.single(stage, start=False)
    words = ("doctor", "--json", "--config", node.config)
    level, text = the(findings(without_sys_admin(*words), 1), "system",
                      "privilege")
    expect_eq(level, "warn")
    expect("this command has no CAP_SYS_ADMIN" in text, text)
    node.start()
    found = findings(without_sys_admin(*words), 0)
    expect_eq(of(found, "system", "privilege"),
              [("ok", "this command has no CAP_SYS_ADMIN, and sees less"),
               ("ok", "the node has CAP_SYS_ADMIN")])


@test(seconds=60, modes=("classic",))
def who_may_not_see_everything_is_told_that_something_is_hidden(stage):
    node = cluster.single(stage)
    make(node.path("app.db"))
    reader = workers.Worker(keep_open, node.path("app.db"))
    until(lambda: reader.count() > 1, "the reader does nothing")

    def look():
        done = cluster.tidemark("doctor", "--json", "--data", node.data)
        return json.loads(done.stdout)["findings"]
    os.chmod(node.data, 0o755)
    os.chmod(os.path.join(node.data, "control.sock"), 0o666)
    found = workers.as_user(12345, look)
    expect_eq(the(found, "node", "node")[0], "ok")
    level, text = the(found, "programs", "hidden")
    expect_eq(level, "warn")
    expect(int(text.split()[0]) > 0, text)
    expect_eq(the(found, "data directory", "lost")[0], "warn")
    reader.stop()


@test(seconds=60, modes=("classic",))
def what_recovery_put_aside_is_counted(stage):
    node = cluster.single(stage)
    os.mkdir(os.path.join(node.data, "lost", "a-1"))
    for name in ("a-1/db", "b.db", "b.db-wal", "b.db.txt"):
        with open(os.path.join(node.data, "lost", name), "wb") as file:
            file.write(b"x" * 1024)
    level, text = the(examine(node), "data directory", "lost")
    expect_eq((level, text),
              ("warn", "2 things were put aside, 4.0 KiB in all"))


@test(seconds=60, modes=("classic",))
def a_replica_that_is_away_is_named(stage):
    nodes = cluster.pair(stage)
    make(nodes.primary.path("app.db"))
    nodes.settle("app.db")
    nodes.replicas[0].stop()
    until(lambda: of(examine(nodes.primary), "node", "replica1"),
          "nothing about the replica")
    level, text = the(examine(nodes.primary), "node", "replica1")
    expect_eq(level, "warn")
    expect("away" in text, text)
