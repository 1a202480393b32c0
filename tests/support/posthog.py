"""What PostHog is to its client: a server that takes batches of events, and that can be away, hang or refuse."""

import gzip
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class _Request(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "PostHog"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        self.server.asked.set()
        if self.server.hangs:
            self.connection.settimeout(60)
            self.server.released.wait(60)
        status = self.server.status
        if status == 200:
            batch = json.loads(body)
            assert batch["api_key"] == "phc_test"
            with self.server.lock:
                self.server.events += batch["batch"]
        self.send_response(status)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None:
        pass


class PostHog(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Request)
        self.events: list[Any] = []
        self.status = 200
        self.hangs = False
        self.asked = threading.Event()
        """Somebody wants to tell something."""
        self.released = threading.Event()
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def named(self, name: str) -> list[Any]:
        with self.lock:
            return [event for event in self.events if event["event"] == name]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away in the middle is part of what is tested."""


@contextmanager
def posthog(port: int = 0) -> Iterator[PostHog]:
    with PostHog(port) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.released.set()
            server.shutdown()
            thread.join()
