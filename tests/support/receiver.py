"""A receiver of webhooks: a real HTTP server that verifies as the documentation says, and can be made to misbehave."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

from standardwebhooks import Webhook


class Message(NamedTuple):
    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    def verified(self, secret: str) -> Any:
        """What it says; raises when its signature is not of this secret."""
        return Webhook(secret).verify(self.body, self.headers)


class Request(BaseHTTPRequestHandler):
    """What a behaviour is given: the connection, with the message read."""

    protocol_version = "HTTP/1.1"
    server: "Receiver"

    def do_POST(self) -> None:
        length = int(self.headers["Content-Length"])
        body = self.rfile.read(length)
        if len(body) < length:
            # Whoever sent it was killed meanwhile: no message has come.
            self.close_connection = True
            return
        with self.server.lock:
            self.server.messages.append(Message({key.lower(): value for key, value in self.headers.items()}, body))
        self.server.behaviour(self)

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def hang(self) -> None:
        """Until the other side has had enough."""
        self.connection.settimeout(60)
        try:
            while self.connection.recv(1024):
                pass
        except OSError:
            pass
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass


Behaviour = Callable[[Request], None]


def takes_it(request: Request) -> None:
    request.answer(200, b"thanks")


class Receiver(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, behaviour: Behaviour) -> None:
        super().__init__(("127.0.0.1", 0), Request)
        self.behaviour = behaviour
        self.messages: list[Message] = []
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/hook"

    def ids(self) -> list[str]:
        with self.lock:
            return [message.id for message in self.messages]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A caller that goes away in the middle is part of what is tested."""


@contextmanager
def receiver(behaviour: Behaviour = takes_it) -> Iterator[Receiver]:
    with Receiver(behaviour) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
