"""A replica that cannot go on from the log fetches the pages that differ, and
no others: after a long time away, after a copy that was cut off, after damage,
after commits that the primary never had."""
import glob
import os
import shutil

import cluster
import relay
import sql
from runner import expect, expect_eq, test, until

NAME = "app.db"
PAGE = 4096
ROWS = 2000


def make(path, rows=ROWS, mode="wal"):
    """About a page for each row, nothing that can be compressed."""
    with sql.connect(path, page_size=PAGE, journal_mode=mode) as connection:
        connection.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, v BLOB)")
        connection.executemany("INSERT INTO t VALUES (?, randomblob(3800))",
                               [(n,) for n in range(1, rows + 1)])


def change(path, *ids):
    with sql.connect(path) as connection:
        connection.executemany(
            "UPDATE t SET v = randomblob(3800) WHERE id = ?",
            [(n,) for n in ids])


def far_pair(stage, extra=""):
    """A primary, and a replica that is not started, behind a relay."""
    nodes = cluster.Cluster(stage, 0, extra=extra).start()
    between = relay.Relay(stage, nodes.primary.port)
    port = cluster.free_ports(1)[0]
    replica = cluster.Node(stage, "replica1", port, between.port, extra=extra)
    nodes.replicas = [replica]
    return nodes, between


def size(node):
    return os.path.getsize(node.file(NAME))


def opened_as(node, since=0):
    return [word.split("=")[1] for line in node.log_text()[since:].splitlines()
            if "replication.open" in line or "replication.diverged" in line
            for word in line.split() if word.startswith("mode=")]


def away(stage, extra=""):
    nodes, between = far_pair(stage, extra)
    make(nodes.primary.path(NAME))
    nodes.replicas[0].start()
    nodes.compare(NAME)
    return nodes, between


@test(seconds=90)
def one_percent_that_changed_is_about_one_percent_of_the_bytes(stage):
    nodes, between = away(stage)
    primary, replica = nodes.primary, nodes.replicas[0]
    for mode in ("closed", "read"):
        replica.stop()
        change(primary.path(NAME), *range(7, ROWS, 100))
        primary.stop().lose_the_log().start()
        between.taken = 0
        start = len(replica.log_text())
        if mode == "read":
            between.closed = True
        replica.start()
        reader = sql.open_reader(replica.path(NAME)) if mode == "read" else None
        between.open()
        nodes.compare(NAME)
        expect("delta" in opened_as(replica, start), opened_as(replica, start))
        if reader is not None:
            expect_eq(reader.execute("SELECT count(*) FROM t").fetchone()[0],
                      ROWS)
            reader.close()
        stage.say(mode, between.taken, "bytes of", size(primary))
        # 20 pages, a bit for each page, heartbeats.
        expect(between.taken < size(primary) * 0.03, "%d bytes of %d came" %
               (between.taken, size(primary)))


@test(seconds=90)
def a_replica_that_grew_or_shrank_otherwise_becomes_equal(stage):
    nodes, _ = away(stage)
    primary, replica = nodes.primary, nodes.replicas[0]
    for change_it in ("DELETE FROM t WHERE id > 300", "VACUUM",
                      "INSERT INTO t SELECT id + 10000, randomblob(3000) FROM t",
                      "DELETE FROM t WHERE id % 2", "VACUUM"):
        replica.stop()
        with sql.connect(primary.path(NAME)) as connection:
            connection.execute(change_it)
        primary.stop().lose_the_log().start()
        start = len(replica.log_text())
        replica.start()
        nodes.compare(NAME)
        expect("delta" in opened_as(replica, start), change_it)


@test(seconds=120)
def a_first_copy_that_is_cut_off_goes_on_where_it_was(stage):
    nodes, between = far_pair(stage)
    primary, replica = nodes.primary, nodes.replicas[0]
    make(primary.path(NAME))
    primary.token(NAME)
    between.cut = ROWS * PAGE // 2
    replica.start()
    until(lambda: between.closed, "the copy does not come")
    for how in ("cut off", "killed"):
        change(primary.path(NAME), 5, ROWS - 5)
        between.cut = between.taken + ROWS * PAGE // 8
        between.open()
        until(lambda: between.closed, "it does not go on")
        if how == "killed":
            replica.kill()
            replica.start()
    between.open()
    nodes.compare(NAME)
    stage.say(between.taken, "bytes of", size(primary))
    expect(between.taken < size(primary) * 1.3, "%d bytes of %d came" %
           (between.taken, size(primary)))
    expect_eq(glob.glob(os.path.join(replica.data, "db/*/incoming")), [])


