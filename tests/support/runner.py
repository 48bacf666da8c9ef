"""tests/support/runner.py - runs test functions, each in a process of its own.

A test is a function whose name is the law it guards, marked with @test. It
gets a Stage: a folder, a seeded random generator, the mode of the mounts and
helpers that end with it. Whatever happens inside, the runner ends the test's
process group, takes its mounts away and removes its folder.

    tests/mount/run [WORD ...]    runs the tests whose name contains a WORD
                                  (or one of WORDS in the environment)

SEED=n repeats a run, V=1 shows what passing tests printed, LONG=1 asks for
the whole of what is otherwise a sample, MODES=classic runs one mode alone,
MODES=one each test in one mode, drawn from the seed, KEEP=1 leaves the
folders of failed tests.

A program built with sanitizers (make MODE=asan mount) fails the test whose
daemon or command reported something, leaks at its end included.
"""
import ctypes
import faulthandler
import importlib.util
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback

MODES = ("passthrough", "classic")
# What a sanitizer says first; whatever it was, the test has failed.
REPORTS = ("ERROR: AddressSanitizer", "ERROR: LeakSanitizer",
           ": runtime error: ", "WARNING: ThreadSanitizer",
           "ERROR: ThreadSanitizer", "FATAL: ThreadSanitizer")
REPORT_LINES = 80
LONG = os.environ.get("LONG", "0") != "0"
VERBOSE = os.environ.get("V", "0") != "0"
TESTS, SAMPLES = [], set()
PR_SET_PDEATHSIG = 1
MNT_FORCE, MNT_DETACH = 1, 2
libc = ctypes.CDLL(None, use_errno=True)


class Skip(Exception):
    """This machine cannot run the test; says why."""


def test(seconds=60, modes=MODES, sample=False):
    """Marks a test: its time limit, and the mount modes it runs in; a sample
    runs in one of them, unless LONG."""
    def mark(function):
        if sample and not LONG:
            SAMPLES.add(function)
        if name_of(function) not in (name_of(one[0]) for one in TESTS):
            for mode in modes:
                TESTS.append((function, mode, seconds))
        return function
    return mark


def name_of(function):
    """A file that another one imports is read twice, its tests run once."""
    return os.path.basename(function.__code__.co_filename), function.__name__


def expect(truth, text):
    if not truth:
        raise AssertionError(text)


def expect_eq(left, right, text="values differ"):
    if left != right:
        raise AssertionError("%s:\n    left is  %.600r\n    right is %.600r"
                             % (text, left, right))


def expect_raises(kind, words, function, *arguments):
    """function must raise kind with one of words in its text."""
    words = (words,) if isinstance(words, str) else words
    try:
        function(*arguments)
    except kind as error:
        expect(any(word in str(error) for word in words),
               "expected %r in the error, it is %r" % (words, str(error)))
        return error
    raise AssertionError("%s was expected, nothing was raised" % kind.__name__)


def until(probe, text, seconds=20, pause=0.01):
    """Waits for an event that only asking can show; returns what probe gave.
    text may be a function that describes what was seen last."""
    deadline = time.monotonic() + seconds
    while True:
        value = probe()
        if value:
            return value
        if time.monotonic() > deadline:
            said = text() if callable(text) else text
            raise AssertionError("not within %g s: %s" % (seconds, said))
        time.sleep(pause)


