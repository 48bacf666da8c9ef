"""Every call at which a node can die has an occasion at which it does, or a
reason why not. Occasions find out themselves which calls they meet: each is
played once to hear that, and then again for each call, with the death there."""
import collections
import glob
import os
import shutil

import olddisk
import scene
import sql
from points import CALLS, sites
from runner import LONG, expect, expect_eq, test

DEATHS = int(os.environ.get("DEATHS", "0" if LONG else "10"))  # 0: all
REHEARSALS = 3  # at most
NAME = "app.db"
SMALL_LOG = "log: { retain: 1MiB }\n"


# ---- occasions -------------------------------------------------------------------

def commits_of_a_wal(play):
    play.start()
    play.write(NAME, range(20), journal_mode="wal", page_size=1024)

    def large():
        with sql.connect(play.primary.path(NAME), cache_size=20) as db:
            with sql.transaction(db):
                db.execute("CREATE TABLE IF NOT EXISTS large(v)")
                db.execute("DELETE FROM large")
                db.executemany("INSERT INTO large VALUES (randomblob(?))",
                               [(900,)] * 12000)
    play.do(large)  # more frames than one segment of a wal-index has
    play.settle(NAME)
    play.write(NAME, range(20, 30), synchronous="full")
    with_connection(play, "PRAGMA wal_checkpoint(TRUNCATE)")
    play.write(NAME, range(30, 60), 9000)
    with_connection(play, "VACUUM")
    play.settle(NAME)
    play.rest(play.primary)
    play.rest(play.replica)
    play.restart(play.primary)
    play.restart(play.replica)
    play.write(NAME, range(60, 70))


def with_connection(play, *statements, name=NAME, **pragmas):
    def step():
        with sql.connect(play.primary.path(name), **pragmas) as db:
            for statement in statements:
                db.execute(statement)
    play.do(step)


def commits_of_journals(play):
    play.start()
    for level in ("full", "off"):
        for mode in ("delete", "truncate", "persist", "memory", "off"):
            play.write(mode + ".db", range(8), journal_mode=mode,
                       synchronous=level, cache_size=5, auto_vacuum="full")
            with_connection(
                play, "BEGIN", "CREATE TABLE s AS WITH RECURSIVE c(x) AS (VALUES"
                "(1) UNION ALL SELECT x + 1 FROM c WHERE x < 300) SELECT x,"
                " randomblob(500) FROM c", "ROLLBACK" if level == "full" and
                mode != "off" else "COMMIT", "DROP TABLE IF EXISTS s",
                name=mode + ".db", journal_mode=mode, synchronous=level,
                cache_size=5)
            play.settle(mode + ".db")
    play.write("delete.db", range(8, 16), journal_mode="wal")


def a_node_is_killed_beside_its_applications(play):
    """What it left is found, and who has it open from before is waited for."""
    play.start()
    play.write(NAME, range(10), journal_mode="wal")
    play.write("journal.db", range(10), journal_mode="delete")
    play.settle(NAME)
    for node in play.nodes.nodes:
        with play.reader(node, NAME), play.reader(node, "journal.db"):
            play.write(NAME, range(10, 20))
            play.kill(node)
            play.start(node)
        play.write(NAME, range(20, 30))
        play.write("journal.db", range(20, 30))
        play.settle(NAME)
        play.kill(node)  # with a WAL that nobody copied back
        play.start(node)


def lose_the_log(play):
    """The primary cannot say any more what the replica misses."""
    play.stop(play.primary)
    play.primary.lose_the_log()
    play.start(play.primary)


def copies_of_all_kinds(play):
    play.start(play.primary)
    play.write(NAME, range(300), 900, journal_mode="wal", page_size=1024)
    play.do(play.primary.token, NAME)
    play.start(play.replica)  # a first one
    play.settle(NAME)
    play.stop(play.replica)
    play.write(NAME, range(300, 310))
    lose_the_log(play)
    play.start(play.replica)  # pages that differ
    play.settle(NAME)
    play.rest(play.replica)
    play.restart(play.replica)
    play.stop(play.replica)  # somebody wrote to it
    with open(play.replica.file(NAME), "r+b") as file:
        file.seek(50 * 1024 + 100)
        file.write(b"a stranger was here")
    play.start(play.replica)
    play.settle(NAME)


def a_copy_over_an_open_database(play):
    """The replica falls behind what the log keeps, while it is read."""
    play.start()
    play.write(NAME, range(50), journal_mode="wal", page_size=1024)
    play.settle(NAME)
    with play.reader(play.replica, NAME), play.paused(play.replica):
        play.write(NAME, range(50, 60))
        lose_the_log(play)
    play.write(NAME, range(60, 80))
    play.settle(NAME)


def files_and_folders(play):
    play.start()
    play.do(use_files, play.primary)
    make_and_drop(play, "sub/x.db")
    play.write("sub/x.db", range(7), journal_mode="delete")
    play.settle("sub/x.db")
    play.do(look_around, play.replica)
    play.do(lambda: os.chmod(play.primary.path("sub/x.db"), 0o640))
    play.do(lambda: os.chown(play.primary.path("sub/x.db"), 12, 34))


