"""Daemons killed at random moments under load: they come back by themselves,
equal, with every commit that an application was told of."""
import os
import random
import sqlite3
import time
import uuid

import chain
import cluster
import sql
import workers
from runner import expect, test

KILLS = int(os.environ.get("KILLS", "6"))
NAME = "app.db"


def hold_on(control, path, seed, acknowledged):
    """An application that starts over whenever it gets an error, and writes
    down outside of everything what it was told is committed."""
    rng = random.Random(seed)
    connection, errors = None, 0
    with open(acknowledged, "a", encoding="ascii") as told:
        while control.running():
            name = "%s-%d" % (uuid.UUID(int=rng.getrandbits(128)), os.getpid())
            try:
                if connection is None:
                    # mode=rw: before Linux 6.5 the bare directory shows for
                    # some microseconds while a dead mount is changed.
                    connection = sqlite3.connect(
                        "file:%s?mode=rw" % path, timeout=2, uri=True,
                        isolation_level=None)
                    connection.execute("PRAGMA synchronous=FULL")
                with sql.transaction(connection):
                    n = chain.extend(connection, rng, name)
                told.write("%d %s\n" % (n, name))
                told.flush()
            except sqlite3.Error:
                errors += 1
                if connection is not None:
                    connection.close()
                connection = None
                time.sleep(0.02)  # an application does not spin either
    return errors


def told(path):
    with open(path, encoding="ascii") as file:
        return [line.split() for line in file if line.endswith("\n")]


@test(seconds=60 + 20 * KILLS)
def killed_daemons_come_back_equal_with_all_that_was_acknowledged(stage):
    nodes = cluster.Cluster(stage, 1).start()
    with sql.connect(nodes.primary.path(NAME),
                     journal_mode="wal") as connection:
        chain.create(connection, stage.rng)
    nodes.settle(NAME)
    acknowledged = stage.path("acknowledged")
    applications = [workers.Worker(hold_on, nodes.primary.path(NAME),
                                   stage.rng.random(), acknowledged)
                    for _ in range(2)]
    for _ in range(KILLS):
        time.sleep(stage.rng.uniform(0.1, 1.0))  # the moment is the point
        node = stage.rng.choice(nodes.nodes)
        stage.say("kill", node.name)
        node.kill()
        node.start()
    before = len(told(acknowledged))
    time.sleep(0.5)
    errors = sum(workers.stop(applications))
    nodes.compare_all(seconds=30)
    with sql.connect(nodes.primary.path(NAME)) as connection:
        (last,) = connection.execute("SELECT n FROM head").fetchone()
        rows = dict(connection.execute("SELECT n, id FROM chain"))
    said = told(acknowledged)
    for n, name in said:
        expect(int(n) <= last, "commit %s is gone, the last is %d" % (n, last))
        expect(rows.get(int(n), name) == name, "commit %s is another" % n)
    stage.say(len(said), "acknowledged,", errors, "errors,", last, "commits")
    expect(len(said) > 0, "nothing was ever acknowledged")
    expect(before <= len(said), "the record shrank")
