"""A thousand databases that nobody uses cost memory and nothing else."""
import sqlite3
import time

import cluster
import workers
from runner import expect, expect_eq, expect_raises, test, until

DATABASES = 1_000
SECONDS = 5  # nothing must happen in
# The main thread of each node: facts every half second, the ticks of each
# link, a heartbeat and a roster each second, one way and the other. However
# many databases there are.
LOOP_WAKE_UPS = 20 * SECONDS
MODES = ("wal", "delete")


def name_of(number):
    return "d%04d.db" % number


def create(node, number):
    connection = sqlite3.connect(node.path(name_of(number)),
                                 isolation_level=None)
    connection.execute("PRAGMA journal_mode = %s" % MODES[number % 2])
    connection.execute("PRAGMA synchronous = off")
    connection.execute("CREATE TABLE t(v)")
    connection.execute("INSERT INTO t VALUES (%d)" % number)
    connection.close()


def read(node, number):
    connection = sqlite3.connect("file:%s?mode=ro" %
                                 node.path(name_of(number)), uri=True)
    value, = connection.execute("SELECT v FROM t").fetchone()
    connection.close()
    return value


def wake_ups(node):
    """How often each of its threads went to sleep or was put to it."""
    counts = {}
    for task, name in node.threads().items():
        with open("/proc/%d/task/%d/status" % (node.pid, task)) as file:
            counts[name, task] = sum(int(line.split()[1]) for line in file
                                     if "ctxt_switches:" in line)
    return counts


def allowed(name):
    """How often a thread may wake up. Each ring that was ever busy keeps one
    helper of the kernel, which looks around every 5 s."""
    if name == "tidemark":
        return LOOP_WAKE_UPS
    return SECONDS // 5 + 1 if name.startswith("iou-") else 0


def positions(node):
    return {name: (one["position"]["txid"], one["position"]["sum"])
            for name, one in node.databases().items()}


def expect_all_equal(nodes):
    """Some commits are seen only after a while: the primary moves, too."""
    def are_equal():
        want = positions(nodes.primary)
        return len(want) == DATABASES and \
            all(positions(node) == want for node in nodes.replicas)
    until(are_equal, "the replica has not caught up", 60, pause=0.5)


def fall_asleep(node):
    """Nothing is open, nothing is under way."""
    until(lambda: {one["state"] for one in node.databases().values()} ==
          {"closed"}, "%s keeps databases open" % node.name, 60, pause=0.5)


def expect_sleep(node):
    before = wake_ups(node)
    time.sleep(SECONDS)  # the time is what is measured
    woken = {thread: count - before[thread]
             for thread, count in wake_ups(node).items() if thread in before}
    for (name, _), count in woken.items():
        expect(count <= allowed(name), "%s: %s woke up %d times in %d s" %
               (node.name, name, count, SECONDS))
    names = {name for name, _ in woken}
    expect({"tidemark", "worker-0", "fuse-0"} <= names, "threads are %s" %
           sorted(names))
    return sum(woken.values())


class Clock:
    """What took how long, for people to read: it decides nothing."""

    def __init__(self, stage):
        self.stage, self.last = stage, time.monotonic()

    def tell(self, what):
        now = time.monotonic()
        self.stage.say("%-28s %5.1f ms each" %
                       (what, 1000 * (now - self.last) / DATABASES))
        self.last = now


@test(seconds=240, sample=True)
def a_thousand_idle_databases_wake_nobody(stage):
    nodes = cluster.pair(stage)
    empty = [node.memory_kib() for node in nodes.nodes]
    clock = Clock(stage)
    for number in range(DATABASES):
        create(nodes.primary, number)
    clock.tell("created")
    expect_all_equal(nodes)
    clock.tell("on the replica")
    sleeps(stage, nodes, empty)
    clock = Clock(stage)
    for node in nodes.nodes:
        node.stop()
        clock.tell(node.name + " stopped")
        node.start()
        clock.tell(node.name + " started")
    expect_all_equal(nodes)
    sleeps(stage, nodes, empty)
    for number in range(0, DATABASES, 97):
        for node in nodes.nodes:
            expect_eq(read(node, number), number, node.name)
    expect_to_be_disturbed(nodes.replicas[0])


def disturb(control, node):
    while control.running():
        read(node, 0)
        time.sleep(0.2)


def expect_to_be_disturbed(node):
    """The canary: one reader is one too many."""
    reader = workers.Worker(disturb, node)
    expect_raises(AssertionError, "woke up", expect_sleep, node)
    reader.stop()


def sleeps(stage, nodes, empty_kib):
    for node, empty in zip(nodes.nodes, empty_kib):
        fall_asleep(node)
    for node, empty in zip(nodes.nodes, empty_kib):
        cpu = node.cpu_seconds()
        woken = expect_sleep(node)
        stage.say(node.name, "%d wake-ups and %.0f ms of CPU in %d s, %.1f kB"
                  " a database" %
                  (woken, 1000 * (node.cpu_seconds() - cpu), SECONDS,
                   (node.memory_kib() - empty) / DATABASES))