def use_files(node):
    """A folder, and a file that is no database, as any program uses them."""
    folder = node.path("sub")
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, "notes.txt")
    with open(path, "wb") as file:
        file.write(b"a line\n" * 3000)
        file.flush()
        os.posix_fallocate(file.fileno(), 0, 50000)
        os.fsync(file.fileno())
        os.fdatasync(file.fileno())
    with open(path, "rb") as file:
        expect(file.read(7) == b"a line\n", "it reads as something else")
    os.truncate(path, 100)
    os.chmod(path, 0o600)
    os.chown(path, 1, 1)
    os.utime(path, (1, 1))
    look_around(node)
    os.rename(path, path + ".old")
    os.unlink(path + ".old")


def make_and_drop(play, name):
    """A database that is gone after a death is dropped on no replica (it may
    have been the disk): then it must be dropped once more."""
    died_before = play.died
    play.write(name, range(5), journal_mode="wal")
    play.settle(name)
    with play.reader(play.primary, name):  # so that there are a WAL and -shm
        play.do(unlink_if_there, play.primary.path(name))
    play.do(sql.remove, play.primary.path(name))
    play.told.pop(name)

    def is_dropped():
        return name not in play.replica.databases() or \
            play.died and not died_before
    play.until(is_dropped, "it is not dropped")
    if play.do(play.replica.databases):
        make_and_drop(play, name)


def unlink_if_there(path):
    if os.path.exists(path):
        os.unlink(path)


def look_around(node):
    folder = node.path("sub")
    handle = os.open(folder, os.O_RDONLY)
    os.fsync(handle)
    os.close(handle)
    os.statvfs(folder)
    expect(os.listdir(folder), "nothing is there")


def commands_of_an_operator(play):
    play.start()
    play.write(NAME, range(200), journal_mode="wal", page_size=1024)
    for node in play.nodes.nodes:
        token = play.do(play.primary.token_by_file, NAME)
        play.do(node.wait_by_open, NAME, token)
        play.do(node.command, "doctor")
        out = play.stage.path("out.db")
        play.do(node.ask, "export", NAME, out)
    play.do(play.primary.ask, "import", "second.db", out)
    play.do(shutil.copyfile, out, play.primary.path("third.db"))
    play.do(shutil.copyfile, out, play.primary.path("second.db"))
    for name in ("second.db", "third.db"):
        play.settle(name)
    play.rest(play.replica)
    play.rest(play.primary)
    with open(play.replica.file(NAME), "r+b") as file:
        file.seek(60 * 1024 + 50)
        file.write(b"rotten")
    for node in play.nodes.nodes:
        play.do(node.command, "verify")
    play.until(lambda: "ok" in play.replica.ask("verify", NAME),
               "the replica does not heal")


def start_on_the_old_disk(play):
    """One that had died since has told of an epoch that the old disk does not
    know: it is fenced until its number is a higher one, as the log says."""
    play.mend()
    olddisk.old_disk(play.primary)
    play.start(play.primary)
    for _ in range(2 if play.died else 0):
        play.restart(play.primary)


def a_primary_gets_an_older_disk(play):
    play.start()
    play.do(olddisk.knows, play.primary, play.replica)
    play.do(olddisk.write_all, play.nodes, 10)
    play.do(olddisk.keep_disk, play.primary)
    play.do(olddisk.write_all, play.nodes, 10)
    start_on_the_old_disk(play)


def a_replica_has_what_the_primary_lost(play):
    """And keeps it aside before it takes what the primary has."""
    play.primary.fetch_timeout = "0s"
    play.primary.configure()
    play.start()
    play.do(olddisk.write_all, play.nodes, 5)
    play.do(olddisk.keep_disk, play.primary)
    play.do(olddisk.write_all, play.nodes, 5)
    with play.reader(play.replica, olddisk.NAMES[0]):
        start_on_the_old_disk(play)
        play.do(olddisk.write_all, play.nodes, 8)
    play.restart(play.replica)


def a_log_that_is_trimmed(play):
    play.start()
    for start in range(0, 400, 20):
        play.write(NAME, range(start, start + 20), 9000, journal_mode="wal")
    play.settle(NAME)
    play.rest(play.primary)
    play.rest(play.replica)


def logs_with_a_torn_end(play):
    """And one that is damaged in the middle."""
    play.start()
    play.write(NAME, range(30), journal_mode="wal")
    play.settle(NAME)
    for damage in (torn, spoiled):
        for node in play.nodes.nodes:
            play.write(NAME, range(30, 40))
            play.settle(NAME)
            play.kill(node)
            damage(max(glob.glob(os.path.join(node.data, "db/*/log/*.seg"))))
            play.start(node)
            play.settle(NAME)


def torn(path):
    with open(path, "r+b") as file:
        file.truncate(os.path.getsize(path) - 100)


