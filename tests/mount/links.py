"""What nodes tell each other when one of them was away, or is odd."""
import errno
import os
import shutil

import cluster
import sql
from files import make, refuses
from runner import expect, expect_eq, expect_raises, test, until


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


@test(seconds=40)
def a_name_that_no_replica_could_be_told_stops_none_but_itself(stage):
    nodes = cluster.pair(stage)
    primary, replica = nodes.primary, nodes.replicas[0]
    make(primary.path("good.db"), 10)
    nodes.compare("good.db")
    for mode in ("delete", "wal"):
        expect_raises(sql.sqlite3.OperationalError, "unable to open", make,
                      primary.path("a\tb-%s.db" % mode), 10, mode)
    make(stage.path("outside.db"), 10, "delete")
    shutil.copy(stage.path("outside.db"), primary.path("copied\n.db"))
    # It can be read and taken away again, but nothing is written to it.
    with sql.connect(primary.path("copied\n.db")) as connection:
        expect_eq(sql.one(connection, "SELECT count(*) FROM t"), 10)
        expect_raises(sql.sqlite3.OperationalError, "readonly",
                      connection.execute, "DELETE FROM t")
    os.rename(primary.path("copied\n.db"), primary.path("copied.db"))
    until(lambda: "copied.db" in primary.databases(), "not adopted")
    make(primary.path("rest.db"), 10, "delete")
    refuses(errno.EINVAL, os.rename, primary.path("rest.db"),
            primary.path("rest\x7f.db"))
    make(primary.path("late.db"), 10)
    expect_eq(nodes.compare_all(),
              ["copied.db", "good.db", "late.db", "rest.db"])
    expect("database.refused" in primary.log_text(), "it is not in the log")
    expect_eq(replica.log_text().count("replication.primary"), 1)


@test(seconds=60)
def a_database_that_has_no_place_on_a_replica_keeps_none_from_following(stage):
    nodes = cluster.Cluster(stage, 1)
    primary, replica = nodes.primary, nodes.replicas[0]
    names = ["%d.db" % n for n in range(5)]
    primary.start()
    for name in names:
        make(primary.path(name), 20)
    odd = stage.rng.choice(names)
    lineage = primary.databases()[odd]["lineage"]
    primary.stop()
    replica.start()
    # Where its folder should be there is a file.
    obstacle = os.path.join(replica.data, "db", lineage)
    with open(obstacle, "w", encoding="utf-8"):
        pass
    primary.start()
    for name in names:
        if name != odd:
            with sql.connect(primary.path(name)) as connection:
                connection.execute("DELETE FROM t WHERE id > 10")
            nodes.compare(name)
    expect_eq(replica.log_text().count("replication.primary"), 1)
    expect(not os.path.exists(replica.path(odd)), "where does it come from?")
    expect(replica.databases()[odd]["state"] != "live",
           "status does not show it: %s" % replica.databases()[odd])
    os.unlink(obstacle)
    until(lambda: os.path.exists(replica.path(odd)), "it never came", 30)
    nodes.compare_all(20)
