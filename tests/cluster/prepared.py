"""A commit that is prepared and not decided: the replicas have it, nobody
sees it, and whatever ends meanwhile, it is decided the same way everywhere."""
import os

import cluster
import held
import records
import runner
import sql
from runner import expect, expect_eq, test, until

NAME = "app.db"
ROW = "INSERT INTO rows VALUES ('held')"


def begin(stage):
    """A database in mode DELETE with a row, the same everywhere."""
    nodes = cluster.Cluster(stage, 1).start()
    with sql.connect(nodes.primary.path(NAME),
                     journal_mode="delete") as connection:
        connection.execute("CREATE TABLE rows(name)")
        connection.execute("INSERT INTO rows VALUES ('before')")
    nodes.settle(NAME)
    nodes.copied = copies(nodes)
    return nodes


def copies(nodes):
    """How often the replica was told to take a copy."""
    (replica,) = nodes.replicas
    return replica.copies(NAME)


def kill(node):
    """kill -9; in classic mode the kernel may hang in the dying process, which
    waits for itself, until its connection is aborted."""
    node.process.kill()
    runner.libc.umount2(os.fsencode(node.path()), runner.MNT_FORCE)
    return node.kill()


def rows(node):
    connection = sql.open_reader(node.path(NAME))
    try:
        return [name for (name,) in
                connection.execute("SELECT name FROM rows ORDER BY rowid")]
    finally:
        connection.close()


def stream(nodes):
    """What the primary heard of the replica; {} when it is not connected."""
    for replica in nodes.primary.status()["replicas"]:
        for one in replica["databases"]:
            if one["database"] == NAME and replica["connected"]:
                return one
    return {}


def hold(nodes):
    """A commit that the replica has durable: its TXID and the application."""
    commit = held.Commit(nodes.primary.path(NAME), ROW)
    nodes.stage.closers.append(commit.worker.kill)
    commit.wait_held()
    txid = nodes.primary.databases()[NAME]["position"]["txid"] + 1
    wait_durable(nodes, txid)
    return commit, txid


def wait_durable(nodes, txid):
    until(lambda: stream(nodes).get("durable_txid") == txid,
          lambda: "the replica does not have TXID %d durable: %s" %
          (txid, stream(nodes)))


def is_invisible(nodes, txid):
    """Counted as received and durable, and yet nothing happened."""
    (replica,) = nodes.replicas
    seen = stream(nodes)
    expect_eq((seen["received_txid"], seen["durable_txid"],
               seen["applied_txid"]), (txid, txid, txid - 1), "acks")
    known = replica.databases()[NAME]
    position = known["position"]
    expect_eq(known["behind_txids"], 0, "the replica has all there is: behind")
    expect_eq(position["txid"], txid - 1, "the replica's TXID")
    expect_eq(position["received_txid"], txid - 1, "where it would go on")
    expect_eq(rows(replica), ["before"], "rows on the replica")


def ends_with(nodes, want, seconds=20):
    for node in nodes.nodes:
        node.check_alive()
    nodes.compare(NAME, seconds)
    for node in nodes.nodes:
        expect_eq(rows(node), want, "rows on " + node.name)
    with sql.connect(nodes.primary.path(NAME)) as connection:
        connection.execute("INSERT INTO rows VALUES ('after')")
    nodes.compare(NAME, seconds)
    expect_eq(copies(nodes), nodes.copied, "a copy was needed: copies")


@test()
def a_prepared_commit_is_durable_elsewhere_and_visible_nowhere(stage):
    nodes = begin(stage)
    commit, txid = hold(nodes)
    is_invisible(nodes, txid)
    commit.release()
    ends_with(nodes, ["before", "held"])
    for node in nodes.nodes:
        expect_eq([what for what in records.decisions(node, NAME)
                   if what[1] == txid],
                  [("prepared", txid), ("commit", txid)],
                  "the log of " + node.name)


@test()
def a_replica_that_restarts_gets_the_prepared_commit_again(stage):
    nodes = begin(stage)
    (replica,) = nodes.replicas
    commit, txid = hold(nodes)
    kill(replica).start()
    wait_durable(nodes, txid)
    is_invisible(nodes, txid)
    replica.restart()
    wait_durable(nodes, txid)
    commit.release()
    ends_with(nodes, ["before", "held"])
    expect_eq([what for what in records.decisions(replica, NAME)
               if what[1] == txid],
              3 * [("prepared", txid)] + [("commit", txid)],
              "the older ones are void, and the RESOLVE is of the last")


def primary_dies(nodes, journal_stays):
    """The daemon, and the application with it; the power cut may have taken
    the journal's name, or not."""
    commit, txid = hold(nodes)
    kill(nodes.primary)
    commit.kill()
    journal = nodes.primary.file(NAME + "-journal")
    expect(os.path.getsize(journal) > 0, "the journal is not there")
    if not journal_stays:
        os.unlink(journal)
    nodes.primary.start()
    return txid


@test()
def a_primary_that_restarts_with_the_journal_aborts_it_everywhere(stage):
    nodes = begin(stage)
    txid = primary_dies(nodes, True)
    ends_with(nodes, ["before"])
    expect(("abort", txid) in records.decisions(nodes.replicas[0], NAME),
           "the replica was not told")


@test()
def a_primary_that_restarts_without_the_journal_commits_it_everywhere(stage):
    nodes = begin(stage)
    txid = primary_dies(nodes, False)
    ends_with(nodes, ["before", "held"])
    expect(("commit", txid) in records.decisions(nodes.replicas[0], NAME),
           "the replica was not told")


@test()
def both_die_with_it_and_agree_again(stage):
    nodes = begin(stage)
    (replica,) = nodes.replicas
    commit, txid = hold(nodes)
    kill(replica)
    kill(nodes.primary)
    commit.kill()
    replica.start()
    expect_eq(rows(replica), ["before"], "rows before the primary decides")
    nodes.primary.start()
    ends_with(nodes, ["before"])
    for node in nodes.nodes:
        expect_eq(records.decisions(node, NAME)[-1][1] > txid, True,
                  "TXID %d is gone for good on %s" % (txid, node.name))
