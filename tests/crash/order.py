"""What comes before what: the log before a reader sees it, the sync before it
is called durable, the hashes of a recovered primary before its next commit."""
import os
import re
import signal
import time

import chain
import cluster
import sql
import workers
from runner import expect, expect_eq, test, until

NAME = "app.db"


def prepare(stage):
    nodes = cluster.pair(stage)
    with sql.connect(nodes.primary.path(NAME), journal_mode="wal") as db:
        chain.create(db, stage.rng)
    nodes.settle(NAME)
    return nodes


def commit(nodes, rng, count=1):
    """Records of their own: a token is an answer after the commit."""
    with sql.connect(nodes.primary.path(NAME)) as db:
        for _ in range(count):
            with sql.transaction(db):
                chain.extend(db, rng, rng.randbytes(8).hex(), 5)
            nodes.primary.token_by_file(NAME)


def watch(control, path, seen):
    """Writes down the newest that it sees, on one connection: in
    passthrough mode that goes on when the daemon is gone."""
    reader = sql.open_reader(path)
    try:
        with open(seen, "w", encoding="ascii") as file:
            while control.running():
                n = sql.one(reader, "SELECT n FROM head")
                file.seek(0)
                file.write("%08d" % n)
                file.flush()
    except sql.sqlite3.OperationalError:
        while control.running():
            time.sleep(0.01)
    reader.close()


def number_in(path):
    with open(path, encoding="ascii") as file:
        return int(file.read() or "0")


@test(seconds=60)
def what_a_reader_of_a_replica_saw_is_in_its_log(stage):
    nodes = prepare(stage)
    primary, replica = nodes.nodes
    commit(nodes, stage.rng, 3)
    nodes.settle(NAME)
    replica.restart("log.append=6:KILL")
    nodes.settle(NAME)
    seen = stage.path("seen")
    watcher = workers.Worker(watch, replica.path(NAME), seen)
    until(lambda: os.path.exists(seen) and number_in(seen) == 3,
          "nobody looks")
    for _ in range(8):
        before = number_in(seen)
        commit(nodes, stage.rng)
        until(lambda: number_in(seen) > before or
              replica.process.poll() is not None, "neither seen nor dead", 10)
    expect_eq(replica.process.wait(10), -signal.SIGKILL, "status of its end")
    replica.process = None
    looks = watcher.count()
    until(lambda: watcher.count() > looks + 2, "it looks no more")
    watcher.stop()
    last = number_in(seen)
    expect(last > 3, "nothing was seen")
    os.kill(primary.pid, signal.SIGSTOP)  # it cannot help
    try:
        replica.start()
        n = sql.look(replica.path(NAME), "SELECT n FROM head")
    finally:
        os.kill(primary.pid, signal.SIGCONT)
    expect(n >= last, "went back to n=%d from %d" % (n, last))
    nodes.compare(NAME)


@test(seconds=60)
def what_cannot_be_synced_is_not_called_durable(stage):
    """Neither the log nor the copy that comes when that has failed."""
    nodes = prepare(stage)
    primary, (replica,) = nodes.primary, nodes.replicas
    replica.restart("log.sync=1+:EIO,incoming.sync=1+:EIO")
    before = replica.databases()[NAME]["position"]["txid"]
    commit(nodes, stage.rng, 20)
    last = primary.databases()[NAME]["position"]["txid"]
    for site in ("log.sync", "incoming.sync"):
        until(lambda: site in replica.log_text(), "%s is not tried" % site)

    def durable():
        (told,) = primary.status()["replicas"][0]["databases"]
        return (replica.databases()[NAME]["position"]["durable_txid"],
                told["durable_txid"] or 0)
    expect(max(durable()) <= before, "durable without a sync: %s, and it was %d"
           % (durable(), before))
    replica.restart()
    until(lambda: durable() == (last, last), lambda: "not durable: %s of %d"
          % (durable(), last))


@test(seconds=60)
def a_copy_is_durable_when_no_log_can_be_synced(stage):
    nodes = prepare(stage)
    replica = nodes.replicas[0]
    replica.restart("log.sync=1+:EIO")
    commit(nodes, stage.rng, 20)
    nodes.settle(NAME)
    where = replica.databases()[NAME]["position"]
    expect("log.sync" in replica.log_text(), "no sync was tried")
    expect_eq(where["durable_txid"], where["txid"], "durable")
    replica.kill()
    nodes.primary.stop()
    replica.start()
    expect_eq(replica.databases()[NAME]["position"]["txid"], where["txid"],
              "after a kill")


@test(seconds=60)
def a_killed_primary_goes_on_with_the_hashes_of_its_last_commit(stage):
    nodes = prepare(stage)
    primary, replica = nodes.nodes
    commit(nodes, stage.rng, 5)
    nodes.settle(NAME)
    primary.kill()
    primary.start()
    commit(nodes, stage.rng, 5)
    nodes.compare(NAME)
    resyncs = re.findall(r"event=replication\.resync .*reason=(\S+)",
                         replica.log_text())
    expect_eq(resyncs, [], "resyncs of a replica that had it all")


@test(seconds=60, modes=("passthrough",))
def nobody_reaches_a_token_of_what_is_held_back(stage):
    nodes = prepare(stage)
    replica = nodes.replicas[0]
    old = sql.open_reader(replica.path(NAME))
    commit(nodes, stage.rng)
    nodes.settle(NAME)
    old.close()
    replica.restart("apply.write=4:KILL")
    old = sql.open_reader(replica.path(NAME))
    number = sql.one(old, "SELECT n FROM head")
    for _ in range(6):  # one of them is in the log and not in the WAL
        if replica.process.poll() is None:
            commit(nodes, stage.rng)
    expect_eq(replica.process.wait(10), -signal.SIGKILL, "status of its end")
    replica.process = None
    replica.start()
    token = nodes.primary.token(NAME)
    expect_eq(replica.databases()[NAME]["state"], "held_back", "state")
    stage.say("an old connection has", sql.one(old, "SELECT n FROM head"),
              "of", replica.databases()[NAME]["position"])
    own = "%s.%x" % (token.rpartition(".")[0],
                     replica.databases()[NAME]["position"]["txid"])
    expect_eq(replica.wait(NAME, own, 0.5), 3,
              "a wait for what is held back, but in its log")
    expect(sql.one(old, "SELECT n FROM head") >= number, "it went back")
    old.close()
    replica.reach(NAME, token)
    nodes.compare(NAME)


@test(seconds=60, modes=("passthrough",))
def a_primary_gives_no_token_for_commits_that_nobody_looks_at(stage):
    nodes = prepare(stage)
    primary = nodes.primary
    with sql.connect(primary.path(NAME), synchronous="normal") as old:
        old.execute("INSERT INTO junk(v) VALUES (1)")
        nodes.settle(NAME)
        primary.kill().start()
        expect_eq(primary.databases()[NAME]["state"], "held_back", "state")
        old.execute("INSERT INTO junk(v) VALUES (2)")
        rows = sql.one(old, "SELECT count(*) FROM junk")
        done = primary.command("token", NAME)
        stage.say("token:", done.returncode, done.stdout, done.stderr)
        expect(done.returncode != 0, "a token that covers nothing of it: %s"
               % done.stdout)
    nodes.replicas[0].reach(NAME, primary.token(NAME))
    expect_eq(sql.look(nodes.replicas[0].path(NAME),
                       "SELECT count(*) FROM junk"), rows, "rows")
