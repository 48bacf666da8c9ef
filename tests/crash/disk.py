"""The disk that fails (tests/faultfs), tested itself: by a stock program whose
content is known, and by SQLite alone, which must survive it, unless it is
told not to sync."""
import errno
import os
import sqlite3
import subprocess
import threading

import chain
import faultfs
import power
import sql
from runner import LONG, expect, expect_eq, expect_raises, test, until

COMMITS = 200 if LONG else 40
STATES = None if LONG else 150


def mounted(stage, name="alone"):
    return faultfs.Disk(stage, name, stage.path(name)).start()


def run(script, folder):
    subprocess.run(["sh", "-c", script], cwd=folder, check=True, timeout=30)


def tree(folder):
    """path -> content of all files below."""
    found = {}
    for where, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(where, name)
            with open(path, encoding="ascii") as file:
                found[os.path.relpath(path, folder)] = file.read()
    return found


@test(seconds=30, modes=("classic",))
def a_stock_program_finds_after_a_cut_what_it_synced(stage):
    disk = mounted(stage)
    run("mkdir d && sync . && sync d &&"
        " echo one >d/kept && sync d/kept d &&"
        " echo two >>d/kept && echo lost >d/lost", disk.point)
    here = disk.mark("here")
    expect_eq(tree(disk.point), {"d/kept": "one\ntwo\n", "d/lost": "lost\n"})
    run("mv d/kept d/moved && rm d/lost && truncate -s 2 d/moved", disk.point)
    moved = disk.mark("moved")
    run("sync d", disk.point)
    named = disk.mark("named")
    run("sync d/moved && rm d/moved && mkdir e && sync .", disk.point)
    end = disk.mark("end")
    disk.close()
    want = {
        (here, "lost"): {"d/kept": "one\n"},
        (here, "kept"): {"d/kept": "one\ntwo\n", "d/lost": "lost\n"},
        (moved, "lost"): {"d/kept": "one\n"},
        (moved, "kept"): {"d/moved": "on"},
        (named, "lost"): {"d/moved": "one\n"},
        (end, "lost"): {"d/moved": "on"},
        (end, "kept"): {},
    }
    for (events, fate), files in want.items():
        state = disk.cut(events, fate)
        expect_eq(tree(state), files, "%s at %d" % (fate, events))
    expect(os.path.isdir(os.path.join(disk.cut(end, "lost"), "e")),
           "a folder whose parent was synced is gone")


@test(seconds=30, modes=("classic",))
def what_was_there_before_the_disk_began_is_durable_and_keeps_its_number(stage):
    disk = mounted(stage)
    run("echo a >a", disk.point)
    number = os.stat(os.path.join(disk.point, "a")).st_ino
    disk.close()
    disk.start()
    expect_eq(os.stat(os.path.join(disk.point, "a")).st_ino, number)
    run("echo b >a", disk.point)
    end = disk.mark("end")
    disk.close()
    again = faultfs.Disk(stage, "again", stage.path("again"),
                         disk.cut(end, "lost")).start()
    expect_eq(tree(again.point), {"a": "a\n"})
    expect_eq(os.stat(os.path.join(again.point, "a")).st_ino, number)


# ---- SQLite alone -----------------------------------------------------------------

def load_alone(stage, disk, journal_mode, level):
    """Commits by SQLite, on the disk itself; each is marked."""
    path = os.path.join(disk.point, "a.db")
    with sql.connect(path, page_size=stage.rng.choice((512, 1024, 4096)),
                     journal_mode=journal_mode, synchronous=level,
                     wal_autocheckpoint=30) as connection:
        chain.create(connection, stage.rng)
        disk.mark("made")
        for _ in range(COMMITS):
            name = stage.rng.randbytes(8).hex()
            with sql.transaction(connection):
                n = chain.extend(connection, stage.rng, name)
            disk.mark("ack", n, name)
    disk.close()


def states_alone(disk, rng, fates=faultfs.FATES):
    """Cut after cut, and what had been told before it: None before there
    were tables."""
    events = disk.events()
    marks = faultfs.Marks(events)
    every = [power.Cut(point, fate, rng.randrange(1 << 32), kind)
             for point in faultfs.sync_points(events) for fate in fates
             for kind in ("strict", "journal")]
    for cut in every if STATES is None or len(every) <= STATES else \
            rng.sample(every, STATES):
        words = marks.before(cut.events)
        yield cut, {int(one[1]): one[2] for one in words[1:]} \
            if words else None


def survives(disk, cut, said, may_lose):
    state = disk.cut(cut.events, cut.fate, cut.seed, cut.kind)
    path = os.path.join(state, "a.db")
    if said is None and not os.path.exists(path):
        return
    seen = power.look(path)
    if seen is None:
        expect(said is None or may_lose > len(said), "the tables are gone")
    elif said is not None:
        power.check_acknowledged("a.db", said, seen, may_lose)


