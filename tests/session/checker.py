"""The checker of histories, on histories written by hand: it is content with
a good one, and finds the one thing that is wrong in each of the others."""
import copy
import json

import history
from runner import expect_eq, test

NODES = ("p", "r1", "r2")


class Story:
    """A history under way; a second passes with each line."""

    def __init__(self):
        self.lines, self.chain = [], []

    def add(self, session, op, node, took=0.5, status="ok", **more):
        at = float(len(self.lines))
        self.lines.append(dict(session=session, op=op, node=node,
                               status=status, invoked=at, returned=at + took,
                               **more))
        return self.lines[-1]

    def write(self, session, name, level="full", status="ok"):
        before = self.chain[-1][2] if self.chain else history.START
        n, h = len(self.chain) + 1, history.link(before, name)
        self.chain.append([n, name, h])
        return self.add(session, "write", "p", status=status, id=name, n=n,
                        h=h, level=level, out="token-%d" % n)

    def read(self, session, node, n, token=None):
        h = self.chain[n - 1][2] if n else history.START
        return self.add(session, "read", node, n=n, h=h, rows=n, last=[n, h],
                        **{"in": token})

    def end(self):
        self.add("end", "heal", None, deadline=30)
        for node in NODES:
            self.add("end", "dump", node, chain=copy.deepcopy(self.chain))
        return self


def good():
    """Ann writes and reads, Bob reads what she told him of."""
    story = Story()
    story.write("ann", "a")
    story.add("ann", "wait", "r1", took=1.5, deadline=2)
    story.read("ann", "r1", 1, "token-1")
    story.write("ann", "b", level="normal")
    story.read("bob", "r2", 0)
    story.read("bob", "r2", 2, "token-2")
    story.write("bob", "c", status="unknown")
    story.add("bob", "read", "r1", status="error")
    story.write("bob", "d")
    story.read("ann", "p", 4)
    return story.end()


def laws(story, levels=("full",)):
    return sorted({law for law, _ in history.check(story.lines, levels)})


def line(story, session, op, number=0):
    return [one for one in story.lines if one["session"] == session and
            one["op"] == op][number]


def chains(story):
    return [one["chain"] for one in story.lines if one["op"] == "dump"]


def expect_broken(law, change, levels=("full",)):
    """change makes one thing of the good story wrong."""
    story = good()
    change(story)
    expect_eq(laws(story, levels), [law], "laws that are broken")


@test(modes=("classic",))
def a_good_history_breaks_no_law(stage):
    expect_eq(laws(good(), ("full", "normal")), [], "laws")
    path = stage.write("history", "".join(json.dumps(one) + "\n"
                                          for one in good().lines) + '{"ses')
    expect_eq(history.load(path), good().lines, "what was written down")


@test(modes=("classic",))
def a_torn_read_and_a_mixed_one_are_found(_stage):
    def fewer(story):
        line(story, "ann", "read")["rows"] = 0

    def other(story):
        line(story, "ann", "read")["last"] = [1, "not this"]

    def nonsense(story):
        line(story, "ann", "read")["status"] = "nonsense"

    def gap(story):
        for chain in chains(story):
            chain[2][2] = "not this"
    for change in (fewer, other, nonsense, gap):
        expect_broken("prefix", change)


@test(modes=("classic",))
def a_fork_is_found(_stage):
    def read(story):
        one = line(story, "ann", "read")
        one["h"] = "b" * 32
        one["last"] = [1, one["h"]]

    def invented(story):
        line(story, "bob", "write")["id"] = "z"

    for change in (read, invented):
        expect_broken("fork", change)
    story = Story()
    story.write("ann", "a")
    story.chain = []
    story.write("bob", "b")  # acknowledged as the first, too
    expect_eq(laws(story, ()), ["fork"], "laws")


@test(modes=("classic",))
def a_session_that_misses_its_own_write_is_found(_stage):
    def change(story):
        story.lines.remove(line(story, "ann", "read", 1))
        one = line(story, "ann", "read")
        one.update(n=0, h=history.START, rows=0, last=[0, history.START])
        one["in"] = None
    expect_broken("read-your-writes", change)


@test(modes=("classic",))
def a_session_that_goes_back_is_found(_stage):
    story = Story()
    story.write("ann", "a")
    story.read("bob", "r1", 1)
    story.read("bob", "r2", 0)
    expect_eq(laws(story.end()), ["monotonic-reads"], "laws")


@test(modes=("classic",))
def writes_out_of_order_are_found(_stage):
    def swapped(story):
        mine = [one for one in story.lines if one["session"] == "ann" and
                one["op"] == "write"]
        story.lines = [one for one in story.lines if one["op"] != "read"]
        at, to = (story.lines.index(one) for one in mine)
        story.lines[at], story.lines[to] = story.lines[to], story.lines[at]
    expect_broken("monotonic-writes", swapped)


@test(modes=("classic",))
def a_write_before_what_its_session_had_read_is_found(_stage):
    story = Story()
    story.write("ann", "a")
    story.write("ann", "b")
    one = story.lines.pop()
    story.read("bob", "r1", 2)
    one["session"] = "bob"
    story.lines.append(one)
    expect_eq(laws(story.end()), ["writes-follow-reads"], "laws")


@test(modes=("classic",))
def a_token_that_does_not_cover_its_commit_is_found(_stage):
    def change(story):
        one = line(story, "bob", "read", 1)
        one.update(n=1, h=story.chain[0][2], rows=1,
                   last=[1, story.chain[0][2]])
    expect_broken("cross-user", change)


@test(modes=("classic",))
def a_lost_commit_is_found_at_the_level_that_was_promised(_stage):
    def change(story):
        line(story, "bob", "write", 1)["status"] = "unknown"
        story.lines = [one for one in story.lines
                       if one["op"] not in ("read",)]
        for chain in chains(story):
            del chain[1:]
    expect_broken("durability", change, ("full", "normal"))
    story = good()
    change(story)
    expect_eq(laws(story), [], "laws; the lost one was NORMAL")


@test(modes=("classic",))
def a_late_wait_and_nodes_that_stay_apart_are_found(_stage):
    def late(story):
        line(story, "ann", "wait")["returned"] += 10

    def never_equal(story):
        line(story, "end", "heal")["returned"] += 60

    def apart(story):
        del chains(story)[2][-1]
    for change in (late, never_equal, apart):
        expect_broken("liveness", change)
