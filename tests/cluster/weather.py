"""The proxy between nodes, alone: each fault that other tests ask it for
does happen, when and where it was asked for, and nothing else does."""
import contextlib
import hashlib
import select
import socket
import time

import proxy
from runner import expect, expect_eq, test, until

LOCAL = "127.0.0.1"
SECONDS = 10


class Target:
    """Who the proxy passes connections on to."""

    def __init__(self, stage):
        self.listener = socket.create_server((LOCAL, 0))
        self.port = self.listener.getsockname()[1]
        stage.closers.append(self.listener.close)

    def accept(self):
        self.listener.settimeout(SECONDS)
        return prepared(self.listener.accept()[0])


def prepared(one):
    one.settimeout(SECONDS)
    one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return one


def call(between):
    return prepared(socket.create_connection((LOCAL, between.port), SECONDS))


class Pair:
    """A connection through the proxy: `near` made it, `far` is the target."""

    def __init__(self, stage, *settings):
        self.target = Target(stage)
        self.proxy = proxy.Proxy(stage, self.target.port, *settings)
        self.stage = stage
        self.connect()

    def connect(self):
        self.near = call(self.proxy)
        self.far = self.target.accept()
        self.stage.closers += [self.near.close, self.far.close]


def take(one, size):
    """Exactly so many bytes."""
    data = b""
    while len(data) < size:
        more = one.recv(size - len(data))
        expect(more, "it ended after %d of %d bytes" % (len(data), size))
        data += more
    return data


def rest(one):
    """All until the end; then whether that was a reset."""
    data = b""
    try:
        while True:
            more = one.recv(65536)
            if not more:
                return data, False
            data += more
    except ConnectionResetError:
        return data, True


def is_silent(one, seconds=0.3):
    """Nothing comes, not even an end. What it waits for is no event: only
    time shows that there is none."""
    return not select.select([one], [], [], seconds)[0]


def bytes_of(stage, size):
    return stage.rng.randbytes(size)


@test(modes=("classic",))
def what_goes_in_comes_out_both_ways(stage):
    pair = Pair(stage)
    sent = bytes_of(stage, 3000000)
    pair.near.setblocking(False)
    for one, other in ((pair.near, pair.far), (pair.far, pair.near)):
        one.setblocking(False)
        other.settimeout(SECONDS)
        got, at = hashlib.sha256(), 0
        total = 0
        while total < len(sent):
            if at < len(sent):
                with contextlib.suppress(BlockingIOError):
                    at += one.send(sent[at:at + 100000])
            if select.select([other], [], [], 0.01)[0]:
                more = other.recv(65536)
                got.update(more)
                total += len(more)
        expect_eq(got.digest(), hashlib.sha256(sent).digest(), "bytes")
        one.settimeout(SECONDS)
    pair.near.shutdown(socket.SHUT_WR)
    expect_eq(rest(pair.far), (b"", False), "after the end")
    pair.far.close()
    expect_eq(rest(pair.near), (b"", False), "after the end")
    until(lambda: pair.proxy.report()["open"] == 0, "the proxy keeps it")


@test(modes=("classic",))
def a_delay_holds_each_byte_back_for_so_long_in_its_direction(stage):
    pair = Pair(stage, "up.delay=120")
    for one, other, least in ((pair.near, pair.far, 0.12),
                              (pair.far, pair.near, 0.0)):
        since = time.monotonic()
        one.sendall(b"x")
        take(other, 1)
        took = time.monotonic() - since
        expect(least <= took < least + 0.1, "it took %g s" % took)


@test(modes=("classic",))
def jitter_differs_and_keeps_the_order(stage):
    pair = Pair(stage, "jitter=40", "seed=%d" % stage.seed)
    delays = []
    for number in range(60):
        since = time.monotonic()
        pair.near.sendall(bytes([number]))
        expect_eq(take(pair.far, 1), bytes([number]), "byte")
        delays.append(time.monotonic() - since)
    expect(max(delays) - min(delays) > 0.015, "delays: %s" % delays)
    sent = bytes(range(200))
    for number in sent:
        pair.near.sendall(bytes([number]))
    expect_eq(take(pair.far, len(sent)), sent, "bytes in a hurry")


