"""A primary that lost its data directory takes what its replicas have."""
import os
import shutil
import time

import cluster
import sql
from olddisk import MODES, NAMES, knows, positions, rows, write, write_all
from runner import expect, expect_eq, test, until


def lose_disk(node, roster=True):
    """Stopped or killed, its disk is a new one; roster: but for what it knows
    of other nodes."""
    kept = os.path.join(node.data, "roster.json")
    text = None
    if roster:
        with open(kept, encoding="utf-8") as file:
            text = file.read()
    shutil.rmtree(node.data)
    os.mkdir(node.data, 0o750)
    if roster:
        with open(kept, "w", encoding="utf-8") as file:
            file.write(text)


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
