"""A primary that is given an older disk, as after a power cut, or a new one; and
what it is compared by."""
import os
import shutil

import sql
from runner import until

NAMES = ("wal.db", "in/delete.db")
MODES = {"wal.db": "wal", "in/delete.db": "delete"}


def write(node, name, rows, **more):
    with sql.connect(node.path(name), journal_mode=MODES.get(name, "delete"),
                     **more) as db:
        db.execute("CREATE TABLE IF NOT EXISTS t(id INTEGER PRIMARY KEY, v)")
        for _ in range(rows):
            db.execute("INSERT INTO t(v) VALUES (randomblob(300))")


def write_all(nodes, rows):
    os.makedirs(nodes.primary.path("in"), exist_ok=True)
    for name in NAMES:
        write(nodes.primary, name, rows)
        nodes.settle(name)


def rows(node, name):
    return sql.look(node.path(name), "SELECT count(*) FROM t")


def positions(node):
    return {name: [one["position"][what] for what in ("epoch_id", "txid", "sum")]
            for name, one in node.databases().items()}


def keep_disk(node):
    """The data directory as it is now, of a node that runs and is at rest."""
    shutil.rmtree(node.home + "/old", ignore_errors=True)
    shutil.copytree(node.data, node.home + "/old", symlinks=True,
                    ignore=lambda folder, names:
                    [name for name in names if name == "control.sock"])


def old_disk(node):
    """The node was killed, and has an older disk now."""
    node.kill()
    shutil.rmtree(node.data)
    shutil.move(node.home + "/old", node.data)


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


def knows(primary, *replicas):
    until(lambda: sorted(one["id"] for one in primary.status()["replicas"]) ==
          sorted(one.name for one in replicas) and
          os.path.exists(os.path.join(primary.data, "roster.json")),
          "the primary does not know its replicas")
