"""What status and .lag say must be true, above all when something is not."""
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
