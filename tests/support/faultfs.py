"""tests/support/faultfs.py - a disk whose power can fail, below a folder.

A Disk serves a folder at a mount point and keeps a trace of what it was told
(tests/faultfs). `cut` makes of the trace, up to some event, what a disk may
hold after a power cut there. `mark` puts a word of ours among the events: what
an application was told stands in one order with what the disk was told.
"""
import bisect
import collections
import functools
import os
import shutil
import socket
import subprocess

import cluster
import runner
from runner import expect, until

FATES = ("lost", "kept", "prefix", "free", "torn")
KINDS = ("strict", "journal")  # of disks: tests/support/faultdisk.h
Event = collections.namedtuple("Event",
                               "number kind object time_ns error bytes text")


def program():
    return os.environ.get("FAULTFS") or os.path.join(
        os.path.dirname(cluster.program()), "tests/faultfs/faultfs")


class Marker:
    """A connection of one process to the disk's socket."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(path)
        self.stream = self.socket.makefile("rw", encoding="utf-8")

    def ask(self, *words):
        self.stream.write(" ".join(str(word) for word in words) + "\n")
        self.stream.flush()
        answer = self.stream.readline().split()
        expect(answer[:1] == ["ok"], "faultfs: %s: %s" % (words, answer))
        return int(answer[1]) if len(answer) > 1 else 0

    def mark(self, *words):
        """So many events there are now."""
        return self.ask("mark", *words)

    def close(self):
        self.stream.close()
        self.socket.close()


class Disk:
    """Mounted at `point`; its files are in the folder `home`."""

    def __init__(self, stage, name, point, backing=None):
        self.stage, self.name, self.point = stage, name, point
        self.home = stage.path("disk-" + name)
        self.backing = backing or os.path.join(self.home, "backing")
        self.trace = os.path.join(self.home, "trace")
        self.socket = os.path.join(self.home, "socket")
        self.process, self.marker = None, None
        for folder in (self.home, self.backing, point):
            os.makedirs(folder, exist_ok=True)
        stage.closers.append(self.close)

    def start(self):
        parent = os.getpid()
        with open(os.path.join(self.home, "log"), "ab") as log:
            self.process = subprocess.Popen(
                [program(), "mount", self.backing, self.point, self.trace,
                 self.socket], stdin=subprocess.DEVNULL, stdout=log,
                stderr=log,
                preexec_fn=functools.partial(runner.die_with_parent, parent))

        def is_mounted():
            expect(self.process.poll() is None, "faultfs does not start")
            return os.path.ismount(self.point)
        until(is_mounted, "faultfs does not mount", pause=0.002)
        self.marker = Marker(self.socket)
        return self

    def tell(self, *words):
        """A command of tests/faultfs/mishap.h."""
        self.marker.ask(*words)

    def mark(self, *words):
        return self.marker.mark(*words)

    def close(self):
        """Nobody uses it any more."""
        if self.process is None:
            return
        self.marker.close()
        runner.unmount(self.point)
        self.process.wait(20)
        self.process = None
        os.unlink(self.socket)

    # ---- what was recorded -------------------------------------------------

    def events(self):
        done = subprocess.run([program(), "list", self.trace], check=True,
                              stdout=subprocess.PIPE, timeout=60)
        found = []
        for line in done.stdout.decode("utf-8", "replace").splitlines():
            fields = line.split(" ", 6)
            found.append(Event(int(fields[0]), fields[1], int(fields[2]),
                               int(fields[3]), int(fields[4]),
                               int(fields[5]), fields[6]))
        return found

    def cut(self, events, fate, seed=0, kind="strict", out=None):
        """A folder with what is left when the power fails after so many
        events; the caller removes it."""
        out = out or os.path.join(self.home, "state")
        shutil.rmtree(out, ignore_errors=True)
        subprocess.run([program(), "cut", self.trace, str(events), kind, fate,
                        str(seed), out], check=True, timeout=60)
        return out


def sync_points(events):
    """Each place where a sync is just about to be done."""
    return [event.number for event in events
            if event.kind in ("sync", "sync-dir")]


class Marks:
    """What was told by a mark, by when."""

    def __init__(self, events):
        self.words = [(event.number, event.text.split()) for event in events
                      if event.kind == "mark"]
        self.numbers = [number for number, _ in self.words]

    def before(self, events):
        """The words of the marks among the first so many events."""
        return [words for _, words in
                self.words[:bisect.bisect_left(self.numbers, events)]]
