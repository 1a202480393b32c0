"""One POST to an address that nobody vouches for, and what came of it.

Each address that its name stands for is judged, and the one that is connected to is judged again, pinned; nothing
is redirected, no proxy or netrc of the environment has a say, and whatever the other side does, it is over in time.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from requests_hardened.ip_filter import InvalidIPAddress
from requests_hardened.ip_filter_adapter import IPFilterAdapter
from urllib3 import HTTPConnectionPool, HTTPResponse, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError

from status.addresses import is_public
from uploads.text import storable

LIMIT = 15.0
"""Seconds for all of it, from looking up the name to the last byte that is read."""
CONNECT = 10.0
ANSWER_BYTES = 1024
RETRY_AFTER_MOST = timedelta(hours=6)


@dataclass(frozen=True)
class Answer:
    """What an attempt came to; `status` is None when there was no answer."""

    status: int | None
    error: str = ""
    """Why it was no success, in words."""
    body: str = ""
    duration_ms: int = 0
    retry_after: timedelta = timedelta(0)

    @property
    def is_success(self) -> bool:
        return self.status is not None and 200 <= self.status < 300

    @property
    def is_gone(self) -> bool:
        return self.status == 410

    def in_words(self) -> dict[str, Any]:
        """For the log of attempts."""
        at = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        return {"at": at, "status": self.status, "ms": self.duration_ms, "error": self.error}


def post(url: str, headers: dict[str, str], body: str, *, allow_private: bool = False, limit: float = LIMIT) -> Answer:
    """Never raises for what the other side does or is."""
    began = time.monotonic()
    with _deadline(limit) as deadline:
        try:
            status, answer, retry_after = _exchange(url, headers, body, allow_private, deadline)
        except (requests.RequestException, HTTPError, OSError, UnicodeError) as error:
            late = deadline.over or isinstance(error, requests.ReadTimeout)
            words = f"There was no answer within {limit:g} s." if late else _in_words(error)
            return Answer(None, words, duration_ms=_since(began))
    return Answer(status, _verdict(status), answer, _since(began), retry_after)


def _since(began: float) -> int:
    return round((time.monotonic() - began) * 1000)


def _exchange(
    url: str, headers: dict[str, str], body: str, allow_private: bool, deadline: _Deadline
) -> tuple[int, str, timedelta]:
    request = requests.Request("POST", url, headers, data=body.encode()).prepare()
    if not allow_private and urlsplit(url).scheme.lower() != "https":
        raise requests.exceptions.InvalidSchema(url)
    adapter: HTTPAdapter = HTTPAdapter() if allow_private else _PublicAdapter(is_https_proto=True)
    adapter.poolmanager.pool_classes_by_scheme = {"http": _HTTPPool, "https": _HTTPSPool}
    # The adapter itself: a session would read a redirect's whole body to find out where it leads.
    with contextlib.closing(adapter):
        response = adapter.send(request, stream=True, timeout=(min(CONNECT, deadline.seconds), deadline.seconds))
        with contextlib.closing(response):
            if deadline.over:  # a head that is cut off is taken for one that has ended
                raise requests.Timeout
            return response.status_code, _beginning(response.raw), _retry_after(response.headers.get("Retry-After"))


class _PublicAdapter(IPFilterAdapter):
    """Connects to public addresses only."""

    def build_connection_pool_key_attributes(self, request: Any, verify: Any, cert: Any = None) -> Any:
        original, _ = HTTPAdapter.build_connection_pool_key_attributes(self, request, verify, cert)
        for *_, address in socket.getaddrinfo(original["host"], original["port"], type=socket.SOCK_STREAM):
            _judge(str(address[0]))
        # Looks the name up once more, judges what it gets, and pins it: a name that changes its mind gains nothing.
        host_params, pool_kwargs = super().build_connection_pool_key_attributes(request, verify, cert)
        _judge(host_params["host"].strip("[]"))
        return host_params, pool_kwargs


def _judge(address: str) -> None:
    ip = ip_address(address.partition("%")[0])
    if not is_public(ip):
        raise InvalidIPAddress(ip)


def _beginning(raw: HTTPResponse) -> str:
    """As much as is kept, as it comes: not decompressed, and the rest is not read."""
    found = b""
    with contextlib.suppress(HTTPError, OSError):  # the verdict came before it
        while len(found) < ANSWER_BYTES and (chunk := raw.read1(ANSWER_BYTES - len(found), decode_content=False)):
            found += chunk
    return storable(found.decode(errors="replace"))


def _retry_after(header: str | None) -> timedelta:
    """Seconds or a date (RFC 9110, 10.2.3); none, or nonsense, is no wait, and too long a one is cut."""
    if not header:
        return timedelta(0)
    try:
        wait = timedelta(seconds=int(header)) if header.isdecimal() else parsedate_to_datetime(header) - _now()
    except (ValueError, OverflowError, TypeError):
        return timedelta(0)
    return min(max(wait, timedelta(0)), RETRY_AFTER_MOST)


def _now() -> datetime:
    return datetime.now(UTC)


def _verdict(status: int) -> str:
    if 200 <= status < 300:
        return ""
    if 300 <= status < 400:
        return f"It answered {status}, a redirect; those are not followed."
    if status == 410:
        return "It answered 410: it wants no more messages."
    return f"It answered {status}."


def _in_words(error: Exception) -> str:
    if isinstance(error, InvalidIPAddress):
        return f"The host leads to {error.args[0]}, which is not an address on the public internet: not connected."
    for kind, words in _WORDS.items():
        if isinstance(error, kind):
            return words
    return f"There was no proper answer ({type(error).__name__})."


_WORDS: dict[type[Exception], str] = {
    requests.exceptions.InvalidSchema: "The URL does not begin with https://: not connected.",
    requests.exceptions.InvalidURL: "The URL does not name a host.",
    socket.gaierror: "The host's name could not be looked up.",
    UnicodeError: "The host's name could not be looked up.",
    requests.Timeout: "The host did not take the connection in time.",
    requests.exceptions.SSLError: "There is no trusted secure connection to the host: its certificate, or TLS, failed.",
    requests.ConnectionError: "The connection failed or broke off before there was an answer.",
}
"""The first that fits."""


# Time limits of sockets begin anew with each byte that drips in. One limit for all of them has to come from outside.


class _Deadline:
    """Once over, every connection of its thread is shut down, wherever it stands."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.over = False
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []

    def watch(self, connected: socket.socket) -> None:
        # A second handle on the same connection: TLS takes the first one away from us.
        handle = connected.dup()
        with self._lock:
            self._sockets.append(handle)
            if self.over:
                _shut_down(handle)

    def end(self) -> None:
        with self._lock:
            self.over = True
            for handle in self._sockets:
                _shut_down(handle)

    def close(self) -> None:
        with self._lock:
            for handle in self._sockets:
                handle.close()
            self._sockets.clear()