def free_ports(count):
    """Ports nobody has now. They are remembered by nobody: taken soon."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


def die_with_parent(parent):
    """For a fresh child: it must not outlive the run, however that ends."""
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def report_in(text):
    """What a sanitizer wrote into text, from its first line on; "" if none."""
    found = [text.find(words) for words in REPORTS if words in text]
    if not found:
        return ""
    start = text.rfind("\n", 0, min(found)) + 1
    return "\n".join(text[start:].splitlines()[:REPORT_LINES])


def expect_no_report(who, text):
    report = report_in(text)
    expect(not report, "a sanitizer found something in %s:\n%s"
           % (who, report))


class Stage:
    """What one test has."""

    def __init__(self, name, mode, folder, seed):
        self.name, self.mode, self.folder, self.seed = name, mode, folder, seed
        self.rng = random.Random("%d %s" % (seed, name))
        self.closers = []  # run in reverse order when the test has passed

    def path(self, *parts):
        return os.path.join(self.folder, *parts)

    def write(self, name, content):
        path = self.path(name)
        with open(path, "w", encoding="utf-8") as file:
            file.write(content)
        return path

    def say(self, *words):
        print("   ", *words, flush=True)


# ---- inside the process of a test -------------------------------------------

def perform(function, stage, seconds):
    """Runs in the child; its exit status is the verdict."""
    faulthandler.dump_traceback_later(seconds - 2, exit=False)
    try:
        function(stage)
        for closer in reversed(stage.closers):
            closer()
        for name, text in logs_below(stage.folder):
            expect_no_report(name, text)
        return 0
    except Skip as reason:
        print("skipped: %s" % reason)
        return 77
    except BaseException:  # also KeyboardInterrupt: the report comes first
        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


def start(function, mode, seconds, folder, seed, log):
    parent = os.getpid()
    pid = os.fork()
    if pid != 0:
        return pid
    try:
        os.setpgid(0, 0)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        die_with_parent(parent)
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        stage = Stage(function.__name__, mode, folder, seed)
        code = perform(function, stage, seconds)
    except BaseException:
        traceback.print_exc()
        code = 1
    os._exit(code)


# ---- what a test leaves behind ----------------------------------------------

def mounts_below(folder):
    with open("/proc/self/mountinfo", encoding="utf-8",
              errors="surrogateescape") as file:
        points = [line.split()[4] for line in file]
    return [point for point in reversed(points)
            if point.startswith(folder + "/")]


def unmount(point):
    """By force: it fails the requests that a killed daemon left unanswered,
    one of which may be its own and keep it from dying."""
    if libc.umount2(os.fsencode(point), MNT_FORCE | MNT_DETACH) != 0:
        subprocess.run(["umount", "-l", point], check=False,
                       stderr=subprocess.DEVNULL)


def clean(pid, folder, keep):
    """Ends the group that pid led, then its mounts, then its folder."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    for _ in range(100):
        left = mounts_below(folder)
        if not left:
            break
        for point in left:
            unmount(point)
    if not keep and not mounts_below(folder):
        shutil.rmtree(folder, ignore_errors=True)


def logs_below(folder):
    """All files called log: whose it is and its text."""
    for name in sorted(os.listdir(folder)):
        path = os.path.join(folder, name, "log")
        if os.path.isfile(path):
            with open(path, encoding="utf-8", errors="replace") as file:
                yield name, file.read()


def log_ends(folder, lines=60):
    """The ends of all logs, for the report of a failure."""
    for name, text in logs_below(folder):
        yield "---- log of %s" % name
        report = report_in(text)
        if report:
            text = text[:text.index(report)]
        yield from text.splitlines()[-lines:]
        yield from report.splitlines()


# ---- the run ----------------------------------------------------------------

