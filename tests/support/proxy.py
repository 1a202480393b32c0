"""A TCP proxy that can be a bad network: for what stands between a program and its broker or database."""

import select
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

RESET = struct.pack("ii", 1, 0)
"""SO_LINGER: close with a reset, without a goodbye."""


class Proxy:
    """Passes on what comes to `port`, until it is told otherwise; may be told from any thread."""

    def __init__(self, host: str, port: int, at: str) -> None:
        """`host` may also be the folder of PostgreSQL's socket; `at` is the address to listen at."""
        self.target = (host, port)
        self.at = at
        self._passing = threading.Event()
        self._passing.set()
        self._alive = True
        self._ends: set[socket.socket] = set()
        self._guard = threading.Lock()
        self._listener = _listening(at, 0)
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, args=[self._listener], daemon=True).start()

    def refuse(self) -> None:
        """As if the server were dead: what is connected is reset, and nothing can connect."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.reset()

    def swallow(self) -> None:
        """A black hole: connections are made and kept, and nothing goes through them any more."""
        self._passing.clear()

    def reset(self) -> None:
        """Cut what is connected; new connections are passed on."""
        with self._guard:
            ends, self._ends = self._ends, set()
        for end in ends:
            with suppress(OSError):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                end.shutdown(socket.SHUT_RDWR)

    def heal(self) -> None:
        """Pass everything on again. What was swallowed is lost, and so are its connections."""
        if self._listener.fileno() < 0:
            self._listener = _listening(self.at, self.port)
            threading.Thread(target=self._accept, args=[self._listener], daemon=True).start()
        if not self._passing.is_set():
            self.reset()
            self._passing.set()

    def close(self) -> None:
        self._alive = False
        self._passing.set()
        self.refuse()

    def _accept(self, listener: socket.socket) -> None:
        while self._alive:
            try:
                near, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._carry, args=[near], daemon=True).start()

    def _carry(self, near: socket.socket) -> None:
        with near:
            with self._guard:
                self._ends.add(near)
            self._passing.wait()
            with suppress(OSError), self._connected() as far:
                with self._guard:
                    self._ends.add(far)
                self._pump(near, far)
            with self._guard:
                self._ends -= {near}

    def _connected(self) -> socket.socket:
        host, port = self.target
        if not host.startswith("/"):
            return socket.create_connection(self.target)
        far = socket.socket(socket.AF_UNIX)
        far.connect(f"{host}/.s.PGSQL.{port}")
        return far

    def _pump(self, near: socket.socket, far: socket.socket) -> None:
        other = {near: far, far: near}
        try:
            while True:
                for end in select.select([near, far], [], [])[0]:
                    data = end.recv(65536)
                    self._passing.wait()
                    if not data:
                        return
                    other[end].sendall(data)
        finally:
            with self._guard:
                self._ends -= {far}


def _listening(at: str, port: int) -> socket.socket:
    return socket.create_server((at, port), backlog=128)


@contextmanager
def proxy_to(host: str, port: int, at: str = "127.0.0.1") -> Iterator[Proxy]:
    proxy = Proxy(host, port, at)
    try:
        yield proxy
    finally:
        proxy.close()
