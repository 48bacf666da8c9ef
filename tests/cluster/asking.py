"""A primary that did not stop in order asks its replicas before it serves: what
they have more of its own history comes back."""
import os
import time

import cluster
import sql
from olddisk import MODES, NAMES, keep_disk, knows, old_disk, positions, \
    rows, write, write_all
from runner import expect, expect_eq, test, until


@test()
def what_a_replica_has_more_comes_back(stage):
    nodes = cluster.pair(stage)
    primary, replica = nodes.primary, nodes.replicas[0]
    knows(primary, replica)
    write_all(nodes, 20)
    keep_disk(primary)
    write_all(nodes, 30)
    with sql.connect(primary.path("wal.db")) as db:
        db.execute("INSERT INTO t(v) VALUES (randomblob(9000000))")  # in parts
    nodes.settle("wal.db")
    before = positions(replica)
    old_disk(primary)
    primary.start()
    for name in NAMES:
        expect_eq(rows(primary, name), 51 if name == "wal.db" else 50, name)
        expect_eq(sql.look(primary.path(name), "PRAGMA journal_mode"),
                  MODES[name], name)
    expect_eq(positions(primary), before, "positions of the primary")
    expect(primary.log_text().count("fetched from a replica") == 2,
           primary.log_text())
    nodes.compare_all()
    expect_eq(positions(replica), before, "positions of the replica")
    write_all(nodes, 5)
    expect_eq(rows(replica, "wal.db"), 56)
    nodes.compare_all()
    expect("replication.diverged" not in replica.log_text(), "a copy was sent")
    expect_eq(replica.status()["lost"]["count"], 0, "put aside")


@test()
def nothing_is_verified_while_a_primary_asks(stage):
    nodes = cluster.pair(stage)
    primary, replica = nodes.primary, nodes.replicas[0]
    primary.fetch_timeout = "60s"
    primary.configure()
    knows(primary, replica)
    write_all(nodes, 20)
    keep_disk(primary)
    write_all(nodes, 30)
    replica.kill()
    old_disk(primary)
    primary.launch()
    until(lambda: "node.asking" in primary.log_text(), "it does not ask")
    # The mount does not answer yet: whoever reads through it waits for ever.
    for name in NAMES:
        done = primary.command("verify", name)
        expect_eq(done.returncode, 1, done.stdout + done.stderr)
        expect("asks its replicas" in done.stderr, done.stderr)
    replica.start()
    primary.wait_ready()
    for name in NAMES:
        expect_eq(rows(primary, name), 50, name)
        expect("ok" in primary.ask("verify", name), name)
    nodes.compare_all()


@test()
def with_nothing_more_to_fetch_nobody_waits(stage):
    nodes = cluster.Cluster(stage, 1)
    nodes.primary.fetch_timeout = "30s"
    nodes.primary.configure()
    nodes.start()
    knows(nodes.primary, nodes.replicas[0])
    write_all(nodes, 20)
    nodes.primary.kill()
    begin = time.monotonic()
    nodes.primary.start()
    expect("event=node.asking nodes=replica1" in nodes.primary.log_text(),
           "it did not ask")
    expect(time.monotonic() - begin < 8, "it waited for the time to be up")
    nodes.compare_all()


@test(modes=("classic",))
def after_an_orderly_stop_nobody_is_asked(stage):
    nodes = cluster.Cluster(stage, 1)
    nodes.primary.fetch_timeout = "30s"
    nodes.primary.configure()
    nodes.start()
    knows(nodes.primary, nodes.replicas[0])
    write_all(nodes, 2)
    nodes.replicas[0].stop()
    nodes.primary.stop().start()
    expect("node.asking" not in nodes.primary.log_text(), "it asked")


@test(modes=("classic",))
def one_that_knows_no_replica_asks_nobody(stage):
    node = cluster.single(stage)
    with sql.connect(node.path("a.db"), journal_mode="wal") as db:
        db.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, v)")
    node.kill().start()
    expect("node.asking" not in node.log_text(), "it asked")


