"""A primary that lost its data directory takes what its replicas have."""
import errno
import os
import signal
import threading
import time

import cluster
import sql
from olddisk import MODES, NAMES, keep_disk, knows, lose_disk, old_disk, \
    positions, rows, write, write_all
from runner import expect, expect_eq, test, until


def filled(stage, replicas=2):
    """A cluster that knows itself, with rows in both databases."""
    nodes = cluster.Cluster(stage, replicas).start()
    write_all(nodes, 20)
    knows(nodes.primary, *nodes.replicas)
    return nodes


def took_none(node):
    expect_eq(node.status()["lost"]["count"], 0, "put aside")


@test()
def an_empty_primary_takes_what_its_replicas_have(stage):
    nodes = filled(stage)
    primary, (less, most) = nodes.primary, nodes.replicas
    less.stop()
    nodes.replicas = [most]
    write_all(nodes, 10)
    with sql.connect(primary.path("wal.db")) as db:
        db.execute("INSERT INTO t(v) VALUES (randomblob(9000000))")  # in parts
    nodes.settle("wal.db")
    before, token = positions(most), primary.token("wal.db")
    primary.kill()
    lose_disk(primary)
    nodes.replicas = [less, most]
    seen = [node.copies() for node in nodes.replicas]
    less.launch()
    primary.start()
    less.wait_ready()
    expect_eq(positions(primary), before, "positions of the primary")
    for name in NAMES:
        expect_eq(rows(primary, name), 31 if name == "wal.db" else 30, name)
        expect_eq(sql.look(primary.path(name), "PRAGMA journal_mode"),
                  MODES[name], name)
    primary.reach("wal.db", token)
    nodes.compare_all()
    expect_eq([node.copies() for node in nodes.replicas], seen, "copies")
    write_all(nodes, 5)
    nodes.compare_all()
    expect_eq([rows(less, name) for name in NAMES], [36, 35])
    for node in nodes.nodes:
        took_none(node)
    primary.restart()
    expect_eq([rows(primary, name) for name in NAMES], [36, 35])
    nodes.compare_all()


@test()
def a_log_that_does_not_reach_back_makes_it_a_copy(stage):
    nodes = filled(stage, 1)
    primary, replica = nodes.primary, nodes.replicas[0]
    with sql.connect(primary.path("wal.db")) as db:
        db.execute("INSERT INTO t(v) VALUES (randomblob(9000000))")
        db.execute("DELETE FROM t WHERE id % 3 = 0")
    nodes.settle("wal.db")
    os.chmod(primary.path("wal.db"), 0o640)
    left = {name: rows(primary, name) for name in NAMES}
    before, token = positions(replica), primary.token("wal.db")
    until(lambda: os.stat(replica.path("wal.db")).st_mode & 0o777 == 0o640,
          "the replica did not hear of the mode")
    replica.stop()
    replica.lose_the_log()
    primary.kill()
    lose_disk(primary)
    seen = replica.copies()
    replica.launch()
    primary.start()
    replica.wait_ready()
    expect("mode=snapshot" in primary.log_text(), "it was no copy")
    expect_eq(positions(primary), before, "positions of the primary")
    expect_eq(os.stat(primary.path("wal.db")).st_mode & 0o777, 0o640, "mode")
    expect_eq({name: rows(primary, name) for name in NAMES}, left, "rows")
    for name in NAMES:
        expect("ok" in primary.ask("verify", name), name)
    primary.reach("wal.db", token)
    nodes.compare_all()
    for name in NAMES:
        with sql.connect(primary.path(name)) as db:
            db.execute("INSERT INTO t(v) VALUES (randomblob(300))")
    nodes.compare_all()
    primary.kill().start()
    nodes.compare_all()
    expect_eq({name: rows(primary, name) for name in NAMES},
              {name: count + 1 for name, count in left.items()}, "rows")
    expect_eq(replica.opened().count("delta"), 0, "it was compared")
    took_none(replica)


def has_what(primary, replica):
    """The primary took all that the replica has."""
    wanted = positions(replica)
    until(lambda: positions(primary) == wanted, "it does not take it", 20)


@test()
def who_lost_even_the_roster_asks_when_a_replica_comes(stage):
    nodes = filled(stage)
    primary, (less, most) = nodes.primary, nodes.replicas
    less.stop()
    nodes.replicas = [most]
    write_all(nodes, 10)
    before, token = positions(most), primary.token("wal.db")
    primary.kill()
    lose_disk(primary, roster=False)
    nodes.replicas = [less, most]
    less.start()
    primary.start()
    has_what(primary, most)
    expect_eq(positions(primary), before, "positions of the primary")
    primary.wait_ready()
    primary.reach("wal.db", token)
    nodes.compare_all()
    write_all(nodes, 5)
    nodes.compare_all()
    for node in nodes.nodes:
        took_none(node)
        expect_eq([rows(node, name) for name in NAMES], [35, 35], node.name)


@test()
def a_directory_that_says_it_was_lost_waits_for_anybody(stage):
    nodes = filled(stage)
    primary = nodes.primary
    for node in nodes.nodes:
        node.kill()
    lose_disk(primary, roster=False)
    with open(os.path.join(primary.data, "running"), "w", encoding="utf-8"):
        pass
    primary.launch()
    until(lambda: 'event=node.asking nodes="any replica"' in
          primary.log_text(), primary.log_text)
    for node in nodes.replicas:
        node.launch()
    # Whoever opens it now waits.
    expect_eq([rows(primary, name) for name in NAMES], [20, 20])
    for node in nodes.nodes:
        node.wait_ready()
    nodes.compare_all()


