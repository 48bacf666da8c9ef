"""What status and .lag say must be true, above all when something is not."""
import json

import cluster
import sql
from runner import expect, expect_eq, test, until

UNKNOWN = "+999999999\n"


def start(stage, replicas=1):
    nodes = cluster.Cluster(stage, replicas).start()
    with sql.connect(nodes.primary.path("app.db"),
                     journal_mode="wal") as connection:
        connection.execute("CREATE TABLE t(n)")
    nodes.settle("app.db")
    return nodes


def lag(node):
    with open(node.path(".lag"), encoding="ascii") as file:
        return file.read()


def replicas_of(node):
    return {one["id"]: one for one in node.status()["replicas"]}


@test(seconds=60)
def an_age_that_nobody_knows_is_not_0(stage):
    nodes = start(stage)
    replica = nodes.replicas[0]
    until(lambda: int(lag(replica)) < 5000, lambda: "it is " + lag(replica))
    nodes.primary.stop()
    replica.restart()
    expect_eq(lag(replica), UNKNOWN)
    expect_eq(replica.databases()["app.db"]["lag_us"], None)
    expect_eq(lag(replica), UNKNOWN, "after status took a new look")
    nodes.primary.start()
    expect_eq(lag(nodes.primary), "+000000000\n")
    until(lambda: int(lag(replica)) < 5000, lambda: "it is " + lag(replica))
    expect(replica.databases()["app.db"]["lag_us"] is not None, "still null")


@test(seconds=60)
def a_replica_without_databases_that_met_no_primary_is_of_unknown_age(stage):
    port, other = cluster.free_ports(2)
    replica = cluster.Node(stage, "replica", port, primary_port=other)
    stage.closers.append(replica.close)
    replica.start()
    expect_eq(lag(replica), UNKNOWN)


@test(seconds=60)
def a_replica_that_went_away_is_named(stage):
    nodes = start(stage, 2)
    stays, goes = nodes.replicas
    until(lambda: sorted(replicas_of(nodes.primary)) == [stays.name, goes.name],
          "both are connected")
    until(lambda: all(one["databases"][0]["state"] == "live" and
                      one["health"] == "ok"
                      for one in replicas_of(nodes.primary).values()),
          lambda: json.dumps(nodes.primary.status(), indent=1))
    expect_eq(nodes.primary.status()["node"]["health"], "ok")
    goes.stop()
    until(lambda: not replicas_of(nodes.primary)[goes.name]["connected"],
          lambda: json.dumps(nodes.primary.status(), indent=1))
    away = replicas_of(nodes.primary)[goes.name]
    expect_eq((away["health"], away["databases"], away["rtt_us"]),
              ("degraded", [], None))
    expect_eq(away["address"], "127.0.0.1:%d" % goes.port)
    expect(replicas_of(nodes.primary)[goes.name]["since_ms"] >=
           away["since_ms"], "it is away for less and less long")
    expect(replicas_of(nodes.primary)[stays.name]["connected"], "both went")
    expect_eq(nodes.primary.status()["node"]["health"], "degraded")
    expect("away" in nodes.primary.ask("status"), nodes.primary.ask("status"))
    goes.start()
    until(lambda: replicas_of(nodes.primary)[goes.name]["connected"],
          "it does not come back")
    until(lambda: nodes.primary.status()["node"]["health"] == "ok",
          lambda: json.dumps(nodes.primary.status(), indent=1))


@test(seconds=60, modes=("classic",))
def stream_states_are_those_of_the_documentation(stage):
    nodes = start(stage)
    seen = set()

    def look():
        for one in replicas_of(nodes.primary).values():
            seen.update(stream["state"] for stream in one["databases"])
        return False

    with sql.connect(nodes.primary.path("app.db")) as connection:
        for _ in range(40):
            connection.execute("INSERT INTO t VALUES (randomblob(200000))")
            look()
    nodes.replicas[0].stop()
    with sql.connect(nodes.primary.path("app.db")) as connection:
        for _ in range(40):
            connection.execute("INSERT INTO t VALUES (randomblob(400000))")
    nodes.replicas[0].launch()
    nodes.replicas[0].wait_ready()
    nodes.settle("app.db")
    until(lambda: look() or "live" in seen, lambda: "seen: %s" % seen)
    expect(seen <= {"live", "log", "copy", "waiting"}, "seen: %s" % seen)
