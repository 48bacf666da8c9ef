"""A primary that is killed, or fails, while it fetches what its replicas have
more: see tests/cluster/asking.py for what it does when nothing goes wrong."""
import signal

import cluster
from olddisk import NAMES, keep_disk, knows, old_disk, positions, rows, \
    write_all
from runner import expect, expect_eq, test, until


@test(seconds=180)
def killed_anywhere_while_it_fetches_it_fetches_again(stage):
    nodes = cluster.pair(stage)
    primary, replica = nodes.primary, nodes.replicas[0]
    knows(primary, replica)
    write_all(nodes, 10)
    killed = 0
    for site in ("graft.file", "log.append", "log.sync", "meta.save",
                 "recover.write", "recover.sync"):
        for call in (1, 2, 3):
            keep_disk(primary)
            write_all(nodes, 3)
            before = positions(replica)
            old_disk(primary)
            primary.launch("%s=%d:KILL" % (site, call))

            def ended_or_ready():
                return primary.process.poll() is not None or \
                    primary.is_answering()
            until(ended_or_ready, "neither ended nor ready")
            if primary.process.poll() is not None:
                expect_eq(primary.process.wait(), -signal.SIGKILL, site)
                primary.process = None
                killed += 1
                primary.start()
            after = positions(primary)
            expect_eq(after, before, "after a kill at %s %d" % (site, call))
            nodes.compare_all()
    stage.say("killed %d times" % killed)
    expect(killed >= 8, "killed %d times" % killed)


@test()
def what_cannot_be_put_in_place_is_told_and_it_goes_on(stage):
    nodes = cluster.pair(stage)
    primary, replica = nodes.primary, nodes.replicas[0]
    knows(primary, replica)
    write_all(nodes, 10)
    keep_disk(primary)
    write_all(nodes, 10)
    old_disk(primary)
    primary.launch("log.append=1+:EIO")
    until(lambda: "node.asking" in primary.log_text() and "event=node.ready" in
          primary.log_text().rpartition("node.asking")[2], primary.log_text)
    expect(primary.log_text().count("log.append: ") > 0, primary.log_text())
    primary.kill().start()
    expect_eq([rows(primary, name) for name in NAMES], [20, 20])
    nodes.compare_all()
