"""Power that fails: a run on disks that keep a trace, cut afterwards at the
syncs of each; a node on what is left comes back with what was promised."""
import collections
import os
import signal

import cluster
import power
import records
import sql
from runner import LONG, expect, expect_eq, test

STEPS = 40
# States of each test; 0: every one there is.
CUTS = int(os.environ.get("CUTS", 1000 if LONG else 40))
FEWER = (CUTS + 1) // 2  # where a state takes two nodes, or two states
LIMIT = 120 if CUTS == 40 else 3600  # seconds
BETWEEN = 200  # cuts between two syncs
# With NORMAL what the last checkpoint has not synced. With FULL SQLite does not
# sync the folder after it has deleted a journal (EXTRA does): the journal of
# the last commit may be there again, and takes it back.
MAY_LOSE = {"normal.db": 10 ** 9, "delete.db": 1}


class Verdicts:
    """Goes on after a state that fails, and tells of all of them."""

    def __init__(self, stage):
        self.stage, self.bad, self.good = stage, [], 0

    def judge(self, function, cut, *arguments):
        try:
            function(cut, *arguments)
            self.good += 1
        except (AssertionError, power.sqlite3.Error, OSError) as error:
            self.bad.append((cut, error))
            self.stage.say("BAD", *cut, str(error)[:4000])

    def close(self):
        self.stage.say(self.good, "states are as they must be")
        expect(not self.bad, "%d of %d states are not" %
               (len(self.bad), self.good + len(self.bad)))


def spare(recording, name, primary_port):
    """A replica for states, while or after the recorded one ran."""
    return cluster.Node(recording.stage, name, cluster.free_ports(1)[0],
                        primary_port)


def check_primary(node, said):
    databases = node.databases()
    for name, told in said.items():
        expect(name in databases, "%s is not known any more" % name)
        expect_eq(databases[name]["lineage"], told.lineage,
                  "%s is another database" % name)
        may_lose = MAY_LOSE.get(name, 0)
        seen = power.look(node.path(name))
        expect(seen is not None, "%s has lost its tables" % name)
        power.check_acknowledged(name, told.commits, seen, may_lose)
    if os.path.exists(node.path(power.COMES_AND_GOES)):
        power.look(node.path(power.COMES_AND_GOES))


@test(seconds=LIMIT, sample=True)
def a_primary_whose_power_failed_has_all_that_was_told(stage):
    recording = power.Recording(stage, STEPS)
    node = recording.stopped_primary()
    verdicts = Verdicts(stage)

    def one(cut):
        with recording.on(node, "primary", cut):
            check_primary(node, recording.acknowledged(cut))
    for cut in recording.cuts("primary", CUTS):
        verdicts.judge(one, cut)
    verdicts.close()


@test(seconds=LIMIT, sample=True)
def a_run_of_200_transactions_recovers_from_every_state_between_its_syncs(
        stage):
    recording = power.Recording(stage, 200, {"full.db": ("wal", "full")}, 0)
    node = recording.stopped_primary()
    verdicts = Verdicts(stage)

    def one(cut):
        with recording.on(node, "primary", cut):
            check_primary(node, recording.acknowledged(cut))
    for cut in recording.cuts("primary", CUTS, BETWEEN):
        verdicts.judge(one, cut)
    verdicts.close()


@test(seconds=LIMIT, sample=True)
def power_that_fails_again_while_a_node_recovers_loses_no_more(stage):
    recording = power.Recording(stage, STEPS)
    node = recording.stopped_primary()
    verdicts = Verdicts(stage)

    def one(cut):
        said = recording.acknowledged(cut)
        out = stage.path("twice")
        with recording.on(node, "primary", cut) as disk:
            check_primary(node, said)
            node.kill()
            kinds = [event.kind for event in disk.events()]
            again = stage.rng.randint(kinds.index("base") + 1, len(kinds))
            disk.cut(again, *cut[1:], out)
        with power.running(stage, node, out, "third"):
            check_primary(node, said)
    for cut in recording.cuts("primary", FEWER):
        verdicts.judge(one, cut)
    verdicts.close()


@test(seconds=LIMIT, sample=True)
def calls_that_fail_before_the_power_does_lose_nothing(stage):
    """Calls for what is the node's own fail under load, syncs above all; then
    the power. What a failed sync had to make durable no later one does."""
    recording = power.Recording(
        stage, STEPS, comes_and_goes=0, weather={"primary": "db/*", "replica1": "*"},
        extra="log: { retain: 1MiB }\n")
    primary = recording.nodes.primary
    second = spare(recording, "replica2", primary.port)
    recording.nodes.replicas = [second]
    verdicts = Verdicts(stage)

    def one(cut):
        with recording.on(primary, "primary", cut):
            check_primary(primary, recording.acknowledged(cut))

    def other(cut):
        with recording.on(second, "replica1", cut):
            check_durable(second, recording.durable(cut))
            recording.nodes.compare_all(20)
    for cut in recording.cuts("replica1", FEWER):
        verdicts.judge(other, cut)
    recording.nodes.replicas = []
    recording.stopped_primary()
    for cut in recording.cuts("primary", CUTS):
        verdicts.judge(one, cut)
    verdicts.close()