@test(modes=("classic",))
def a_rate_is_kept(stage):
    pair = Pair(stage, "down.rate=400000")
    since = time.monotonic()
    pair.far.sendall(bytes(200000))
    take(pair.near, 200000)
    took = time.monotonic() - since
    expect(0.45 < took < 1.0, "200000 bytes at 400000/s took %g s" % took)


@test(modes=("classic",))
def a_cut_comes_after_exactly_so_many_bytes_and_once(stage):
    pair = Pair(stage)
    for size in (0, 1, 70001):
        pair.proxy.set("down.cut=%d" % size)
        if size > 0:
            pair.far.sendall(bytes(80000))
        data, _ = rest(pair.near)
        expect_eq(len(data), size, "bytes before the cut")
        data, _ = rest(pair.far)
        expect_eq(data, b"", "what the far side hears")
        pair.connect()
    pair.far.sendall(bytes(80000))
    take(pair.near, 80000)
    expect_eq(pair.proxy.report()["cuts"], 3, "cuts")


@test(modes=("classic",))
def a_reset_is_one_for_both_sides(stage):
    pair = Pair(stage)
    pair.proxy.set("up.reset=10")
    pair.near.sendall(bytes(9))
    take(pair.far, 9)
    expect(is_silent(pair.near), "the reset came too early")
    pair.near.sendall(bytes(9))
    for one in (pair.near, pair.far):
        expect(rest(one)[1], "no reset")
    expect_eq(pair.proxy.report()["resets"], 1, "resets")


@test(modes=("classic",))
def a_flipped_bit_is_that_bit_alone_and_once(stage):
    pair = Pair(stage)
    sent = bytes_of(stage, 5000)
    bit = stage.rng.randrange(8 * len(sent))
    pair.proxy.set("up.flip=%d" % bit)
    for flipped in (True, False):
        pair.near.sendall(sent)
        got = take(pair.far, len(sent))
        pair.far.sendall(sent)
        expect_eq(take(pair.near, len(sent)), sent, "the way back")
        wrong = [8 * at + i for at in range(len(sent)) for i in range(8)
                 if (sent[at] ^ got[at]) >> i & 1]
        expect_eq(wrong, [bit] if flipped else [], "bits")
        pair.connect()
    expect_eq(pair.proxy.report()["flips"], 1, "flips")


@test(modes=("classic",))
def a_stall_keeps_the_sockets_and_goes_on_when_healed(stage):
    pair = Pair(stage)
    pair.proxy.set("stall=5")
    pair.near.sendall(b"upward")
    pair.far.sendall(b"downward")
    expect_eq(take(pair.far, 5), b"upwar", "up to the stall")
    expect_eq(take(pair.near, 5), b"downw", "up to the stall")
    pair.far.close()
    expect(is_silent(pair.near), "an end came through a stall")
    other = call(pair.proxy)
    stage.closers.append(other.close)
    other.sendall(b"anybody?")
    expect(is_silent(other), "somebody answered, or closed")
    pair.proxy.set("heal")
    expect_eq(rest(pair.near)[0], b"ard", "what was held back")


@test(modes=("classic",))
def one_way_is_one_way(stage):
    pair = Pair(stage, "down.stall=0")
    pair.near.sendall(b"hear me")
    expect_eq(take(pair.far, 7), b"hear me", "upward")
    pair.far.sendall(b"and you me")
    expect(is_silent(pair.near), "something came downward")
    pair.near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                         b"\1\0\0\0\0\0\0\0")
    pair.near.close()
    expect_eq(rest(pair.far)[0], b"", "the end goes upward")


@test(modes=("classic",))
def who_is_refused_hears_it_at_once(stage):
    pair = Pair(stage)
    pair.proxy.set("refuse=1")
    try:
        call(pair.proxy).close()
        raise AssertionError("somebody listens")
    except ConnectionRefusedError:
        pass
    pair.near.sendall(b"x")
    take(pair.far, 1)  # who is there stays
    pair.proxy.set("heal")
    pair.connect()
    expect_eq(pair.proxy.say("gale=9"), "what?", "a word it does not know")
