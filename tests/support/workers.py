"""tests/support/workers.py - applications: processes that a test starts,
tells to pause or stop, and hears the end of.

A worker runs function(control, ...) in a process of its own. It asks
control.running() in its loop; that waits while the test has paused it. What
the function returns or raises comes back in join(). Connections never cross
a fork: open them inside.
"""
import mmap
import os
import pickle
import signal
import time
import traceback

import runner
from runner import expect, until

RUN, PAUSE, STOP = 0, 1, 2


class Control:
    """Three bytes both sides see: what is wished, what is, and a count."""

    def __init__(self):
        self.bytes = mmap.mmap(-1, mmap.PAGESIZE)

    def running(self):
        """For the worker: False when it is to end."""
        self.bytes[8:16] = (self.count() + 1).to_bytes(8, "little")
        while self.bytes[0] == PAUSE:
            self.bytes[1] = PAUSE
            time.sleep(0.002)
        self.bytes[1] = self.bytes[0]
        return self.bytes[0] != STOP

    def count(self):
        """How often the worker went round."""
        return int.from_bytes(self.bytes[8:16], "little")


class Worker:
    def __init__(self, function, *arguments):
        self.name = function.__name__
        self.control = Control()
        parent = os.getpid()
        self.words = os.memfd_create("last words")
        self.pid = os.fork()
        if self.pid == 0:
            runner.die_with_parent(parent)
            self.run(function, arguments)

    def run(self, function, arguments):
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        try:
            result = (True, function(self.control, *arguments))
        except BaseException:
            result = (False, traceback.format_exc())
        with os.fdopen(self.words, "wb") as file:
            pickle.dump(result, file)
        os._exit(0)

    def wish(self, state):
        self.control.bytes[0] = state

    def is_over(self):
        if self.pid is None:
            return True
        return os.waitid(os.P_PID, self.pid,
                         os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def paused(self):
        return self.control.bytes[1] == PAUSE or self.is_over()

    def count(self):
        return self.control.count()

    def join(self, seconds=30):
        """Its result; raises what it raised. Does not ask it to stop."""
        until(self.is_over, "%s does not end" % self.name, seconds)
        os.waitpid(self.pid, 0)
        self.pid = None
        with os.fdopen(self.words, "rb") as file:
            file.seek(0)
            said = file.read()
        expect(said, "%s was killed" % self.name)
        good, value = pickle.loads(said)
        expect(good, "%s failed:\n%s" % (self.name, value))
        return value

    def stop(self, seconds=30):
        self.wish(STOP)
        return self.join(seconds)

    def kill(self):
        """As it stands: no last words."""
        if self.pid is not None:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            os.close(self.words)
            self.pid = None

    def check(self):
        """Raises when it has ended by itself."""
        if self.is_over():
            self.join()
            raise AssertionError("%s ended too early" % self.name)


def pause(workers, seconds=30):
    """Returns when each has finished what it was at."""
    for worker in workers:
        worker.wish(PAUSE)
    for worker in workers:
        until(worker.paused, "%s does not pause" % worker.name, seconds)
        worker.check()


def resume(workers):
    for worker in workers:
        worker.wish(RUN)


def stop(workers, seconds=30):
    for worker in workers:
        worker.wish(STOP)
    return [worker.join(seconds) for worker in workers]


def as_user(number, function, *arguments):
    """Runs function in a process of that user and group; its result."""
    def inside(_control):
        os.setgroups([])
        os.setgid(number)
        os.setuid(number)
        os.umask(0o022)
        return function(*arguments)
    return Worker(inside).join()
