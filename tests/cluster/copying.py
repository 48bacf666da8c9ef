"""A copy that is made while its source changes."""
import random
import re

import cluster
import sql
import workers
from runner import expect_eq, test, until

ROWS, ROW_BYTES = 3000, 8000


def change(control, path, seed):
    """Rows here and there, so that pages change before and after they are
    read for a copy."""
    rng, did = random.Random(seed), 0
    with sql.connect(path, synchronous="normal") as db:
        while control.running():
            db.execute("UPDATE t SET v = randomblob(?) WHERE id = ?",
                       (ROW_BYTES, rng.randrange(ROWS)))
            did += 1
    return did


@test(seconds=90, sample=True)
def a_copy_made_under_load_is_right_at_its_first_attempt(stage):
    nodes = cluster.Cluster(stage, 0).start()
    path = nodes.primary.path("app.db")
    with sql.connect(path, journal_mode="wal") as db:
        db.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, v BLOB)")
        with sql.transaction(db):
            db.executemany("INSERT INTO t VALUES (?, randomblob(?))",
                           [(n, ROW_BYTES) for n in range(ROWS)])
    nodes.primary.token("app.db")
    writer = workers.Worker(change, path, stage.rng.random())
    until(lambda: writer.count() > 100, "nobody writes")
    replica = nodes.add_replica().start()

    def log_says(pattern):
        return re.findall(pattern, replica.log_text())
    until(lambda: (replica.databases().get("app.db") or {}).get(
        "position", {}).get("txid", 0) > 0 or
          len(log_says("mode=2")) > 1, "no copy under load", 40)
    expect_eq(log_says(r"replication\.resync .*reason=(\S+)"), [],
              "copies that were refused")
    expect_eq(len(log_says(r"replication\.open .*mode=2")), 1, "copies")
    stage.say(writer.stop(), "commits")
    nodes.compare("app.db", 30)