def spoiled(path):
    with open(path, "r+b") as file:
        file.seek(os.path.getsize(path) // 2)
        file.write(b"rotten")


def databases_that_came_while_no_node_ran(play):
    play.start()
    play.write(NAME, range(30), journal_mode="wal")
    play.settle(NAME)
    out = play.stage.path("out.db")
    play.do(play.primary.ask, "export", NAME, out)
    play.rest(play.primary)
    play.stop(play.primary)
    shutil.copyfile(out, play.primary.file("came.db"))
    shutil.copyfile(out, play.primary.file(NAME))
    play.start(play.primary)
    play.settle("came.db")


def calls_that_failed_before(play):
    """A sync and an append: what they left is made good."""
    play.start()
    for level in ("full", "off"):
        play.write(NAME, range(40), journal_mode="wal", synchronous=level)
        play.settle(NAME)


FAILING = ",log.sync=4:EIO,log.append=5:ENOSPC"
# Each with what is added to the configuration, and to the plan of faults.
OCCASIONS = {
    commits_of_a_wal: ("", ""),
    commits_of_journals: ("", ""),
    a_node_is_killed_beside_its_applications: ("", ""),
    copies_of_all_kinds: ("", ""),
    a_copy_over_an_open_database: ("", ""),
    files_and_folders: ("", ""),
    commands_of_an_operator: ("", ""),
    a_primary_gets_an_older_disk: ("", ""),
    a_replica_has_what_the_primary_lost: ("", ""),
    a_log_that_is_trimmed: (SMALL_LOG, ""),
    logs_with_a_torn_end: ("", ""),
    databases_that_came_while_no_node_ran: ("", ""),
    calls_that_failed_before: ("", FAILING),
}
# No occasion, and why.
REASONS = dict.fromkeys(
    ("anchor.read", "apply.refuse", "graft.refuse", "walindex.hash"),
    "names what was found wrong; nothing is called there")
REASONS.update({
    "advertise.route": "only without node.advertise, before there is a mount",
    "export.rename": "of the command, not of a node",
    "fetching.remove": "after a call that failed: tests/crash/adopting.py has "
                       "each of those fail",
    "guardian.title": "of the guardian, which has nothing to lose",
})


def reasons(mode):
    """Of a mount of that mode."""
    if mode != "classic":
        return REASONS
    return {**REASONS, "passthrough.open": "of the other mode",
            "passthrough.probe": "of the other mode"}


# ---- the tests -------------------------------------------------------------------

def play_it(stage, occasion, role, plan):
    """The scene, when it is over; its folders are gone."""
    extra, failing = OCCASIONS[occasion]
    play = scene.Scene(stage, role, plan + failing, extra)
    occasion(play)
    play.compare()
    play.close()
    for node in play.nodes.nodes:
        shutil.rmtree(node.home)
    return play


def never(met):
    """Sites that were met on no role."""
    return sorted(site for site in sites()
                  if not any((role, site) in met for role in scene.ROLES))


def rehearse(stage):
    """(role, site) -> the occasions that meet it. Once more when one is missing
    that should not: which calls there are depends on who was quicker."""
    met = collections.defaultdict(list)
    for _ in range(REHEARSALS):
        rehearse_once(stage, met)
        if set(never(met)) <= set(reasons(stage.mode)):
            break
    return met


def rehearse_once(stage, met):
    for occasion in OCCASIONS:
        for role in scene.ROLES:
            told = stage.path("met")
            play_it(stage, occasion, role, "met:" + told)
            with open(told) as file:
                for site in file.read().split():
                    if occasion not in met[role, site]:
                        met[role, site].append(occasion)
            os.unlink(told)


@test(seconds=14400 if LONG else 900 + 20 * DEATHS, sample=True)
def a_node_that_dies_at_any_call_comes_back_and_goes_on(stage):
    met = rehearse(stage)
    for role in scene.ROLES:
        stage.say("not called on a", role, sorted(
            site for site in sites() if (role, site) not in met))
    expect_eq(never(met), sorted(reasons(stage.mode)),
              "never met, and what has a reason")
    deaths = sorted(met)
    if DEATHS:
        deaths = stage.rng.sample(deaths, DEATHS)
    alive = []
    for role, site in deaths:
        if not dies_once(stage, role, site, met[role, site]):
            alive.append((role, site))
    stage.say(len(deaths) - len(alive), "deaths; alive:", alive)
    # What was met once is not met each time.
    expect(len(alive) <= max(1, len(deaths) // 20),
           "calls that were met, and nobody died at: %s" % alive)


def dies_once(stage, role, site, occasions):
    """At the first call of that name, in a long run at some other before. Not
    every occasion meets the same calls each time."""
    tries = [(occasion, 1) for occasion in
             stage.rng.sample(occasions, min(3, len(occasions)))]
    call = stage.rng.choice(CALLS) if LONG else 1
    if call > 1:
        tries.insert(0, (tries[0][0], call))
    for occasion, call in tries:
        stage.say(role, site, call, occasion.__name__)
        if play_it(stage, occasion, role, "%s=%d:KILL" % (site, call)).died:
            return True
    return False
