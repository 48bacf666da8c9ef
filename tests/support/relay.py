"""A relay between a replica and its primary: counts bytes, and cuts."""
import socket
import threading


class Relay:
    """Forwards connections to a port of loopback. `taken` counts what came from
    there. With `cut` set, both ends of a connection are closed once so many
    bytes came; `closed` refuses all from then on."""

    def __init__(self, stage, target):
        self.target, self.taken, self.cut, self.closed = target, 0, None, False
        self.server = socket.create_server(("127.0.0.1", 0))
        self.port = self.server.getsockname()[1]
        self.lock = threading.Lock()
        self.pairs = []
        stage.closers.append(self.close)
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                near = self.server.accept()[0]
            except OSError:
                return
            if self.closed:
                near.close()
                continue
            try:
                far = socket.create_connection(("127.0.0.1", self.target))
            except OSError:
                near.close()
                continue
            with self.lock:
                self.pairs.append((near, far))
            for one, other, counts in ((near, far, False), (far, near, True)):
                threading.Thread(target=self.forward, daemon=True,
                                 args=(one, other, counts)).start()

    def forward(self, one, other, counts):
        try:
            while True:
                data = one.recv(65536)
                if not data:
                    break
                if counts and self.is_cut(len(data)):
                    break
                other.sendall(data)
        except OSError:
            pass
        for end in (one, other):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def is_cut(self, size):
        with self.lock:
            self.taken += size
            if self.cut is None or self.taken < self.cut:
                return False
            self.cut, self.closed = None, True
            return True

    def open(self):
        self.closed = False

    def close(self):
        self.closed = True
        self.server.close()
        with self.lock:
            for near, far in self.pairs:
                near.close()
                far.close()
