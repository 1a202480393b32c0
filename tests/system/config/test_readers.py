"""Those who ask for much and do not read it: they wait for themselves, and nobody waits for them."""

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from django.conf import settings

from tests.support.web import Web, web
from uploads.storage import SignedFileSystemStorage

pytestmark = pytest.mark.any_database


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    with web(tmp_path_factory.mktemp("readers")) as running:
        yield running


def static_file(server: Web) -> tuple[str, bytes]:
    """The largest that there is, among those that are not packed."""
    folder = Path(server.environment["STATIC_ROOT"])
    largest = max((path for path in folder.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
    return f"/static/{largest.relative_to(folder)}", largest.read_bytes()


def picture(server: Web) -> tuple[str, bytes]:
    data = os.urandom(3_000_000)
    file = Path(server.environment["DATA_DIR"]) / "media" / "of-an-upload" / "full.jpg"
    file.parent.mkdir(parents=True)
    file.write_bytes(data)
    return SignedFileSystemStorage().url("of-an-upload/full.jpg").removeprefix(settings.PUBLIC_URL), data


@pytest.mark.parametrize("file", [static_file, picture])
def test_who_does_not_read_what_was_asked_for_keeps_nobody_waiting(server: Web, file: object) -> None:
    path, data = file(server)  # type: ignore[operator]
    with ExitStack() as stack:
        for _ in range(12):
            idle = stack.enter_context(socket.socket())
            idle.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            idle.connect(("127.0.0.1", server.port))
            idle.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode() * 30)
        for _ in range(10):
            assert server.ask("GET", "/healthz").status == 200
        read = server.ask("GET", path)
        assert (read.status, read.body) == (200, data)
