"""What status and .lag say must be true, above all when something is not."""
import json
import socket
import threading
import time

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


def slow_way(stage, to_port, bytes_per_second):
    """A port that leads to another one, as slowly as that on the way back."""
    listener = socket.create_server(("127.0.0.1", 0))

    def carry(source, sink, seconds_per_byte):
        try:
            while data := source.recv(65536):
                sink.sendall(data)
                time.sleep(len(data) * seconds_per_byte)
        except OSError:
            pass
        for end in (source, sink):
            end.close()

    def serve():
        while True:
            try:
                near, _ = listener.accept()
                far = socket.create_connection(("127.0.0.1", to_port))
            except OSError:
                return
            for way in ((near, far, 0), (far, near, 1 / bytes_per_second)):
                threading.Thread(target=carry, args=way, daemon=True).start()
    threading.Thread(target=serve, daemon=True).start()
    stage.closers.append(listener.close)
    return listener.getsockname()[1]


@test(seconds=60, modes=("classic",))
def a_first_copy_says_how_far_it_is(stage):
    primary = cluster.single(stage)
    with sql.connect(primary.path("app.db"),
                     journal_mode="wal") as connection:
        connection.execute("CREATE TABLE t(n)")
        connection.executemany("INSERT INTO t VALUES (randomblob(100000))",
                               [()] * 80)
    port = slow_way(stage, primary.port, 2000000)
    replica = cluster.Node(stage, "replica", cluster.free_ports(1)[0], port)
    stage.closers.append(replica.close)
    replica.start()
    seen, sent = [], []

    def look():
        for one in replicas_of(primary).values():
            sent.extend(stream["copy_percent"] for stream in one["databases"]
                        if stream["state"] == "copy")
        one = replica.databases().get("app.db")
        if one is not None and one["copy"] is not None:
            expect(one["state"] != "copying" or
                   "%d %%" % one["copy"]["percent"] in one["problem"],
                   one["problem"])
            expect(0 <= one["copy"]["pages"] <= one["copy"]["of_pages"], one)
            seen.append(one["copy"]["percent"])
        return one is not None and one["position"]["txid"] > 0
    until(look, lambda: "seen: %s" % seen, 40)
    replica.reach("app.db", primary.token("app.db"))
    expect_eq(seen, sorted(seen))
    expect_eq(sent, sorted(sent))
    expect(len(set(sent)) > 2 and sent[0] < 90, "sent: %s" % sent)
    until(lambda: replicas_of(primary)["replica"]["databases"][0]["state"] ==
          "live", "the copy is not over for the primary")
    expect_eq(replicas_of(primary)["replica"]["databases"][0]["copy_percent"],
              None)
    expect(len(set(seen)) > 2 and seen[0] < 50, "seen: %s" % seen)
    expect_eq(replica.databases()["app.db"]["copy"], None)
    text = replica.log_text()
    expect("database.progress" in text and "%, " in text, text)
    expect("copy: done after" in text, text)
