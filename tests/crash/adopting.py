"""A primary with a new disk that is killed, or fails, while it fetches whole
databases: see tests/cluster/adopting.py for when nothing goes wrong."""
import os
import shutil
import signal

import cluster
import faultfs
import power
import sql
from olddisk import NAMES, knows, lose_disk, positions, rows, write_all
from runner import LONG, expect, expect_eq, test, until


CUTS = int(os.environ.get("CUTS", 200 if LONG else 16))


def filled(stage, lose_log=False):
    """A primary and a replica that know each other, with rows in both
    databases. lose_log: the replica can only give them as copies."""
    nodes = cluster.pair(stage)
    primary, (replica,) = nodes.primary, nodes.replicas
    write_all(nodes, 20)
    knows(primary, replica)
    if lose_log:
        replica.stop().lose_the_log().start()
    return nodes, primary, replica


def launch_with(primary, fault):
    """Killed by it: True, and it was reaped; else it serves."""
    primary.launch(fault)

    def ended_or_ready():
        return primary.process.poll() is not None or primary.is_answering()
    until(ended_or_ready, "neither ended nor ready")
    if primary.process.poll() is None:
        return False
    expect_eq(primary.process.wait(), -signal.SIGKILL, fault)
    primary.process = None
    return True


def killed_everywhere(stage, sites, least, lose_log):
    nodes, primary, replica = filled(stage, lose_log)
    before = positions(replica)
    killed = 0
    for site in sites:
        for call in (1, 2, 3, 4, 6):
            primary.kill()
            lose_disk(primary)
            at = "a kill at %s %d" % (site, call)
            if not launch_with(primary, "%s=%d:KILL" % (site, call)):
                break  # that was all of them
            killed += 1
            primary.start()
            expect_eq(positions(primary), before, at)
            expect_eq([rows(primary, name) for name in NAMES], [20, 20], at)
            expect_eq(primary.status()["lost"]["count"], 0, at)
            nodes.compare_all()
    stage.say("killed %d times" % killed)
    expect(killed >= least, "killed %d times" % killed)
    expect_eq(replica.status()["lost"]["count"], 0, "put aside")
    expect("mode=delta" not in replica.log_text(), "a copy was sent back")
    for name in NAMES:  # in whatever mode they are
        with sql.connect(primary.path(name)) as db:
            db.execute("INSERT INTO t(v) VALUES (randomblob(300))")
        nodes.settle(name)
    primary.kill().start()
    nodes.compare_all()
    expect_eq([rows(replica, name) for name in NAMES], [21, 21])


@test(seconds=180, sample=True)
def killed_anywhere_while_it_fetches_records_of_all_it_starts_over(stage):
    killed_everywhere(
        stage, ("catalog.add", "meta.save", "log.open", "log.append",
                "log.sync", "incoming.open", "incoming.write", "incoming.sync",
                "incoming.place", "hashes.save", "replica.log"), 20, False)


@test(seconds=180, sample=True)
def killed_anywhere_while_it_fetches_a_copy_it_starts_over(stage):
    killed_everywhere(
        stage, ("meta.save", "log.open", "log.sync", "incoming.open",
                "incoming.write", "incoming.sync", "incoming.place",
                "hashes.save", "replica.log", "recover.read"), 20, True)


@test(seconds=120, sample=True)
def a_call_that_fails_while_it_fetches_leaves_all_of_a_database_or_none(stage):
    nodes, primary, replica = filled(stage)
    before = positions(replica)
    gave_up = 0
    for site in ("catalog.add", "meta.save", "log.append", "log.sync",
                 "incoming.open", "incoming.write", "incoming.sync",
                 "incoming.place", "hashes.save"):
        for calls in ("1", "2", "3", "1+", "2+", "4+"):
            primary.kill()
            lose_disk(primary)
            primary.start("%s=%s:ENOSPC" % (site, calls))
            at = "a failure at %s %s" % (site, calls)
            have = positions(primary)
            gave_up += len(have) < len(before)
            for name in NAMES:
                if name in have:
                    expect_eq(have[name], before[name], at)
                else:
                    expect(not os.path.exists(primary.path(name)), at)
            primary.kill().start()
            expect_eq(positions(primary), before, "after " + at)
            nodes.compare_all()
    stage.say("gave up %d times" % gave_up)
    expect(gave_up >= 10, "gave up %d times" % gave_up)
    expect_eq(replica.status()["lost"]["count"], 0, "put aside")


def cuts_of(stage, disk):
    """Some of all places where a sync is about to be done, with all fates."""
    points = faultfs.sync_points(disk.events())
    every = [(point, fate, stage.rng.randrange(1 << 32), kind)
             for point in points + [len(disk.events())]
             for fate in faultfs.FATES for kind in faultfs.KINDS]
    return sorted(stage.rng.sample(every, min(CUTS, len(every))))


def cut_everywhere(stage, lose_log):
    nodes, primary, replica = filled(stage, lose_log)
    before = positions(replica)
    primary.kill()
    lose_disk(primary)
    shutil.copytree(primary.data, stage.path("new"))
    disk = faultfs.Disk(stage, "fresh", primary.data,
                        stage.path("new")).start()
    primary.start()
    expect_eq(positions(primary), before, "fetched")
    primary.kill()
    disk.close()
    stage.closers.remove(disk.close)
    for cut in cuts_of(stage, disk):
        stage.say(*cut)
        out = stage.path("state")
        disk.cut(*cut, out)
        with power.running(stage, primary, out, "again"):
            until(lambda: positions(primary) == before, "not fetched again")
            primary.wait_ready()
            nodes.compare_all()
            expect_eq(primary.status()["lost"]["count"], 0, "put aside")
    expect_eq(replica.status()["lost"]["count"], 0, "put aside")
    expect("mode=delta" not in replica.log_text(), "a copy was sent back")


@test(seconds=180, sample=True)
def power_that_fails_while_it_fetches_records_of_all_loses_nothing(stage):
    cut_everywhere(stage, False)


@test(seconds=180, sample=True)
def power_that_fails_while_it_fetches_a_copy_loses_nothing(stage):
    cut_everywhere(stage, True)


@test()
def a_part_of_a_database_is_none_and_the_next_start_fetches_it(stage):
    nodes, primary, replica = filled(stage)
    with sql.connect(primary.path("wal.db")) as db:
        db.execute("INSERT INTO t(v) VALUES (randomblob(9000000))")
    nodes.settle("wal.db")
    before = positions(replica)
    replica.stop().lose_the_log()
    primary.kill()
    lose_disk(primary)
    replica.launch("copy.read=25:KILL")
    primary.start()
    replica.process.wait(20)
    replica.process = None
    expect("event=replication.not_fetched database=wal.db" in
           primary.log_text(), primary.log_text())
    expect(not os.path.exists(primary.path("wal.db")), "a part is there")
    expect_eq(len(os.listdir(os.path.join(primary.data, "db"))),
              len(primary.databases()), "folders of databases")
    replica.start()
    expect_eq(rows(replica, "wal.db"), 21)
    until(lambda: "replication.unknown database=wal.db" in primary.log_text(),
          primary.log_text)
    primary.restart()
    expect_eq(positions(primary), before, "positions of the primary")
    nodes.compare_all()
    expect_eq(replica.status()["lost"]["count"], 0, "put aside")
