"""A primary that lost its data directory takes what its replicas have."""
import os

import cluster
import sql
from olddisk import MODES, NAMES, knows, lose_disk, positions, rows, write_all
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
