"""An S3 server of the tests' own (moto), as a process; and servers that stand for one that is in trouble."""

import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from uuid import uuid4

import boto3
from botocore.config import Config
from django.conf import LazySettings
from django.core.files.storage import default_storage

from tests.support.installation import wait_for
from tests.support.ports import free_port

SECRET = "the-secret-that-nobody-may-see"


class Bucket:
    def __init__(self, url: str) -> None:
        self.url = url
        self.name = f"darkroom-{uuid4().hex}"
        self.client: Any = boto3.session.Session("any", "any").client(
            "s3", endpoint_url=url, region_name="us-east-1", config=Config(s3={"addressing_style": "path"})
        )
        self.client.create_bucket(Bucket=self.name)

    def use(self, settings: LazySettings, url: str = "") -> None:
        """The pictures' storage from now on; at another address, if one is given."""
        close_storage()
        settings.S3_ENDPOINT_URL = url or self.url
        settings.STORAGES = settings.STORAGES | {"default": {"BACKEND": "uploads.bucket.BucketStorage"}}

    def names(self, prefix: str = "") -> list[str]:
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.name, Prefix=prefix)
        return [entry["Key"] for page in pages for entry in page.get("Contents", ())]

    def head(self, key: str) -> Any:
        return self.client.head_object(Bucket=self.name, Key=key)

    def vanish(self) -> dict[str, bytes]:
        """With all that is in it, which is returned."""
        kept = {key: self.client.get_object(Bucket=self.name, Key=key)["Body"].read() for key in self.names()}
        for key in kept:
            self.client.delete_object(Bucket=self.name, Key=key)
        self.client.delete_bucket(Bucket=self.name)
        return kept

    def come_back(self, kept: dict[str, bytes]) -> None:
        self.client.create_bucket(Bucket=self.name)
        for key, data in kept.items():
            self.client.put_object(Bucket=self.name, Key=key, Body=data)

    def close(self) -> None:
        close_storage()
        self.client.close()


def close_storage() -> None:
    """Its connections, which the garbage collector would close with a complaint."""
    connection = getattr(default_storage, "__dict__", {}).get("connection")
    if connection is not None:
        connection.meta.client.close()


@contextmanager
def moto_server(folder: Path) -> Iterator[str]:
    port = free_port()
    words = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with (folder / "log").open("wb") as log, subprocess.Popen(words, stdout=log, stderr=log) as process:
        url = f"http://127.0.0.1:{port}"
        try:
            wait_for(lambda: _answers(url))
            yield url
        finally:
            process.terminate()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/moto-api/", timeout=10):  # noqa: S310 - this machine's own
            return True
    except OSError:
        return False


Act = Callable[[BaseHTTPRequestHandler], None]


def refusing(status: int, code: str) -> Act:
    """As S3 says no."""
    words = f"<?xml version='1.0' encoding='UTF-8'?><Error><Code>{code}</Code><Message>No.</Message></Error>"

    def refuse(handler: BaseHTTPRequestHandler) -> None:
        handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        handler.send_response(status)
        handler.send_header("Content-Type", "application/xml")
        handler.send_header("Content-Length", str(len(words)))
        handler.end_headers()
        if handler.command != "HEAD":
            handler.wfile.write(words.encode())

    return refuse


def passing_on(url: str) -> Act:
    """To the server that is there."""

    def pass_on(handler: BaseHTTPRequestHandler) -> None:
        data = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        request = urllib.request.Request(url + handler.path, data or None, method=handler.command)  # noqa: S310
        for name in ("Authorization", "If-None-Match", "Content-Type", "x-amz-date"):
            if name in handler.headers:
                request.add_header(name, handler.headers[name])
        try:
            with urllib.request.urlopen(request, timeout=60) as response:  # noqa: S310 - this machine's own
                status, body = response.status, response.read()
        except urllib.error.HTTPError as error:
            with error:
                status, body = error.code, error.read()
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return pass_on


@contextmanager
def in_trouble(act: Act) -> Iterator[str]:
    """The address of a server that does this to whatever it is asked."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            act(self)

        do_PUT = do_HEAD = do_DELETE = do_POST = do_GET  # noqa: N815 - as http.server calls them

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
