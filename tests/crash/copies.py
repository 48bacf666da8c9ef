"""A replica that is killed while a copy comes in, at named calls: it comes back
with what the primary has, and nothing is left of the copy that was not put in
place."""
import glob
import os
import random
import signal
import time

import chain
import cluster
import relay
import sql
import workers
from runner import LONG, expect, expect_eq, test, until

NAME = "app.db"
SITES = ("incoming.open", "incoming.write", "incoming.sync", "incoming.place",
         "replica.log", "hashes.save", "meta.save", "log.open", "apply.write",
         "delta.open", "delta.read", "incoming.keep", "readview.read")
CALLS = (1, 2, 3, 4, 7, 100)
SAMPLE = 8  # of all pairs of these


def moments(stage):
    """Each site at its first call at least; all pairs in a long run."""
    every = [(site, call) for site in SITES for call in CALLS]
    if LONG:
        return every
    first = [(site, 1) for site in SITES]
    rest = [one for one in every if one not in first]
    return stage.rng.sample(first, SAMPLE // 2) + \
        stage.rng.sample(rest, SAMPLE // 2)


def extend(path, count=3):
    rng = random.Random(os.urandom(8))
    with sql.connect(path) as connection:
        for n in range(count):
            with sql.transaction(connection):
                chain.extend(connection, rng, os.urandom(8).hex(), 5)


def prepare(stage, replicas):
    nodes = cluster.Cluster(stage, replicas).start()
    path = nodes.primary.path(NAME)
    with sql.connect(path, page_size=1024, journal_mode="wal") as connection:
        chain.create(connection, stage.rng)
        connection.execute("CREATE TABLE more(v)")
        connection.executemany("INSERT INTO more VALUES (randomblob(?))",
                               [(900,)] * 600)
    extend(path)
    return nodes


def position(node):
    one = node.databases().get(NAME)
    return one and tuple(one["position"][name]
                         for name in ("epoch_id", "txid", "sum"))


def is_dead(node):
    return node.process.poll() is not None


def answers(node):
    """Dead or alive, but not while it starts."""
    return is_dead(node) or (
        os.path.exists(os.path.join(node.data, "control.sock")) and
        node.is_answering())


def left_of_copies(node):
    """Files that are no database's when all is done: a copy that went into the
    WAL is done with the checkpoint after it."""
    return [name for word in ("*incoming", "*placing*")
            for name in glob.glob(os.path.join(node.data, "db", "*", word))]


def nothing_is_left(node):
    until(lambda: not left_of_copies(node),
          lambda: "left of the copy: %s" % left_of_copies(node))


def dies_before(node, is_done, what):
    """True: it was killed before that."""
    def over():
        try:
            return is_dead(node) or is_done()
        except AssertionError:
            return is_dead(node)  # while it was asked
    until(lambda: answers(node) and over(), lambda: "neither dead nor %s: %s"
          % (what, node.databases().get(NAME)))
    if not is_dead(node):
        return False
    expect_eq(node.process.returncode, -signal.SIGKILL, "status of its end")
    node.process = None
    return True


def dies_or_arrives(node, want, reader=None):
    """True: it was killed. At the end of a copy that went into the WAL is the
    checkpoint after it, which a reader may keep away."""
    dead = dies_before(node, lambda: position(node) == want, "at %s" % (want,))
    if reader is not None:
        reader.stop()
    return dead or dies_before(node, lambda: not left_of_copies(node),
                               "done with the copy")


def end(node):
    """An end in order, or at the moment that was not met so far."""
    node.process.terminate()
    expect(node.process.wait(20) in (0, -signal.SIGKILL),
           "%s ended with %d" % (node.name, node.process.returncode))
    node.process = None


@test(seconds=300 if LONG else 90)
def a_first_copy_that_meets_a_kill_is_made_again(stage):
    nodes = prepare(stage, 0)
    killed = 0
    for number, (site, call) in enumerate(moments(stage)):
        node = nodes.replica(number, cluster.free_ports(1)[0])
        nodes.replicas = [node]
        node.launch("%s=%d:KILL" % (site, call))
        dead = dies_or_arrives(node, position(nodes.primary))
        stage.say(site, call, "killed" if dead else "was not met")
        if dead:
            killed += 1
        else:
            end(node)
        node.start()
        nodes.compare(NAME)
        nothing_is_left(node)
        end(node)
        extend(nodes.primary.path(NAME))
    expect(killed > 0, "nothing was met")


@test(seconds=60)
def a_first_file_that_meets_a_kill_is_made_from_the_log(stage):
    nodes = cluster.pair(stage)
    replica = nodes.replicas[0]
    for site in ("incoming.write", "incoming.sync", "incoming.place"):
        replica.restart(fault="%s=1:KILL" % site)
        name = "%s.db" % site
        with sql.connect(nodes.primary.path(name)) as connection:
            chain.create(connection, stage.rng)
        until(lambda: is_dead(replica), "it lives: %s" % site)
        replica.process = None
        nodes.primary.stop()  # what the replica has by itself is the question
        replica.start()
        expect_eq(sql.look(replica.path(name), "SELECT n FROM head"), 0, site)
        expect_eq(replica.status()["lost"]["count"], 0, "put aside")
        nodes.primary.start()
    nodes.compare_all()
    expect_eq(replica.copies(), 0, "copies")


def lose_the_log(nodes):
    """The primary cannot say any more what the replica, which is away, has
    missed: it must send a copy."""
    extend(nodes.primary.path(NAME))
    nodes.primary.token(NAME)
    nodes.primary.stop().lose_the_log().start()


def keep_reading(control, path, seed):
    """Reads until the daemon is gone, and holds on to what it has."""
    reader, looks = chain.Reader(path, mapped=0), 0
    try:
        reader.open(random.Random(seed))
        while control.running():
            reader.look()
            looks += 1
    except sql.sqlite3.OperationalError:
        while control.running():
            time.sleep(0.01)
    reader.close()
    return looks


@test(seconds=600 if LONG else 120)
def a_copy_over_an_open_database_that_meets_a_kill_is_made_again(stage):
    nodes = prepare(stage, 1)
    nodes.compare(NAME)
    replica, killed = nodes.replicas[0], 0
    for site, call in moments(stage):
        end(replica)
        lose_the_log(nodes)
        want = position(nodes.primary)
        os.kill(nodes.primary.pid, signal.SIGSTOP)
        try:
            replica.launch("%s=%d:KILL" % (site, call))
            until(lambda: answers(replica), "does not answer")
            reader = None if is_dead(replica) else workers.Worker(
                keep_reading, replica.path(NAME), stage.rng.random())
            if reader is not None:
                until(lambda: reader.count() > 2 or reader.is_over() or
                      is_dead(replica), "cannot read")
        finally:
            os.kill(nodes.primary.pid, signal.SIGCONT)
        dead = dies_or_arrives(replica, want, reader)
        stage.say(site, call, "killed" if dead else "was not met")
        if dead:
            killed += 1
        else:
            end(replica)
        replica.start()
        until(lambda: position(replica) == want, lambda: "not at %s: %s"
              % (want, replica.databases().get(NAME)))
        nodes.compare(NAME)
        nothing_is_left(replica)
    end(replica)  # the last moment may be met only now
    expect(killed > 0, "nothing was met")


def keep_a_sight(control, path):
    """One read transaction, as long as it is wished: no checkpoint gets past
    it."""
    connection = sql.open_reader(path, 10)
    connection.execute("BEGIN")
    sql.one(connection, "SELECT n FROM head")
    while control.running():
        time.sleep(0.01)
    connection.close()


@test(seconds=90)
def a_copy_that_no_checkpoint_has_yet_outlives_a_kill(stage):
    """Two of them, one after the other, each in the WAL alone."""
    nodes = prepare(stage, 0)
    between = relay.Relay(stage, nodes.primary.port)
    replica = cluster.Node(stage, "replica1", cluster.free_ports(1)[0],
                           between.port)
    nodes.replicas = [replica.start()]
    nodes.compare(NAME)
    reader = workers.Worker(keep_a_sight, replica.path(NAME))
    until(lambda: reader.count() > 2, "cannot read")
    before = replica.copies()
    for number in (1, 2):
        between.closed = True
        nodes.primary.stop().start()
        lose_the_log(nodes)
        between.open()
        want = position(nodes.primary)
        until(lambda: position(replica) == want, "the copy does not arrive")
        extend(nodes.primary.path(NAME))
        nodes.settle(NAME)
        expect_eq(replica.copies() - before, number, "copies")
        expect(left_of_copies(replica), "it was checkpointed")
    durable = replica.databases()[NAME]["position"]["durable_txid"]
    replica.kill()
    reader.kill()
    nodes.primary.stop()  # what the replica has by itself is the question
    replica.start()
    one = replica.databases()[NAME]
    expect(one["position"]["txid"] >= (durable or 0),
           "TXID %s was durable, %s is there" % (durable, one["position"]))
    expect_eq(replica.status()["lost"]["count"], 0, "put aside")
    nodes.primary.start()
    nodes.compare(NAME)
    expect_eq(replica.copies() - before, 2, "copies")
    nothing_is_left(replica)
