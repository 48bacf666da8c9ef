"""tests/support/sessions.py - people who use the databases of a cluster, and
write down what they saw: histories for tests/support/history.py.

A session is a process that uses stock SQLite and the files below .tidemark in
the mounts, nothing else. It keeps the newest token that it was given, by a
write, by a read or by another session, and waits for it before it reads:
that is all there is to read your writes anywhere.
"""
import errno
import json
import os
import random
import sqlite3
import subprocess
import time
import uuid

import history
import sql

COMMAND_SECONDS = 2  # of a wait by command
OPEN_SECONDS = 30    # of a wait by open: docs/limits.md
PAUSE_SECONDS = 0.02  # people think
BUSY_SECONDS = 2.0


def create(connection):
    with sql.transaction(connection):
        connection.execute("CREATE TABLE head(n INTEGER, h TEXT)")
        connection.execute("CREATE TABLE chain(n INTEGER PRIMARY KEY,"
                           " id TEXT UNIQUE, h TEXT)")
        connection.execute("INSERT INTO head VALUES (0, ?)",
                           (history.START,))


def dump(connection):
    return [list(row) for row in
            connection.execute("SELECT n, id, h FROM chain ORDER BY n")]


class Record:
    """A file of lines of its own, whole ones only."""

    def __init__(self, path, session):
        self.file, self.session = open(path, "ab", 0), session

    def write(self, op, invoked, **more):
        line = dict(session=self.session, op=op, invoked=invoked,
                    returned=time.monotonic(), **more)
        self.file.write(json.dumps(line).encode("ascii") + b"\n")