@test(seconds=120 if not LONG else 1800, modes=("classic",))
def sqlite_alone_survives_every_cut(stage):
    """The control: a disk that is too cruel for SQLite proves nothing."""
    # With FULL, SQLite does not sync the folder after deleting a journal.
    for mode, level, may_lose in (
            ("wal", "full", 0), ("wal", "normal", 10 ** 9),
            ("delete", "full", 1), ("delete", "extra", 0),
            ("truncate", "full", 0), ("persist", "full", 0)):
        disk = mounted(stage, "%s-%s" % (mode, level))
        load_alone(stage, disk, mode, level)
        states = 0
        for cut, said in states_alone(disk, stage.rng):
            try:
                survives(disk, cut, said, may_lose)
            except (AssertionError, sqlite3.Error) as error:
                raise AssertionError("%s %s %s: %s" % (mode, level, cut,
                                                       error)) from error
            states += 1
        stage.say(mode, level, states, "states")


@test(seconds=60, modes=("classic",))
def sqlite_that_does_not_sync_is_caught(stage):
    """The canary: commits that only synchronous=OFF acknowledged are lost, or
    the database is damaged."""
    for mode in ("wal", "delete"):
        disk = mounted(stage, mode)
        load_alone(stage, disk, mode, "off")
        events, caught = disk.events(), []
        said = {int(words[1]): words[2]
                for words in faultfs.Marks(events).before(len(events))[1:]}
        for seed in range(10):
            for fate in ("lost", "free", "torn"):
                cut = power.Cut(len(events), fate, seed, "strict")
                try:
                    survives(disk, cut, said, 0)
                except (AssertionError, sqlite3.Error) as error:
                    caught.append(str(error)[:60])
        stage.say(mode, len(caught), "of 30:", sorted(set(caught))[:5])
        expect(len(caught) > 15, "%s: only %d of 30 states are bad"
               % (mode, len(caught)))


# ---- weather ----------------------------------------------------------------------

def error_of(function, *arguments):
    try:
        function(*arguments)
    except OSError as error:
        return errno.errorcode[error.errno]
    return None


@test(seconds=30, modes=("classic",))
def a_write_and_a_sync_fail_when_they_are_told_to(stage):
    disk = mounted(stage)
    one = os.open(os.path.join(disk.point, "one"), os.O_RDWR | os.O_CREAT)
    two = os.open(os.path.join(disk.point, "two"), os.O_RDWR | os.O_CREAT)
    disk.tell("fail write 2 EIO one")
    expect_eq([error_of(os.write, fd, b"x") for fd in (one, two, one, one)],
              [None, None, "EIO", None])
    disk.tell("fail write 1+ ENOSPC")
    expect_eq([error_of(os.write, fd, b"x") for fd in (one, two)],
              ["ENOSPC"] * 2)
    disk.tell("clear")
    disk.tell("fail sync 1 EIO two")
    expect_eq([error_of(os.fsync, fd) for fd in (one, two, two)],
              [None, "EIO", None])
    expect_raises(AssertionError, "error", disk.tell, "nonsense")
    os.close(one)
    os.close(two)
    errors = [event.error for event in disk.events() if event.kind == "sync"]
    expect_eq(errors, [0, errno.EIO, 0])


@test(seconds=30, modes=("classic",))
def a_full_disk_takes_what_it_has_room_for_and_goes_on_when_there_is_more(
        stage):
    disk = mounted(stage)
    fd = os.open(os.path.join(disk.point, "a"), os.O_RDWR | os.O_CREAT)
    os.write(fd, b"1234")
    disk.tell("full 3")
    expect_eq(os.write(fd, b"56789"), 3)
    expect_eq(error_of(os.write, fd, b"89"), "ENOSPC")
    expect_eq(os.pwrite(fd, b"ABCD", 0), 4, "what does not grow")
    disk.tell("clear")
    expect_eq(os.write(fd, b"89"), 2)
    expect_eq(os.pread(fd, 99, 0), b"ABCD56789")
    os.close(fd)


@test(seconds=30, modes=("classic",))
def what_is_frozen_waits_and_goes_on(stage):
    disk = mounted(stage)
    fd = os.open(os.path.join(disk.point, "a"), os.O_RDWR | os.O_CREAT)
    done = []

    def work():
        os.write(fd, b"x")
        done.append("written")
        os.fsync(fd)
        done.append("synced")
    disk.tell("freeze sync")
    thread = threading.Thread(target=work)
    thread.start()
    until(lambda: done, "a write waits for what only syncs should")
    thread.join(0.2)
    expect_eq(done, ["written"])
    disk.tell("clear")
    thread.join()
    expect_eq(done, ["written", "synced"])
    disk.tell("freeze all")
    thread = threading.Thread(target=work)
    thread.start()
    thread.join(0.2)
    expect_eq(len(done), 2, "what was done while all was frozen")
    disk.tell("clear")
    thread.join()
    os.close(fd)
