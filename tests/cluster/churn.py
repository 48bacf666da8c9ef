"""Databases that come and go all the time: made in any journal mode, deleted
under whoever has them open, while the replica dies and comes back. What the
programs see may be any error of SQLite; the nodes stay up and end equal."""
import random
import sqlite3

import cluster
import sql
import workers
from runner import LONG, expect, test, until

DATABASES = 20
MODES = ("wal", "delete", "wal", "delete", "truncate", "persist", "memory")
ROUNDS = LONG and 4000 or 400


def create(path, rng):
    connection = sqlite3.connect(path, timeout=1, isolation_level=None)
    try:
        connection.execute("PRAGMA journal_mode = " + rng.choice(MODES))
        connection.execute("PRAGMA synchronous = " +
                           rng.choice(("off", "normal", "full")))
        connection.execute("CREATE TABLE IF NOT EXISTS t(v)")
        for _ in range(rng.randint(1, 4)):
            connection.execute("INSERT INTO t VALUES (zeroblob(?))",
                               (rng.randint(1, 20000),))
    finally:
        connection.close()


def churn(control, node, seed):
    rng, errors = random.Random(seed), {}
    while control.running():
        path = node.path("c%d.db" % rng.randrange(DATABASES))
        try:
            create(path, rng)
            if rng.random() < 0.7:
                sql.remove(path)
        except (sqlite3.Error, OSError) as error:
            errors[str(error)] = errors.get(str(error), 0) + 1
    return errors


@test(seconds=LONG and 900 or 120)
def databases_that_come_and_go_end_equal(stage):
    nodes = cluster.pair(stage)
    replica = nodes.replicas[0]
    load = [workers.Worker(churn, nodes.primary, stage.rng.random())
            for _ in range(2)]
    kills = 0
    while min(one.count() for one in load) < ROUNDS:
        before = load[0].count()
        until(lambda: load[0].count() >= before + stage.rng.randint(20, 80),
              "the programs hang", 30)
        nodes.primary.check_alive()
        replica.kill().start()
        kills += 1
    errors = workers.stop(load)
    stage.say(kills, "kills,", errors)
    for number in range(DATABASES):
        path = nodes.primary.path("c%d.db" % number)
        sql.remove(path)
        create(path, random.Random(number))
    expect(len(nodes.compare_all()) == DATABASES, "some are missing")
    for node in nodes.nodes:
        node.check_alive()