class Run:
    """Tests under way, by the id of their process."""

    def __init__(self, seed, jobs):
        self.seed, self.jobs = seed, jobs
        self.passed, self.failed, self.skipped = 0, 0, 0
        self.running = {}

    def begin(self, function, mode, seconds):
        folder = tempfile.mkdtemp(prefix="tidemark-")
        os.chmod(folder, 0o755)
        log = open(folder + ".log", "w+b")
        sys.stdout.flush()
        pid = start(function, mode, seconds, folder, self.seed, log)
        self.running[pid] = {
            "name": "%s[%s]" % (function.__name__, mode), "log": log,
            "folder": folder, "since": time.monotonic(), "seconds": seconds}

    def judge(self, one, status, late):
        took = time.monotonic() - one["since"]
        one["log"].seek(0)
        text = one["log"].read().decode("utf-8", "replace")
        code = os.waitstatus_to_exitcode(status)
        if code == 77:
            self.skipped += 1
            print("  skip   %s: %s" % (one["name"],
                                       text.strip().rpartition("\n")[2]))
        elif code == 0 and not late:
            self.passed += 1
            print("  PASS   %s (%.1f s)" % (one["name"], took))
        else:
            self.failed += 1
            why = ("took longer than %d s" % one["seconds"] if late
                   else "exit status %d" % code)
            print("  FAIL   %s: %s" % (one["name"], why))
        if VERBOSE or late or code not in (0, 77):
            lines = text.splitlines()
            if len(lines) > 400:
                lines = lines[:120] + ["..."] + lines[-280:]
            if late or code not in (0, 77):
                lines += log_ends(one["folder"])
            print("".join("    | %s\n" % line for line in lines), end="")
        sys.stdout.flush()
        return late or code not in (0, 77)

    def end(self, pid, status, late):
        one = self.running.pop(pid)
        bad = self.judge(one, status, late)
        one["log"].close()
        os.unlink(one["folder"] + ".log")
        keep = bad and os.environ.get("KEEP", "0") != "0"
        if keep:
            print("    | kept: %s" % one["folder"])
        clean(pid, one["folder"], keep)

    def step(self):
        """Ends what is over, also over its time."""
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid in self.running:
            self.end(pid, status, False)
            return
        now = time.monotonic()
        for pid, one in list(self.running.items()):
            if now - one["since"] > one["seconds"]:
                os.killpg(pid, signal.SIGKILL)
                # What dies may wait for a mount that nobody serves any more.
                for point in mounts_below(one["folder"]):
                    unmount(point)
                self.end(pid, os.waitpid(pid, 0)[1], True)
                return
        time.sleep(0.02)

    def all(self, tests):
        for function, mode, seconds in tests:
            while len(self.running) >= self.jobs:
                self.step()
            self.begin(function, mode, seconds)
        while self.running:
            self.step()

    def abandon(self):
        for pid, one in list(self.running.items()):
            try:
                os.killpg(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
            except (ProcessLookupError, ChildProcessError):
                pass
            one["log"].close()
            os.unlink(one["folder"] + ".log")
            clean(pid, one["folder"], False)


def load(suite):
    """Every module beside the run script brings its tests."""
    for name in sorted(os.listdir(suite)):
        if not name.endswith(".py"):
            continue
        spec = importlib.util.spec_from_file_location(
            "%s_%s" % (os.path.basename(suite), name[:-3]),
            os.path.join(suite, name))
        spec.loader.exec_module(importlib.util.module_from_spec(spec))


def pick_seed():
    text = os.environ.get("SEED", "")
    return int(text, 0) if text else random.SystemRandom().randrange(10 ** 9)


def on_signal(number, _frame):
    raise SystemExit(128 + number)


def pick_modes(why_not):
    """The modes of this run; why_not tells of a mode that does not work."""
    asked = os.environ.get("MODES", ",".join(MODES))
    modes = list(MODES) if asked == "one" else asked.split(",")
    for mode in list(modes):
        reason = why_not(mode)
        if reason:
            print("  NOTE   no test runs in mode %s here: %s" % (mode, reason))
            modes.remove(mode)
    return modes


def pick_tests(modes, words, seed):
    tests = [t for t in TESTS if t[1] in modes and
             (not words or any(w in t[0].__name__ for w in words))]
    one = os.environ.get("MODES") == "one"
    rng, kept = random.Random(seed), []
    for function in dict.fromkeys(t[0] for t in tests):
        own = [t for t in tests if t[0] is function]
        kept += [rng.choice(own)] if one or function in SAMPLES else own
    return kept


def main(script, jobs=1, why_not=lambda mode: ""):
    """What a run script calls; returns its exit status."""
    sys.dont_write_bytecode = True
    os.umask(0o022)
    load(os.path.dirname(os.path.abspath(script)))
    words = sys.argv[1:] or os.environ.get("WORDS", "").split()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, on_signal)
    run = Run(pick_seed(), int(os.environ.get("JOBS", jobs)))
    tests = pick_tests(pick_modes(why_not), words, run.seed)
    print("seed %d" % run.seed, flush=True)
    try:
        run.all(tests)
    finally:
        run.abandon()
    if run.skipped:
        print("%d skipped" % run.skipped)
    print("%d passed, %d failed" % (run.passed, run.failed), flush=True)
    return 1 if run.failed or not run.passed else 0
