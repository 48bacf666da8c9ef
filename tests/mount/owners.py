"""Owner and mode of a database follow it to its replicas, whenever they change."""
import os
import shutil
import sqlite3
import stat

import cluster
import sql
from runner import expect, test, until

THEIRS = (1234, 2345, 0o664)


def make(path):
    with sql.connect(path) as connection:
        connection.execute("CREATE TABLE t(v)")
        connection.execute("INSERT INTO t VALUES (1)")


def give(path, wanted=THEIRS):
    os.chown(path, wanted[0], wanted[1])
    os.chmod(path, wanted[2])


def owner(path):
    """None: there is no such file."""
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return None
    return status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)


def follow(replica, wanted):
    """wanted: by name, what the replica has to show before long."""
    def others():
        return {name: owner(replica.path(name)) for name in wanted
                if owner(replica.path(name)) != wanted[name]}
    until(lambda: not others(), lambda: "on the replica: %s" % others(), 20)


@test(seconds=40)
def owner_and_mode_follow_to_the_replicas(stage):
    nodes = cluster.pair(stage)
    path = nodes.primary.path("app.db")
    make(path)
    give(path)
    nodes.compare("app.db")
    follow(nodes.replicas[0], {"app.db": THEIRS})


@test(seconds=60)
def owner_and_mode_of_what_a_replica_is_just_making_follow(stage):
    nodes = cluster.pair(stage)
    replica = nodes.replicas[0]
    replica.starve_workers()
    names = ["%d.db" % n for n in range(80)]
    for name in names:
        make(nodes.primary.path(name))
        give(nodes.primary.path(name))
    replica.starve_workers(False)
    follow(replica, dict.fromkeys(names, THEIRS))


@test(seconds=60)
def the_last_of_many_owners_and_modes_is_the_one_that_follows(stage):
    nodes = cluster.pair(stage)
    replica = nodes.replicas[0]
    names = ["%d.db" % n for n in range(10)]
    for name in names:
        make(nodes.primary.path(name))
        nodes.compare(name)
    for turn in range(20):
        for name in names:
            give(nodes.primary.path(name), (1000 + turn, 1000, 0o600 + turn))
    for name in names:
        give(nodes.primary.path(name))
    follow(replica, dict.fromkeys(names, THEIRS))


@test(seconds=60)
def owner_and_mode_given_right_behind_the_close_of_a_new_file_follow(stage):
    """The close is done before the node hears of it, and finds a database."""
    nodes = cluster.pair(stage)
    plain = stage.path("plain.db")
    connection = sqlite3.connect(plain)
    with connection:
        connection.execute("CREATE TABLE t(v)")
    connection.close()
    names = ["%d.db" % n for n in range(200)]
    for name in names:
        shutil.copyfile(plain, nodes.primary.path(name))
        give(nodes.primary.path(name))
    follow(nodes.replicas[0], dict.fromkeys(names, THEIRS))


@test(seconds=40)
def owner_and_mode_of_a_file_that_takes_the_place_of_another_follow(stage):
    nodes = cluster.pair(stage)
    path, other = nodes.primary.path("app.db"), nodes.primary.path("new.tmp")
    make(path)
    nodes.compare("app.db")
    plain = stage.path("plain.db")
    connection = sqlite3.connect(plain)
    with connection:
        connection.execute("CREATE TABLE other(v)")
    connection.close()
    with open(plain, "rb") as file:
        content = file.read()
    with open(other, "wb") as file:
        os.fchown(file.fileno(), THEIRS[0], THEIRS[1])
        os.fchmod(file.fileno(), THEIRS[2])
        file.write(content)
        # Open: no database yet, and the name is not given up by its going.
        until(lambda: try_rename(other, path), "the name stays in use", 20)
    nodes.compare("app.db")
    follow(nodes.replicas[0], {"app.db": THEIRS})


def try_rename(source, target):
    try:
        os.rename(source, target)
    except OSError:
        return False
    return True


@test(seconds=60)
def owner_and_mode_changed_while_the_primary_was_stopped_follow(stage):
    nodes = cluster.pair(stage)
    primary = nodes.primary
    make(primary.path("app.db"))
    nodes.compare("app.db")
    primary.stop()
    give(primary.file("app.db"))
    primary.start()
    follow(nodes.replicas[0], {"app.db": THEIRS})


@test(seconds=60)
def a_replica_that_was_stopped_gets_owner_and_mode_as_on_the_primary(stage):
    """What it wrote down and what its file has may differ, after a power cut:
    only the file counts."""
    nodes = cluster.pair(stage)
    replica = nodes.replicas[0]
    make(nodes.primary.path("app.db"))
    give(nodes.primary.path("app.db"))
    follow(replica, {"app.db": THEIRS})
    replica.stop()
    give(replica.file("app.db"), (0, 0, 0o600))
    replica.start()
    follow(replica, {"app.db": THEIRS})


@test(seconds=60)
def a_replica_with_an_owner_of_its_own_takes_the_mode(stage):
    nodes = cluster.pair(stage)
    replica = nodes.replicas[0].stop()
    replica.configure("fuse: { mode: %s, uid: 77, gid: 78 }\n" % stage.mode)
    with open(replica.config) as file:
        lines = file.read().splitlines()
    with open(replica.config, "w") as file:
        file.write("\n".join(line for line in lines if not
                             line.endswith("mode: %s }" % stage.mode)) + "\n")
    replica.start()
    make(nodes.primary.path("app.db"))
    nodes.compare("app.db")
    give(nodes.primary.path("app.db"))
    follow(replica, {"app.db": (77, 78, THEIRS[2])})
    expect("level=error" not in replica.log_text(),
           "giving it an owner of its own failed")


@test(seconds=60)
def a_replica_that_may_give_nothing_away_takes_the_mode(stage):
    nodes = cluster.pair(stage)
    replica = nodes.replicas[0]
    with cluster.without_capabilities(replica, "chown"):
        replica.restart()
        make(nodes.primary.path("early.db"))
        nodes.compare("early.db")
        give(nodes.primary.path("early.db"))
        make(nodes.primary.path("late.db"))
        give(nodes.primary.path("late.db"))
        nodes.compare("late.db")
        follow(replica, dict.fromkeys(["early.db", "late.db"],
                                      (0, 0, THEIRS[2])))