@test()
def it_waits_for_a_bounded_time_and_says_so(stage):
    nodes = cluster.Cluster(stage, 1)
    nodes.primary.fetch_timeout = "4s"
    nodes.primary.configure()
    nodes.start()
    primary, replica = nodes.primary, nodes.replicas[0]
    knows(primary, replica)
    write_all(nodes, 20)
    replica.stop()
    primary.kill().launch()

    def asks():
        status = primary.command("status", "--json")
        return status.returncode == 0 and '"asking"' in status.stdout
    until(asks, "status does not say that it asks", 10)
    node = primary.status()["node"]
    expect_eq((node["phase"], node["health"]), ("asking", "degraded"))
    expect("s left to hear from replica1" in node["problems"][0],
           str(node["problems"]))
    token = primary.command("token", "wal.db")
    expect(token.returncode == 1 and "asks its replicas" in token.stderr,
           token.stderr)
    write(primary, "wal.db", 1)  # waits until it serves
    primary.wait_ready()
    expect("event=replication.not_asked nodes=replica1" in primary.log_text(),
           primary.log_text())
    expect_eq(rows(primary, "wal.db"), 21)
    replica.start()
    nodes.compare_all()


@test(modes=("classic",))
def a_stop_while_it_asks_is_in_order_and_the_next_start_asks_again(stage):
    nodes = cluster.Cluster(stage, 1)
    nodes.primary.fetch_timeout = "60s"
    nodes.primary.configure()
    nodes.start()
    primary, replica = nodes.primary, nodes.replicas[0]
    knows(primary, replica)
    write_all(nodes, 20)
    keep_disk(primary)
    write_all(nodes, 20)
    replica.stop()
    old_disk(primary)
    primary.launch()
    until(lambda: "node.asking" in primary.log_text(), "it does not ask")
    until(lambda: primary.command("status").returncode == 0, "no status")
    primary.stop()
    primary.launch()
    until(lambda: primary.log_text().count("node.asking") == 2,
          "it does not ask again")
    replica.start()
    primary.wait_ready()
    expect_eq([rows(primary, name) for name in NAMES], [40, 40])
    nodes.compare_all()


@test()
def the_one_who_has_most_is_asked(stage):
    nodes = cluster.Cluster(stage, 2).start()
    primary, (less, most) = nodes.primary, nodes.replicas
    knows(primary, less, most)
    write_all(nodes, 10)
    keep_disk(primary)
    write_all(nodes, 10)
    less.stop()
    nodes.replicas = [most]
    write_all(nodes, 10)
    before = positions(most)
    nodes.replicas = [less, most]
    old_disk(primary)
    less.launch()
    primary.start()
    less.wait_ready()
    expect_eq(positions(primary), before, "positions of the primary")
    expect_eq([rows(primary, name) for name in NAMES], [30, 30])
    nodes.compare_all()
    for one in nodes.replicas:
        expect_eq(one.status()["lost"]["count"], 0, "put aside")


@test()
def a_replica_that_becomes_the_primary_asks_the_old_one(stage):
    nodes = cluster.pair(stage)
    old, new = nodes.primary, nodes.replicas[0]
    write_all(nodes, 10)
    until(lambda: os.path.exists(os.path.join(new.data, "roster.json")),
          "no roster")
    new.stop()
    nodes.replicas = []
    write_all(nodes, 10)
    old.stop()
    old.primary_port = new.primary_port = new.port
    for node in (old, new):
        node.fetch_timeout = "20s"
        node.configure()
    old.launch()
    new.start()
    old.wait_ready()
    expect_eq([rows(new, name) for name in NAMES], [20, 20])
    nodes.primary, nodes.replicas = new, [old]
    nodes.compare_all()
    write(new, "wal.db", 3)
    nodes.compare_all()
