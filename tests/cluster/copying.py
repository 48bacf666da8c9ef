"""Replicas of a source that changes all the time: one that is new, and one
that is killed while its own file is behind its WAL."""
import glob
import os
import random
import re

import cluster
import sql
import workers
from runner import expect_eq, test, until

ROWS, ROW_BYTES = 3000, 8000


def change(control, path, seed):
    """Rows here and there, so that pages change before and after they are
    read for a copy; and new ones, of pages that are written this once."""
    rng, did = random.Random(seed), 0
    with sql.connect(path, synchronous="normal") as db:
        while control.running():
            with sql.transaction(db):
                db.execute("UPDATE t SET v = randomblob(?) WHERE id = ?",
                           (ROW_BYTES, rng.randrange(ROWS)))
                db.execute("INSERT INTO done VALUES (randomblob(3000))")
            did += 1
    return did


def changing(stage, nodes):
    """A database of some size, and who changes it."""
    path = nodes.primary.path("app.db")
    with sql.connect(path, journal_mode="wal") as db:
        db.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, v BLOB)")
        db.execute("CREATE TABLE done(v BLOB)")
        with sql.transaction(db):
            db.executemany("INSERT INTO t VALUES (?, randomblob(?))",
                           [(n, ROW_BYTES) for n in range(ROWS)])
    nodes.primary.token("app.db")
    writer = workers.Worker(change, path, stage.rng.random())
    until(lambda: writer.count() > 100, "nobody writes")
    return writer


@test(seconds=90, sample=True)
def a_copy_made_under_load_is_right_at_its_first_attempt(stage):
    nodes = cluster.Cluster(stage, 0).start()
    writer = changing(stage, nodes)
    replica = nodes.add_replica().start()

    def log_says(pattern):
        return re.findall(pattern, replica.log_text())
    until(lambda: (replica.databases().get("app.db") or {}).get(
        "position", {}).get("txid", 0) > 0 or
          replica.copies() > 1, "no copy under load", 40)
    expect_eq(log_says(r"replication\.resync .*reason=(\S+)"), [],
              "copies that were refused")
    expect_eq(replica.copies(), 1, "copies")
    stage.say(writer.stop(), "commits")
    nodes.compare("app.db", 30)


@test(seconds=120, sample=True)
def a_killed_replica_redoes_all_that_its_file_has_not(stage):
    """It alone keeps little of its log: the primary has what it misses."""
    nodes = cluster.Cluster(stage, 0).start()
    replica = cluster.Node(stage, "replica1", cluster.free_ports(1)[0],
                           nodes.primary.port, extra="log: { retain: 1MiB }\n")
    nodes.replicas = [replica.start()]
    writer = changing(stage, nodes)
    replica.reach("app.db", nodes.primary.token("app.db"))
    copies = replica.copies()

    def meta():
        """Changes when it notes how far its file is, after a checkpoint;
        the records that came meanwhile are then in the WAL alone."""
        (path,) = glob.glob(os.path.join(replica.data, "db/*/meta"))
        facts = os.stat(path)
        return facts.st_ino, facts.st_mtime_ns
    for _ in range(3):
        before = meta()
        until(lambda: meta() != before, "no checkpoints", 40, 0.001)
        replica.kill().start()
    stage.say(writer.stop(), "commits")
    nodes.compare("app.db", 30)
    expect_eq(replica.copies(), copies, "copies, when the log has it all")