class Session:
    """places: what a user knows of the nodes, the primary first: (name, its
    mount, its configuration, the program). hands: a folder where sessions
    leave their tokens for others."""

    def __init__(self, name, places, database, folder, seed, is_waiting=True):
        self.name, self.places, self.database = name, places, database
        self.folder, self.rng = folder, random.Random(seed)
        self.is_waiting = is_waiting
        self.level = self.rng.choice(("full", "normal"))
        self.record = Record(os.path.join(folder, name + ".history"), name)
        self.token = None   # the newest
        self.is_owed = False  # it has written and has no token of that yet
        self.connections = {}  # by node
        self.devices = {}      # of the mounts they are in

    # ---- connections ------------------------------------------------------

    def connect(self, place):
        """The connection to that node's mount of now. One of before its
        daemon died goes on answering from memory, classic mode, for as long
        as it needs nothing else: docs/limits.md."""
        name, mount = place[:2]
        try:
            device = os.stat(mount).st_dev
        except OSError:  # nobody is there
            device = None
        if self.devices.get(name) != device:
            self.disconnect(place)
        self.devices[name] = device
        if name not in self.connections:
            is_primary = place is self.places[0]
            connection = sqlite3.connect(
                "file:%s?mode=%s" % (os.path.join(mount, self.database),
                                     "rw" if is_primary else "ro"),
                uri=True, timeout=BUSY_SECONDS, isolation_level=None)
            self.connections[name] = connection
            if is_primary:
                sql.pragma(connection, "synchronous", self.level)
        return self.connections[name]

    def disconnect(self, place):
        connection = self.connections.pop(place[0], None)
        if connection is not None:
            connection.close()

    def close(self):
        for place in self.places:
            self.disconnect(place)

    # ---- tokens -------------------------------------------------------------

    def token_of(self, place):
        """None when there is nobody to ask."""
        try:
            with open(os.path.join(place[1], ".tidemark/token",
                                   self.database)) as file:
                return file.read().strip()
        except OSError:
            # Its daemon is gone: what is open there is nobody's any more.
            self.disconnect(place)
            return None

    def collect(self):
        """The token of what was written; until then it reads nowhere."""
        token = self.token_of(self.places[0])
        if token:
            self.token, self.is_owed = token, False
        return token

    def hand_on(self):
        path = os.path.join(self.folder, "hand-" + self.name)
        with open(path + ".new", "w", encoding="ascii") as file:
            file.write(self.token)
        os.rename(path + ".new", path)

    def take_over(self):
        """The token of somebody else; None when there is none."""
        hands = [name for name in os.listdir(self.folder)
                 if name.startswith("hand-") and not name.endswith(".new")]
        if not hands:
            return None
        with open(os.path.join(self.folder, self.rng.choice(sorted(hands))),
                  encoding="ascii") as file:
            return file.read()

    def wait(self, place, token):
        """True when the node is there by its own word."""
        name, mount, config, program = place
        invoked = time.monotonic()
        if self.rng.random() < 0.1:
            allowed = COMMAND_SECONDS
            code = subprocess.run(
                [program, "wait", "--config", config, "--timeout",
                 "%ds" % allowed, self.database, token],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL, check=False).returncode
            said = {0: "ok", 3: "timeout"}.get(code, "error %d" % code)
        else:
            allowed = OPEN_SECONDS
            try:
                os.close(os.open(os.path.join(
                    mount, ".tidemark/wait", self.database, token),
                    os.O_RDONLY))
                said = "ok"
            except OSError as error:
                said = errno.errorcode.get(error.errno, str(error))
        self.record.write("wait", invoked, node=name, status=said,
                          deadline=allowed, **{"in": token})
        if said != "ok":
            self.disconnect(place)
        return said == "ok"

    # ---- what it does -------------------------------------------------------

    def write(self):
        place, invoked = self.places[0], time.monotonic()
        name, status = uuid.UUID(int=self.rng.getrandbits(128)).hex, "failed"
        n = h = None
        try:
            connection = self.connect(place)
            connection.execute("BEGIN IMMEDIATE")
            n, h = connection.execute("SELECT n, h FROM head").fetchone()
            n, h = n + 1, history.link(h, name)
            connection.execute("INSERT INTO chain VALUES (?, ?, ?)",
                               (n, name, h))
            connection.execute("UPDATE head SET n = ?, h = ?", (n, h))
            status = "unknown"
            connection.execute("COMMIT")
            status = "ok"
        except sqlite3.OperationalError:
            self.disconnect(place)
        if status == "ok":
            self.is_owed = True
        token = self.collect() if status == "ok" else None
        self.record.write("write", invoked, node=place[0], status=status,
                          n=n, h=h, id=name, level=self.level, out=token)
        if token:
            self.hand_on()

    def read(self, place, token):
        invoked, more = time.monotonic(), {"in": token}
        try:
            connection = self.connect(place)
            connection.execute("BEGIN")
            more["n"], more["h"] = connection.execute(
                "SELECT n, h FROM head").fetchone()
            more["rows"] = sql.one(connection, "SELECT count(*) FROM chain")
            more["last"] = list(connection.execute(
                "SELECT n, h FROM chain ORDER BY n DESC").fetchone() or
                (0, history.START))
            connection.execute("COMMIT")
            status = "ok"
        except sqlite3.OperationalError as error:
            status, more["text"] = "error", str(error)
            self.disconnect(place)
        except sqlite3.DatabaseError as error:
            status, more["text"] = "nonsense", str(error)
            self.disconnect(place)
        self.record.write("read", invoked, node=place[0], status=status,
                          **more)
        return status == "ok"

    def look(self, token):
        """Anywhere. What was read there is not to be missing elsewhere."""
        place = self.rng.choice(self.places)
        if self.is_waiting and token and not self.wait(place, token):
            return
        if self.read(place, token if self.is_waiting else None):
            # The node had the token before, or nobody waits for any.
            self.token = self.token_of(place) or self.token
            self.is_owed = self.is_owed and not self.is_waiting
        if self.rng.random() < 0.3:
            self.disconnect(place)

    def step(self):
        dice = self.rng.random()
        if self.is_owed and not self.collect():
            time.sleep(PAUSE_SECONDS)  # its node will be back
        elif dice < 0.4:
            self.write()
        elif dice < 0.8:
            self.look(self.token)
        else:
            self.follow_another()
        time.sleep(self.rng.uniform(0, PAUSE_SECONDS))

    def follow_another(self):
        """Reads with the token of somebody else, once it has its own."""
        other = self.take_over()
        if other is None:
            return
        place = self.rng.choice(self.places)
        if not self.is_waiting:
            self.read(place, None)
        elif (self.token is None or self.wait(place, self.token)) and \
                self.wait(place, other) and self.read(place, other):
            self.token = self.token_of(place) or self.token


def live(control, *arguments):
    """An application, for workers.Worker."""
    session = Session(*arguments)
    while control.running():
        session.step()
    session.close()
    return session.level
