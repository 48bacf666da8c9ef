"""Who there is outlives a primary's restart, and a replica knows it too."""
import json
import os

import cluster
from runner import expect, expect_eq, test, until


def file_of(node):
    return os.path.join(node.data, "roster.json")


def remembered(node):
    """The ids in the file; None when there is none."""
    try:
        with open(file_of(node), encoding="utf-8") as file:
            return sorted(one["id"] for one in json.load(file)["nodes"])
    except FileNotFoundError:
        return None


def replicas_of(primary):
    return {one["id"]: one for one in primary.status()["replicas"]}


def is_connected(primary, *nodes):
    until(lambda: all(replicas_of(primary).get(node.name, {}).get("connected")
                      for node in nodes),
          lambda: "the primary knows %s" % replicas_of(primary))


@test()
def a_restarted_primary_names_the_replicas_it_knew(stage):
    nodes = cluster.Cluster(stage, 2).start()
    stays, goes = nodes.replicas
    is_connected(nodes.primary, stays, goes)
    until(lambda: remembered(nodes.primary) == [stays.name, goes.name],
          lambda: "remembered: %s" % remembered(nodes.primary))
    goes.stop()
    nodes.primary.kill().start()
    is_connected(nodes.primary, stays)
    away = replicas_of(nodes.primary)[goes.name]
    expect_eq((away["connected"], away["since_ms"], away["rtt_us"],
               away["databases"], away["health"]),
              (False, None, None, [], "degraded"), "what is known of it")
    expect_eq((away["address"], away["region"]),
              ("127.0.0.1:%d" % goes.port, "local"), "where it was")
    goes.start()
    is_connected(nodes.primary, stays, goes)
    until(lambda: nodes.primary.status()["node"]["health"] == "ok",
          lambda: json.dumps(nodes.primary.status(), indent=1))


@test(modes=("classic",))
def a_replica_remembers_whom_the_primary_named(stage):
    nodes = cluster.Cluster(stage, 2).start()
    one, other = nodes.replicas
    until(lambda: remembered(one) == [nodes.primary.name, other.name],
          lambda: "remembered: %s" % remembered(one))
    other.stop()
    one.restart()
    expect_eq(remembered(one), [nodes.primary.name, other.name])


@test(modes=("classic",))
def a_damaged_roster_moves_aside_and_is_made_anew(stage):
    nodes = cluster.Cluster(stage, 1).start()
    is_connected(nodes.primary, nodes.replicas[0])
    nodes.primary.stop()
    with open(file_of(nodes.primary), "r+b") as file:
        content = file.read()
        file.seek(0)
        file.write(b"\0" * len(content))  # as some file systems leave it
    nodes.primary.start()
    expect("event=node.roster file=roster.json" in nodes.primary.log_text(),
           "nobody was told")
    kept = [name for name in os.listdir(os.path.join(nodes.primary.data,
                                                     "lost"))
            if name.startswith("roster-")]
    expect_eq(len(kept), 1, "kept: %s" % kept)
    is_connected(nodes.primary, nodes.replicas[0])
    until(lambda: remembered(nodes.primary) == [nodes.replicas[0].name],
          lambda: "remembered: %s" % remembered(nodes.primary))


@test(modes=("classic",))
def a_newer_roster_stops_the_start_and_is_not_touched(stage):
    node = cluster.single(stage)
    node.stop()
    newer = '{"version": 2, "nodes": {"a": []}}'
    with open(file_of(node), "w", encoding="utf-8") as file:
        file.write(newer)
    node.launch()
    expect(node.process.wait(cluster.START_SECONDS) != 0, "it started")
    node.process = None
    expect("version 2, this program reads 1" in node.log_text(),
           node.log_text())
    with open(file_of(node), encoding="utf-8") as file:
        expect_eq(file.read(), newer)
    os.unlink(file_of(node))
    node.start()
