"""A replica on its own: no network, no name server, and its readers read.

Each test has a network of its own: a loopback device, and on it an address
that comes and goes.
"""
import ctypes
import fcntl
import os
import socket
import struct

import cluster
import sql
from runner import Skip, expect, expect_eq, test, until

CLONE_NEWNET = 0x40000000
SIOCSIFADDR, SIOCSIFFLAGS, IFF_UP = 0x8916, 0x8914, 1
HOST = "10.77.0.1"  # where the primary is, when there is a network


def interface(request, name, value):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, request, struct.pack("16s16s", name, value))


def network(up):
    if up:
        interface(SIOCSIFADDR, b"lo:1",
                  struct.pack("HH4s8x", socket.AF_INET, 0,
                              socket.inet_aton(HOST)))
    else:
        interface(SIOCSIFFLAGS, b"lo:1", struct.pack("h14x", 0))


def own_network():
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET) != 0:
        raise Skip("no network namespaces here: %s"
                   % os.strerror(ctypes.get_errno()))
    interface(SIOCSIFFLAGS, b"lo", struct.pack("h14x", IFF_UP))
    network(True)


def configure(node, port, host=HOST):
    """Without node.advertise: the node has to find it out."""
    with open(node.config, "w", encoding="utf-8") as file:
        file.write(
            "mount: %s\ndata: %s\nnode: { id: %s }\ninsecure: true\n"
            "listen: { replication: \"[::]:%d\" }\n"
            "lease: { type: static, primary: \"%s:%d\" }\n"
            "fuse: { mode: %s }\n"
            % (node.mount, node.data, node.name, node.port, host, port,
               node.stage.mode))


def start(stage):
    """A pair that has replicated, and is stopped."""
    own_network()
    nodes = cluster.Cluster(stage, 1)
    for node in nodes.nodes:
        configure(node, nodes.primary.port)
    nodes.start()
    with sql.connect(nodes.primary.path("app.db"),
                     journal_mode="wal") as connection:
        connection.execute("CREATE TABLE t(n)")
        connection.execute("INSERT INTO t VALUES (7)")
    nodes.compare("app.db")
    for node in nodes.nodes:
        node.stop()
    return nodes


def newest(node):
    return sql.look(node.path("app.db"), "SELECT max(n) FROM t")


@test(seconds=60)
def a_replica_without_a_network_serves_its_readers(stage):
    nodes = start(stage)
    replica = nodes.replicas[0]
    network(False)
    replica.start()
    expect_eq(newest(replica), 7)
    node = replica.status()["node"]
    expect_eq((node["role"], node["advertise"], node["health"]),
              ("replica", None, "degraded"))
    network(True)
    nodes.primary.start()
    with sql.connect(nodes.primary.path("app.db")) as connection:
        connection.execute("INSERT INTO t VALUES (8)")
    nodes.compare("app.db", 20)
    expect_eq(replica.status()["node"]["advertise"],
              "%s:%d" % (HOST, replica.port))
    expect_eq(nodes.primary.status()["replicas"][0]["address"],
              "%s:%d" % (HOST, replica.port))


@test(seconds=60)
def a_replica_whose_primary_has_a_name_nobody_knows_serves_its_readers(stage):
    nodes = start(stage)
    replica = nodes.replicas[0]
    configure(replica, nodes.primary.port, "primary.invalid")
    replica.start()
    expect_eq(newest(replica), 7)
    until(lambda: "client.resolve" in replica.log_text(), replica.log_text)


@test(seconds=60)
def a_node_that_was_no_replica_does_not_guess(stage):
    """As a replica it would put aside what it did not capture."""
    nodes = start(stage)
    primary = nodes.primary
    network(False)
    fresh = nodes.add_replica()
    configure(fresh, primary.port)
    for node in (primary, fresh):
        node.launch()
        status = node.process.wait(20)
        node.process = None
        expect_eq(status, 1, node.name)
        expect("give node.advertise" in node.log_text(), node.log_text())


@test(seconds=60)
def a_replica_that_turns_out_to_be_the_primary_ends_in_words(stage):
    nodes = start(stage)
    replica = nodes.replicas[0]
    configure(replica, replica.port)
    network(False)
    replica.start()
    expect_eq(replica.status()["node"]["role"], "replica")
    network(True)
    status = replica.process.wait(20)
    replica.process = None
    expect_eq(status, 1, replica.log_text())
    expect("start it again" in replica.log_text(), replica.log_text())
    replica.start()
    expect_eq(replica.status()["node"]["role"], "primary")
    with sql.connect(replica.path("app.db")) as connection:
        connection.execute("INSERT INTO t VALUES (9)")