def bytes_at(path, offset):
    with open(path, "rb") as file:
        file.seek(offset)
        return file.read(4)


@test(seconds=90)
def what_came_and_is_not_what_it_was_takes_no_place(stage):
    """A copy was cut off; then the disk changes a page of what came."""
    nodes, between = away(stage)
    primary, replica = nodes.primary, nodes.replicas[0]
    replica.stop()
    change(primary.path(NAME), *range(1, ROWS + 1))
    primary.stop().lose_the_log().start()
    between.cut = between.taken + ROWS * PAGE // 2
    replica.start()
    until(lambda: between.closed, "the copy does not come")
    part, = glob.glob(os.path.join(replica.data, "db/*/incoming"))
    at = 700 * PAGE + 2000
    want = bytes_at(primary.file(NAME), at)
    until(lambda: bytes_at(part, at) == want, "that page does not come")
    with open(part, "r+b") as file:
        file.seek(at)
        file.write(bytes(255 - byte for byte in want))
    between.open()
    nodes.compare(NAME, 30)
    expect("database.stopped" in replica.log_text(), "it was not noticed")
    expect("ok" in replica.ask("verify", NAME), "verify")


@test(seconds=90)
def a_file_that_no_log_explains_is_kept_and_compared(stage):
    nodes, between = away(stage)
    primary, replica = nodes.primary, nodes.replicas[0]
    replica.stop()
    with open(replica.file(NAME), "r+b") as file:
        file.seek(50 * PAGE + 100)
        file.write(b"a stranger was here")
    between.taken = 0
    replica.start()
    nodes.compare(NAME)
    expect(between.taken < size(primary) * 0.03, "%d bytes came" %
           between.taken)
    lost = glob.glob(os.path.join(replica.data, "lost/*.db"))
    expect_eq(len(lost), 1, "kept")
    with open(lost[0], "rb") as file:
        expect(b"a stranger was here" in file.read(), "not what was there")
    expect_eq(glob.glob(os.path.join(replica.data, "db/*/base")), [])


@test(seconds=90)
def commits_that_the_primary_lost_are_kept_and_its_own_are_fetched(stage):
    """Its disk is put back to an older state, as after a power cut."""
    nodes, between = away(stage)
    primary, replica = nodes.primary, nodes.replicas[0]
    primary.stop()
    old = os.path.join(stage.folder, "old")
    shutil.copytree(primary.data, old, symlinks=True)
    primary.start()
    with sql.connect(primary.path(NAME)) as connection:
        connection.execute("INSERT INTO t VALUES (99999, 'lost')")
    nodes.compare(NAME)
    primary.kill()
    between.closed = True
    shutil.rmtree(primary.data)
    shutil.copytree(old, primary.data, symlinks=True)
    primary.start().restart()  # an epoch that the replica did not hear of
    change(primary.path(NAME), 3)
    primary.token(NAME)
    between.taken = 0
    between.open()
    nodes.compare(NAME)
    stage.say(between.taken, "bytes of", size(primary))
    lost = glob.glob(os.path.join(replica.data, "lost/*.db"))
    expect_eq(len(lost), 1, "kept")
    expect_eq(sql.look(lost[0], "SELECT v FROM t WHERE id = 99999"), "lost")
    expect_eq(sql.look(lost[0], "PRAGMA integrity_check"), "ok")
    expect_eq(sql.look(replica.path(NAME),
                       "SELECT count(*) FROM t WHERE id = 99999"), 0)


@test(seconds=120)
def a_replica_that_rested_worked_on_and_was_killed_needs_no_copy(stage):
    """When it let go it noted what the file looks like; it is another one after
    the next checkpoint, and that is nobody's doing but its own."""
    nodes = cluster.pair(stage)
    primary, replica = nodes.primary, nodes.replicas[0]
    make(primary.path(NAME), 300)
    nodes.compare(NAME)
    until(lambda: replica.databases()[NAME]["state"] == "closed",
          "it does not let go", 40)
    before = replica.databases()[NAME]["counters"]["checkpoints"]
    rounds = iter(range(1, 200))

    def is_checkpointed():
        change(primary.path(NAME), *range(1, 300), next(rounds))
        nodes.settle(NAME)
        return replica.databases()[NAME]["counters"]["checkpoints"] > before
    until(is_checkpointed, "no checkpoint", 40)
    nodes.settle(NAME)
    copies = replica.copies(NAME)
    replica.kill().start()
    nodes.compare(NAME)
    expect_eq(replica.copies(NAME), copies, "copies")
    expect_eq(replica.status()["lost"]["count"], 0, "put aside")
