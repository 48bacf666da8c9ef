"""What nodes tell each other when one of them was away, or is odd."""
import os

import cluster
from files import make
from runner import expect_eq, test, until


@test(seconds=60)
def a_database_that_went_while_a_replica_was_away_goes_there_too(stage):
    nodes = cluster.pair(stage)
    primary, replica = nodes.primary, nodes.replicas[0]
    for restart in (False, True):
        for name in ("gone.db", "moved.db", "anew.db", "stays.db"):
            if not os.path.exists(primary.path(name)):
                make(primary.path(name), 20, "delete")
        nodes.compare_all()
        replica.stop()
        os.unlink(primary.path("gone.db"))
        os.rename(primary.path("moved.db"), primary.path("there.db"))
        os.unlink(primary.path("anew.db"))
        until(lambda: sorted(primary.databases()) == ["stays.db", "there.db"],
              lambda: "the primary has %s" % sorted(primary.databases()))
        make(primary.path("anew.db"), 30, "delete")
        if restart:
            primary.restart()
        replica.start()
        nodes.settle("anew.db")
        expect_eq(nodes.compare_all(), ["anew.db", "stays.db", "there.db"])
        expect_eq(nodes.compare("anew.db")["table t"][0], 30)
        for name in ("gone.db", "moved.db"):
            until(lambda n=name: not os.path.exists(replica.path(n)),
                  "%s is still in the mount of the replica" % name)
        os.unlink(primary.path("there.db"))
        until(lambda: "there.db" not in primary.databases(), "not dropped")