@test()
def a_new_cluster_waits_for_nobody(stage):
    nodes = cluster.Cluster(stage, 1)
    nodes.primary.fetch_timeout = "60s"
    nodes.primary.configure()
    begin = time.monotonic()
    nodes.start()
    write_all(nodes, 3)
    nodes.compare_all()
    expect(time.monotonic() - begin < 20, "it waited")
    expect("node.asking" not in nodes.primary.log_text(), "it asked")
    nodes.primary.restart()
    expect("node.asking" not in nodes.primary.log_text(), "it asked")


@test()
def a_name_that_is_taken_is_not_fetched_and_the_rest_is_by_the_next_start(
        stage):
    nodes = filled(stage, 1)
    primary, replica = nodes.primary, nodes.replicas[0]
    before = positions(replica)["in/delete.db"]
    replica.stop()
    primary.kill()
    lose_disk(primary, roster=False)
    primary.start()
    write(primary, "wal.db", 7)  # before any replica came

    def comes():
        replica.launch()
        until(lambda: "replication.unknown database=in/delete.db" in
              primary.log_text() or "replication.fenced" in primary.log_text(),
              primary.log_text)
        replica.wait_ready()
    comes()
    expect(not os.path.exists(primary.path("in/delete.db")), "it is there")
    expect_eq(rows(replica, "in/delete.db"), 20)
    primary.restart()
    expect_eq(positions(primary)["in/delete.db"], before, "fetched")
    expect_eq([rows(primary, name) for name in NAMES], [7, 20])
    nodes.compare_all()
    kept = replica.status()["lost"]["newest"]
    expect_eq([one["database"] for one in kept], ["wal.db"], "kept")
    primary.restart()
    expect_eq(primary.log_text().count("node.asking"), 1, "it asked again")


@test()
def what_was_dropped_is_not_brought_back(stage):
    nodes = filled(stage, 1)
    primary, replica = nodes.primary, nodes.replicas[0]
    replica.stop()
    os.unlink(primary.path("wal.db"))
    until(lambda: list(primary.databases()) == ["in/delete.db"], "no drop")
    primary.kill()
    replica.launch()
    primary.start()
    replica.wait_ready()
    expect(not os.path.exists(primary.path("wal.db")), "it is back")
    until(lambda: not os.path.exists(replica.path("wal.db")),
          "the replica has it still")
    expect_eq(list(primary.databases()), ["in/delete.db"])
    nodes.compare_all()


@test()
def of_two_branches_the_newer_epoch_counts(stage):
    nodes = filled(stage)
    primary, (old, new) = nodes.primary, nodes.replicas
    keep_disk(primary)
    new.stop()
    nodes.replicas = [old]
    write_all(nodes, 10)  # more, and lost
    old.stop()
    old_disk(primary)
    nodes.replicas = [new]
    new.start()
    primary.start()
    write_all(nodes, 3)
    before = positions(new)
    primary.kill()
    lose_disk(primary)
    nodes.replicas = [old, new]
    old.launch()
    primary.start()
    old.wait_ready()
    expect_eq(positions(primary), before, "positions of the primary")
    expect_eq([rows(primary, name) for name in NAMES], [23, 23])
    nodes.compare_all()
    expect_eq(old.status()["lost"]["count"], len(NAMES), "put aside")
    took_none(new)


@test()
def a_name_that_is_being_fetched_is_nobody_elses(stage):
    nodes = filled(stage, 1)
    primary, replica = nodes.primary, nodes.replicas[0]
    primary.kill()
    lose_disk(primary, roster=False)
    primary.launch()
    until(lambda: "event=replication.replica " in
          primary.log_text().partition("event=node.asking")[2],
          primary.log_text)
    until(lambda: replica.status()["node"]["primary"]["connected"],
          "the replica does not follow")
    before = positions(replica)
    os.kill(replica.pid, signal.SIGSTOP)  # it has said what it has
    try:
        until(lambda: "event=replication.fetch database=wal.db" in
              primary.log_text(), primary.log_text)
        with open(primary.path("plain"), "w", encoding="utf-8") as file:
            file.write("text")
        for busy in (lambda: os.open(primary.path("wal.db"),
                                     os.O_RDWR | os.O_CREAT),
                     lambda: os.rename(primary.path("plain"),
                                       primary.path("wal.db"))):
            try:
                busy()
                raise AssertionError("it could be made")
            except OSError as error:
                expect_eq(error.errno, errno.EBUSY, str(error))
        writer = threading.Thread(target=write, args=(primary, "other.db", 5))
        writer.start()
        time.sleep(0.2)  # whatever it does by then, it waits for us
    finally:
        os.kill(replica.pid, signal.SIGCONT)
    writer.join(20)
    expect(not writer.is_alive(), "the writer waits for ever")
    expect_eq({name: positions(primary)[name] for name in NAMES}, before)
    nodes.compare_all()
    expect_eq(rows(replica, "other.db"), 5)
    took_none(replica)
