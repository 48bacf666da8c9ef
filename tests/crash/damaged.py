"""Files of ours that are not what we wrote: cut, emptied, changed in a bit,
somebody else's. A start works, or says which file it is; nothing crashes, and no
database changes by it."""
import glob
import os

import chain
import cluster
import sql
from runner import LONG, expect, expect_eq, test, until

NAME = "app.db"
SAMPLE = 10
KINDS = ("emptied", "cut", "flipped", "foreign")


def prepare(stage):
    nodes = cluster.pair(stage)
    with sql.connect(nodes.primary.path(NAME),
                     journal_mode="wal") as connection:
        chain.create(connection, stage.rng)
        for n in range(6):
            with sql.transaction(connection):
                chain.extend(connection, stage.rng, "row%d" % n, 4)
    with sql.connect(nodes.primary.path("old.db"),
                     journal_mode="delete") as connection:
        connection.execute("CREATE TABLE t(v)")
        connection.execute("INSERT INTO t VALUES ('kept')")
    nodes.compare_all()
    return nodes


def rows(path):
    return sql.look(path, "SELECT count(*), max(n) FROM chain")


def ours(node):
    """Every file of ours, by its place in the data directory."""
    found = []
    for folder, folders, names in os.walk(node.data):
        folders[:] = [name for name in folders if name not in ("files", "lost")]
        found += [os.path.join(folder, name) for name in names
                  if not name.endswith(".sock")]
    return sorted(path for path in found if os.path.getsize(path) > 0)


def damage(path, kind, rng):
    size = os.path.getsize(path)
    with open(path, "r+b") as file:
        if kind == "emptied":
            file.truncate(0)
        elif kind == "cut":
            file.truncate(rng.randrange(1, size) if size > 1 else 0)
        elif kind == "flipped":
            at = rng.randrange(size)
            file.seek(at)
            byte = file.read(1)[0] ^ (1 << rng.randrange(8))
            file.seek(at)
            file.write(bytes([byte]))
        else:
            file.write(rng.randbytes(size))


def starts_or_says_why(node, path):
    """True: it serves."""
    since = len(node.log_text())
    node.launch()

    def is_decided():
        return node.process.poll() is not None or (
            os.path.exists(os.path.join(node.data, "control.sock")) and
            node.is_answering())
    until(is_decided, "%s neither serves nor ends" % node.name, 30)
    if node.process.poll() is None:
        return True
    status, node.process = node.process.returncode, None
    expect(status > 0, "it ended with status %d" % status)
    said = node.log_text()[since:]
    expect(os.path.basename(path) in said or
           os.path.basename(os.path.dirname(path)) in said,
           "it does not say which file: %s" % said)
    return False


def lineages(node):
    return {name: one["lineage"] for name, one in node.databases().items()}


def agree(nodes):
    """A database whose past is unreadable is a new one, with the content it has:
    the replica has to hear of that before it can be asked for a token of it."""
    node = nodes.replicas[0]
    until(lambda: len(lineages(nodes.primary)) == 2 and
          lineages(node) == lineages(nodes.primary),
          lambda: "%s and %s" % (lineages(node), lineages(nodes.primary)), 30)
    nodes.compare_all(30)


def each_damage(stage, nodes, node):
    """A node that was stopped, or killed, meets one damage after the other; a
    file without which it does not start is put back."""
    want = rows(nodes.primary.path(NAME))
    for how in ("stopped", "killed"):
        for _ in range(10 * SAMPLE if LONG else SAMPLE):
            node.stop() if how == "stopped" else node.kill()
            path, kind = stage.rng.choice(ours(node)), stage.rng.choice(KINDS)
            stage.say(how, kind, os.path.relpath(path, node.data))
            with open(path, "rb") as file:
                was = file.read()
            damage(path, kind, stage.rng)
            if not starts_or_says_why(node, path):
                stage.say("  it says so, and does not start")
                with open(path, "wb") as file:
                    file.write(was)
                node.start()
            agree(nodes)
            expect_eq(rows(nodes.primary.path(NAME)), want, "rows")


@test(seconds=1200 if LONG else 150, sample=True)
def a_primary_whose_own_files_are_damaged_keeps_every_database(stage):
    nodes = prepare(stage)
    each_damage(stage, nodes, nodes.primary)


@test(seconds=1200 if LONG else 150, sample=True)
def a_replica_whose_own_files_are_damaged_becomes_equal_again(stage):
    nodes = prepare(stage)
    each_damage(stage, nodes, nodes.replicas[0])


@test()
def a_primary_that_lost_the_records_of_its_last_epochs_goes_on(stage):
    node = cluster.single(stage)
    for number in range(4):
        with sql.connect(node.path("app.db"), journal_mode="delete") as db:
            db.execute("CREATE TABLE t%d(v)" % number)
        node.token("app.db")
        node.restart()
    node.kill()
    (log,) = glob.glob(os.path.join(node.data, "db/*/log/*"))
    with open(log, "rb") as file:  # it may be made longer than it is used
        used = len(file.read().rstrip(bytes(1)))
    os.truncate(log, used * 3 // 5)
    (hashes,) = glob.glob(os.path.join(node.data, "db/*/hashes"))
    os.unlink(hashes)
    node.start()
    with sql.connect(node.path("app.db")) as db:
        db.execute("CREATE TABLE more(v)")
    before = node.databases()["app.db"]["position"]["txid"]
    node.token("app.db")
    expect_eq(sql.look(node.path("app.db"),
                       "SELECT count(*) FROM sqlite_schema"), 5, "tables")
    expect(before > 0, "no TXID")
