"""Applications that are killed in the middle of what they do."""
import random
import uuid

import chain
import cluster
import sql
import workers
from runner import LONG, expect, test, until

ROUNDS = 120 if LONG else 14
MODES = ("wal", "delete", "truncate", "persist")


def commit_for_ever(control, path, seed):
    """Transactions of many pages: most of the time it is in the middle of
    one."""
    rng = random.Random(seed)
    with sql.connect(path, synchronous=rng.choice(("normal", "full")),
                     cache_size=20) as connection:
        while control.running():
            with sql.transaction(connection):
                for _ in range(rng.randint(1, 4)):
                    chain.extend(connection, rng,
                                 uuid.UUID(int=rng.getrandbits(128)).hex, 30)


@test(seconds=900 if LONG else 120)
def writers_that_are_killed_in_a_commit_leave_whole_commits_everywhere(stage):
    nodes = cluster.pair(stage)
    for mode in MODES:
        with sql.connect(nodes.primary.path(mode + ".db"),
                         journal_mode=mode) as connection:
            chain.create(connection, stage.rng)
    for number in range(ROUNDS):
        name = MODES[number % len(MODES)] + ".db"
        path = nodes.primary.path(name)
        writers = [workers.Worker(commit_for_ever, path, stage.rng.random())
                   for _ in range(2)]
        wanted = stage.rng.randint(1, 12)
        until(lambda: sum(one.count() for one in writers) > wanted,
              "they do not commit")
        for worker in writers:
            worker.kill()
        # Whoever comes next rolls back what was begun, as SQLite does.
        with sql.connect(path, timeout=20) as connection:
            connection.execute("SELECT count(*) FROM chain").fetchone()
            expect(sql.one(connection, "PRAGMA integrity_check") == "ok", name)
            with sql.transaction(connection):
                chain.extend(connection, stage.rng, "round%d" % number, 3)
        nodes.compare(name, 20)
