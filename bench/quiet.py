"""bench/quiet.py - what other programs do on these cores meanwhile.

A figure taken while a compiler runs beside it says nothing. So each run waits
for a quiet machine, knows afterwards how much of it others used, and is taken
again when that was more than ALLOWED; when nothing helps, the least disturbed
run counts, and the table says so.
"""
import ctypes
import os
import resource
import time

ALLOWED = 0.08  # of all cores
WAIT_SECONDS = float(os.environ.get("QUIET", "20"))
ATTEMPTS = int(os.environ.get("ATTEMPTS", "4"))
SAMPLE_SECONDS = 0.15
CORES = os.cpu_count()
LIBC = ctypes.CDLL(None)


def busy_seconds():
    """Of all processes; not the kernel's share of the network, ours anyway."""
    with open("/proc/stat", encoding="ascii") as file:
        fields = file.readline().split()[1:]
    return sum(map(int, fields[0:3])) / os.sysconf("SC_CLK_TCK")


def finished_seconds():
    """Of this process and of all it has waited for."""
    used = [resource.getrusage(who) for who in
            (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def wait(folder):
    """Until the disk of folder has everything and the machine does nothing,
    or WAIT_SECONDS are over. Not sync(): that waits for every mount."""
    fd = os.open(folder, os.O_RDONLY)
    LIBC.syncfs(fd)
    os.close(fd)
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline:
        before, began = busy_seconds(), time.monotonic()
        time.sleep(SAMPLE_SECONDS)
        spent = time.monotonic() - began
        if busy_seconds() - before <= ALLOWED * CORES * spent:
            return


class Watch:
    """daemons() must give the CPU seconds of ours that still run; folder is
    where they write."""

    def __init__(self, folder, daemons):
        self.folder, self.daemons = folder, daemons
        self.shares, self.repeated = [], 0

    def others(self, function):
        """What function returns, and the share of the cores others used."""
        began = time.monotonic()
        before = busy_seconds() - finished_seconds() - self.daemons()
        value = function()
        after = busy_seconds() - finished_seconds() - self.daemons()
        spent = time.monotonic() - began
        return value, max(0.0, (after - before) / spent / CORES)

    def measured(self, function):
        """What function returned in the first run that nobody disturbed."""
        best = None
        for _ in range(ATTEMPTS):
            wait(self.folder)
            value, share = self.others(function)
            if best is None or share < best[1]:
                best = value, share
            if share <= ALLOWED:
                break
            self.repeated += 1
        self.shares.append(best[1])
        return best[0]

    def tell(self, report):
        if not self.shares:
            return
        disturbed = sum(share > ALLOWED for share in self.shares)
        report.row("runs disturbed by other programs", "%d of %d" % (
            disturbed, len(self.shares)), "%d repeated" % self.repeated)
        report.number("others", self.shares)