# ---- the replica ----------------------------------------------------------------

def check_durable(node, said):
    """What it had called durable it still has, in its log at least. A commit
    that was prepared there counts (docs/status.md)."""
    databases = node.databases()
    for name, txid in said.items():
        if name == power.COMES_AND_GOES:
            continue
        expect(name in databases, "%s is not known any more" % name)
        have = databases[name]["position"]["received_txid"]
        expect(have >= txid or
               ("prepared", txid) in records.decisions(node, name), "%s: TXID %d was durable, %d is there"
               % (name, txid, have))


def check_prefix(node, primary_rows):
    """What a replica shows before it has heard of anybody: nothing, or what
    the primary had at some time."""
    for name, (last, rows) in primary_rows.items():
        if not os.path.exists(node.path(name)):
            continue
        seen = power.look(node.path(name))
        if seen is None:
            continue
        expect(seen[0] <= last, "%s: commit %d of %d" % (name, seen[0], last))
        for number, unique in seen[1].items():
            expect(rows.get(number, unique) == unique,
                   "%s: commit %d is another" % (name, number))


def replica_on_each_cut(recording):
    stage, primary = recording.stage, recording.nodes.primary
    node = spare(recording, "replica2", primary.port)
    rows = {name: power.look(primary.path(name)) for name in recording.kinds}
    recording.nodes.replicas = [node]
    verdicts = Verdicts(stage)

    def one(cut):
        os.kill(primary.pid, signal.SIGSTOP)
        try:
            with recording.on(node, "replica1", cut):
                check_durable(node, recording.durable(cut))
                check_prefix(node, rows)
                os.kill(primary.pid, signal.SIGCONT)
                recording.nodes.compare_all()
        finally:
            os.kill(primary.pid, signal.SIGCONT)
    for cut in recording.cuts("replica1", FEWER):
        verdicts.judge(one, cut)
    recording.nodes.replicas = []
    verdicts.close()


@test(seconds=LIMIT, sample=True)
def a_replica_whose_power_failed_shows_a_prefix_and_catches_up(stage):
    replica_on_each_cut(power.Recording(stage, STEPS))


@test(seconds=LIMIT, sample=True)
def a_replica_whose_power_failed_in_a_copy_shows_a_prefix_and_catches_up(stage):
    recording = power.Recording(stage, 3, comes_and_goes=0, is_copied=True)
    expect(set(recording.copied) == set(recording.kinds), "no copies: %s"
           % recording.copied)
    replica_on_each_cut(recording)


@test(seconds=120)
def a_replica_that_left_its_files_in_order_knows_them_after_a_power_cut(stage):
    """SQLite deletes a WAL and syncs no folder: it must not come back and look
    like somebody else's."""
    recording = power.Recording(stage, 3, comes_and_goes=0)
    primary = recording.nodes.primary
    node = spare(recording, "replica2", primary.port)
    recording.nodes.replicas = [node]
    verdicts = Verdicts(stage)
    end = len(recording.traces["replica1"])

    def one(cut):
        with recording.on(node, "replica1", cut):
            recording.nodes.compare_all()
            expect_eq(node.status()["lost"]["count"], 0, "put aside")
            expect_eq(node.copies(), 0, "copies")
    for fate in power.faultfs.FATES:
        for kind in power.faultfs.KINDS:
            verdicts.judge(one, power.Cut(
                end, fate, stage.rng.randrange(1 << 32), kind))
    recording.nodes.replicas = []
    verdicts.close()


# ---- both -----------------------------------------------------------------------

def commit_once(node):
    """Also where the first commit was lost, and the file is empty again:
    replicas hear of that by the next one."""
    for name in node.databases():
        with sql.connect(node.path(name)) as connection:
            with sql.transaction(connection):
                connection.execute("CREATE TABLE IF NOT EXISTS again(v)")
                connection.execute("INSERT INTO again VALUES (1)")


@test(seconds=LIMIT, sample=True)
def a_replica_that_lived_on_agrees_with_a_primary_whose_power_failed(stage):
    recording = power.Recording(stage, STEPS)
    pair = recording.nodes
    recording.stopped_primary()
    node = spare(recording, "replica2", pair.primary.port)
    pair.replicas = [node]
    verdicts, copies = Verdicts(stage), collections.Counter()

    def one(cut):
        lives = power.Cut(recording.moment(cut, "primary", "replica1"), "kept",
                          0, "strict")
        said = recording.acknowledged(cut)
        with recording.on(pair.primary, "primary", cut), \
                recording.on(node, "replica1", lives):
            check_primary(pair.primary, said)
            commit_once(pair.primary)
            # A database that the primary has lost before it was durable there
            # stays on the replica: docs/limits.md.
            for name in pair.primary.databases():
                pair.compare(name, 20)
            copied = power.copies_in(pair.primary.log_text())
            copies.update(copied)
            # All of its commits are there, by the names that they had.
            expect("full.db" not in recording.durable(lives) or
                   "full.db" not in copied,
                   "full.db is copied: %s" % pair.primary.log_text())
    for cut in recording.cuts("primary", FEWER):
        verdicts.judge(one, cut)
    pair.replicas = []
    stage.say("copied again:", dict(copies))
    verdicts.close()
