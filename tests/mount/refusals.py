"""What a node is refused, and what it refuses: said in words that name the
thing and what to do, and nobody else is disturbed."""
import os
import shutil

import cluster
import sql
from runner import expect, expect_eq, test, until

# In a mount namespace of its own, so that nothing outside changes.
WITHOUT_DEVICE = ["unshare", "--mount", "--propagation", "private", "sh", "-c",
                  'mount -t tmpfs none /dev && exec "$@"', "sh"]


def is_refused(node, *words):
    """Its start fails, and says so."""
    node.launch()
    expect(node.process.wait(cluster.START_SECONDS) == 1, "it started")
    node.process = None
    said = node.log_text()
    for one in words:
        expect(one in said, "not said: %r\n%s" % (one, said))
    expect_eq(os.listdir(node.mount), [], "left in the mount point")


def hears(node, *words):
    until(lambda: all(one in node.log_text() for one in words), node.log_text)


def make(node, name="app.db", rows=5):
    with sql.connect(node.path(name), journal_mode="wal") as db:
        db.execute("CREATE TABLE IF NOT EXISTS t(id INTEGER PRIMARY KEY, v)")
        for _ in range(rows):
            db.execute("INSERT INTO t(v) VALUES (randomblob(100))")


def rows(node, name="app.db"):
    return sql.look(node.path(name), "SELECT count(*) FROM t")


@test(modes=("classic",))
def without_the_fuse_device_a_start_says_what_to_do(stage):
    node = cluster.single(stage, start=False)
    node.prefix = WITHOUT_DEVICE
    is_refused(node, "/dev/fuse", "No such file or directory", "modprobe fuse",
               "--device /dev/fuse")
    node.prefix = []
    node.start()
    make(node)


@test(modes=("classic",))
def without_privilege_a_start_says_what_to_do(stage):
    node = cluster.single(stage, start=False)
    with cluster.without_capabilities(node, "sys_admin"):
        is_refused(node, node.mount, "not permitted", "run as root",
                   "--cap-add SYS_ADMIN")
    node.start()
    make(node)


@test(modes=("classic",))
def a_data_directory_in_use_is_named(stage):
    node = cluster.single(stage)
    make(node)
    other = cluster.Node(stage, "other", cluster.free_ports(1)[0])
    with open(other.config, encoding="utf-8") as file:
        text = file.read().replace("data: %s" % other.data,
                                   "data: %s" % node.data)
    with open(other.config, "w", encoding="utf-8") as file:
        file.write(text)
    is_refused(other, "another tidemark runs on this data directory",
               "stop it first", "path=" + node.data)
    make(node)


@test(modes=("classic",))
def a_mount_point_with_files_is_named_and_left_alone(stage):
    node = cluster.single(stage, start=False)
    os.mkdir(node.path("folder"))
    node.launch()
    expect_eq(node.process.wait(cluster.START_SECONDS), 1, "its status")
    node.process = None
    for words in ("%s is not empty (folder)" % node.mount, "hidden"):
        expect(words in node.log_text(), node.log_text())
    expect_eq(os.listdir(node.mount), ["folder"])


@test(modes=("classic",))
def a_port_that_is_taken_is_named(stage):
    node = cluster.single(stage)
    other = cluster.Node(stage, "other", node.port)
    is_refused(other, "event=node.listen", "127.0.0.1:%d" % node.port,
               "Address already in use")
    node.check_alive()


@test(modes=("classic",))
def a_node_of_another_cluster_is_refused_by_name(stage):
    nodes = cluster.pair(stage)
    make(nodes.primary)
    stranger = cluster.Node(stage, "stranger", cluster.free_ports(1)[0],
                            nodes.primary.port,
                            extra="cluster: { name: elsewhere }\n")
    stage.closers.append(stranger.close)
    stranger.start()
    words = 'stranger is in cluster \\"elsewhere\\", primary in \\"tidemark\\"'
    hears(stranger, words, "check cluster.name")
    hears(nodes.primary, "event=replication.refused", words)
    expect_eq(sorted(stranger.databases()), [], "what it got")
    nodes.compare_all()


@test(modes=("classic",))
def two_nodes_with_one_id_are_told_apart(stage):
    nodes = cluster.pair(stage)
    make(nodes.primary)
    nodes.compare_all()
    ports = cluster.free_ports(2)
    for name, port, words in (
            ("replica1", ports[0],
             'a node with id \\"replica1\\" is connected from'),
            ("primary", ports[1], "the primary's id is \\\"primary\\\" too")):
        twin = cluster.Node(stage, "twin" + name, port, nodes.primary.port)
        twin.name = name
        twin.configure()
        stage.closers.append(twin.close)
        twin.start()
        hears(twin, words, "give each node its own node.id")
        expect_eq(sorted(twin.databases()), [], "what it got")
    make(nodes.primary, rows=3)
    nodes.compare_all()
    expect_eq(rows(nodes.replicas[0]), 8)


@test()
def a_replica_ahead_of_a_primary_from_a_backup_is_told_and_copied(stage):
    """A backup of a node that was stopped: nothing in it says that it is old,
    so the primary asks nobody. It says at once when it hears of it."""
    nodes = cluster.pair(stage)
    primary, replica = nodes.primary, nodes.replicas[0]
    make(primary, rows=10)
    nodes.compare_all()
    primary.stop()
    shutil.copytree(primary.data, primary.home + "/backup")
    primary.start()
    make(primary, rows=10)
    nodes.compare_all()
    primary.stop()
    shutil.rmtree(primary.data)
    shutil.move(primary.home + "/backup", primary.data)
    primary.start()
    begins = len(primary.log_text())
    until(lambda: "event=replication.fenced" in primary.log_text() or
          "event=replication.diverged" in replica.log_text(),
          replica.log_text)
    if "event=replication.fenced" in primary.log_text():
        expect("if it was restored from a backup, start it again" in
               primary.log_text(), primary.log_text()[begins:])
        expect_eq(rows(replica), 20, "kept while it is not decided")
        primary.restart()
    hears(replica, "event=replication.diverged", "reason=ahead", "ours=")
    until(lambda: rows(replica) == 10, "the copy does not come")
    nodes.compare_all()
