"""tests/support/history.py - what sessions saw, and the laws it must obey.

    python3 tests/support/history.py FILE    says what is wrong in a history

A history is lines of JSON, one for each thing that somebody did. Times are
seconds of one monotonic clock; all but these members may be missing:

    session, op       who, what: write, read, wait, heal or dump
    invoked, returned
    node              where
    status            ok, or what came of it; only what is ok saw anything.
                      unknown: a write that may or may not have happened.
                      nonsense: SQLite found what is no database
    n, h, id, level   write: the transaction, its link, its synchronous level.
                      read: the head; id is not there
    rows, last        read: how many links there are, and [n, h] of the last
    in, out           tokens: waited for before a read, had after a write
    deadline          wait: seconds it may take; heal: until all are equal
    chain             dump: [n, id, h] of each transaction, at the end

The workload: transaction n puts its unique id into a chain of hashes,
h(n) = H(h(n-1), id(n)), and updates the head in the same transaction. So one
read names the exact prefix that it saw.
"""
import collections
import hashlib
import json
import sys

START = "0" * 32
SLACK_SECONDS = 5  # of a wait beyond its deadline: this machine is busy


def link(before, name):
    return hashlib.blake2b((before + name).encode(), digest_size=16
                           ).hexdigest()


def load(*paths):
    """All lines of some files, in the order of their beginnings. The last
    line of who was killed may be cut."""
    lines = []
    for path in paths:
        with open(path, encoding="ascii") as file:
            lines += [json.loads(line) for line in file
                      if line.endswith("\n")]
    return sorted(lines, key=lambda one: one["invoked"])


class Checker:
    def __init__(self, lines, levels=("full",)):
        """levels: of synchronous, whose acknowledged commits must be there."""
        self.lines, self.levels = lines, levels
        self.wrong = []  # (law, text)
        self.sessions = collections.defaultdict(list)
        for one in lines:
            self.sessions[one["session"]].append(one)
        self.dumps = [one for one in lines if one["op"] == "dump"]
        self.writes = [one for one in lines if one["op"] == "write"]
        self.reads = [one for one in lines if one["op"] == "read" and
                      one["status"] in ("ok", "nonsense")]
        # The history that counts is the one that came out of it.
        self.chain = {0: (None, START)}
        for dump in self.dumps[:1]:
            self.chain.update((n, (name, h)) for n, name, h in dump["chain"])

    def say(self, law, one, text):
        self.wrong.append((law, "%s %s on %s at %.3f: %s" % (
            one["session"], one["op"], one.get("node"), one["invoked"],
            text)))

    def check(self):
        for law in (self.prefix, self.fork, self.sequence, self.cross_user,
                    self.durability, self.liveness):
            law()
        return self.wrong

    # ---- states ----------------------------------------------------------

    def prefix(self):
        """No read sees a part of a transaction, or two mixed."""
        for one in self.reads:
            if one["status"] == "nonsense":
                self.say("prefix", one, "no database: %s" % one.get("text"))
            elif one["rows"] != one["n"] or one["last"] != [one["n"],
                                                            one["h"]]:
                self.say("prefix", one, "torn: head %s %s, %s rows, last %s" %
                         (one["n"], one["h"], one["rows"], one["last"]))
        for one in self.dumps:
            before = START
            for at, (n, name, h) in enumerate(one["chain"], 1):
                if n != at or h != link(before, name):
                    self.say("prefix", one, "link %s does not follow" % n)
                    break
                before = h

    def fork(self):
        """One history: each n is one transaction, whoever tells of it."""
        seen = {}
        for one in self.reads + self.writes:
            if one["status"] != "ok":
                continue
            n, h = one["n"], one["h"]
            want = self.chain.get(n, (None, seen.setdefault(n, h)))[1]
            if h != want:
                self.say("fork", one, "h(%d) is %s, elsewhere %s" %
                         (n, h, want))
        told = {}
        for one in self.writes:
            if one["status"] == "ok" and \
                    told.setdefault(one["n"], one["id"]) != one["id"]:
                self.say("fork", one, "two commits %d: %s and %s" %
                         (one["n"], told[one["n"]], one["id"]))
        names = {one["id"] for one in self.writes}
        for one in self.dumps:
            for n, name, _ in one["chain"]:
                if name not in names:
                    self.say("fork", one, "commit %d is nobody's" % n)

    # ---- sessions --------------------------------------------------------

    def sequence(self):
        """What a session sees goes on from what it did and saw."""
        for lines in self.sessions.values():
            wrote = read = 0
            for one in lines:
                if one["status"] != "ok":
                    continue
                if one["op"] == "write":
                    if one["n"] <= wrote:
                        self.say("monotonic-writes", one, "%d after %d" %
                                 (one["n"], wrote))
                    if one["n"] <= read:
                        self.say("writes-follow-reads", one,
                                 "%d after reading %d" % (one["n"], read))
                    wrote = max(wrote, one["n"])
                elif one["op"] == "read":
                    if one["n"] < wrote:
                        self.say("read-your-writes", one,
                                 "%d after writing %d" % (one["n"], wrote))
                    if one["n"] < read:
                        self.say("monotonic-reads", one,
                                 "%d after reading %d" % (one["n"], read))
                    read = max(read, one["n"])

    def cross_user(self):
        """A token covers the commit before it, for everybody."""
        covered = {}
        for one in self.writes:
            if one["status"] == "ok" and one.get("out"):
                covered[one["out"]] = max(one["n"],
                                          covered.get(one["out"], 0))
        for one in self.reads:
            want = covered.get(one.get("in"), 0)
            if one["status"] == "ok" and one["n"] < want:
                self.say("cross-user", one, "%d with the token of %d" %
                         (one["n"], want))

    # ---- the end -----------------------------------------------------------

    def durability(self):
        """What was acknowledged is there."""
        for one in self.writes if self.dumps else ():
            if one["status"] == "ok" and one["level"] in self.levels and \
                    self.chain.get(one["n"], (None,))[0] != one["id"]:
                self.say("durability", one, "commit %d (%s) is gone" %
                         (one["n"], one["level"]))

    def liveness(self):
        """Waits end by their deadlines; healed nodes are equal in time."""
        for one in self.lines:
            took = one["returned"] - one["invoked"]
            if one["op"] in ("wait", "heal") and \
                    took > one["deadline"] + SLACK_SECONDS:
                self.say("liveness", one, "%g s, allowed were %g" %
                         (took, one["deadline"]))
        for one in self.dumps:
            if one["chain"] != self.dumps[0]["chain"]:
                self.say("liveness", one, "%d transactions, elsewhere %d" %
                         (len(one["chain"]), len(self.dumps[0]["chain"])))


def check(lines, levels=("full",)):
    return Checker(lines, levels).check()


def main():
    wrong = check(load(*sys.argv[1:]))
    for law, text in wrong:
        print("%s: %s" % (law, text))
    print("%d violations" % len(wrong))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
