"""Power that fails: a run on disks that keep a trace, cut afterwards at the
syncs of each; a node on what is left comes back with what was promised."""
import os

import cluster
import power
from runner import LONG, expect, test

STEPS = 120 if LONG else 40
CUTS = None if LONG else int(os.environ.get("CUTS", "60"))
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
            self.stage.say("BAD", *cut, str(error)[:400])

    def close(self):
        self.stage.say(self.good, "states are as they must be")
        expect(not self.bad, "%d of %d states are not" %
               (len(self.bad), self.good + len(self.bad)))


def spare(recording, name, primary_port=None):
    """A node for states."""
    node = cluster.Node(recording.stage, name, cluster.free_ports(1)[0],
                        primary_port)
    return node


def check_primary(node, said):
    for name, commits in said.items():
        path = node.path(name)
        expect(os.path.exists(path), "%s is gone" % name)
        seen = power.look(path)
        expect(seen is not None, "%s has lost its tables" % name)
        power.check_acknowledged(name, commits, seen, MAY_LOSE.get(name, 0))
    if os.path.exists(node.path(power.COMES_AND_GOES)):
        power.look(node.path(power.COMES_AND_GOES))


@test(seconds=120 if not LONG else 3600)
def a_primary_whose_power_failed_has_all_that_was_told(stage):
    recording = power.Recording(stage, STEPS)
    node = spare(recording, "primary2")
    verdicts = Verdicts(stage)

    def one(cut):
        with recording.on(node, "primary", cut):
            check_primary(node, recording.acknowledged(cut))
    for cut in recording.cuts("primary", CUTS):
        verdicts.judge(one, cut)
    verdicts.close()