def _shut_down(handle: socket.socket) -> None:
    with contextlib.suppress(OSError):  # the other side was quicker
        handle.shutdown(socket.SHUT_RDWR)


class _Current(threading.local):
    deadline: _Deadline | None = None


_current = _Current()


@contextlib.contextmanager
def _deadline(seconds: float) -> Iterator[_Deadline]:
    deadline = _current.deadline = _Deadline(seconds)
    timer = threading.Timer(seconds, deadline.end)
    timer.daemon = True
    timer.start()
    try:
        yield deadline
    finally:
        timer.cancel()
        _current.deadline = None
        deadline.close()


def _watched(connected: socket.socket) -> socket.socket:
    if _current.deadline:
        _current.deadline.watch(connected)
    return connected


class _Response(http.client.HTTPResponse):
    """Hints (RFC 9110, 15.2) come before the answer; the library takes any but 100 for it."""

    def begin(self) -> None:
        super().begin()
        while 102 <= self.status < 200:
            self.headers = None  # type: ignore[assignment]  # as before there was any
            super().begin()


class _HTTPConnection(HTTPConnection):
    response_class = _Response

    def _new_conn(self) -> socket.socket:
        return _watched(super()._new_conn())


class _HTTPSConnection(HTTPSConnection):
    response_class = _Response

    def _new_conn(self) -> socket.socket:
        return _watched(super()._new_conn())


class _HTTPPool(HTTPConnectionPool):
    ConnectionCls = _HTTPConnection


class _HTTPSPool(HTTPSConnectionPool):
    ConnectionCls = _HTTPSConnection
