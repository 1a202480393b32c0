"""Bodies of requests, read within bounds: not too many at once, not too slowly, and to their end.

The server's threads are few, and each waits for as long as its sender likes, and then for as long as the storage
does. So there are fewer places for bodies than threads, and each is kept until the answer is made: slow senders and
a slow storage can take the places of other senders, but never those of polls. A sender who stalls for good is for
the proxy in front to end; to leave its thread while it still reads stops granian as a whole.
"""

import errno
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, Protocol

from django.conf import settings

PLACES = 3
"""Requests with a body that are served at once: one less than the server has threads."""
STANDSTILL = 1.0
"""Seconds for which one more waits after the last change of places: for as long as others are served quickly."""
GRACE = 15.0
"""Seconds that any sender has,"""
LEAST_PACE = 64 * 1024
"""and bytes a second that it must come to after those."""
PIECE = 8 * 1024
DRAIN_SECONDS = 5.0

Environment = dict[str, Any]
Application = Callable[[Environment, Callable[..., Any]], Iterable[bytes]]


class Stream(Protocol):
    def read(self, size: int, /) -> bytes: ...


class Places:
    """So many at once, and then whoever has waited longest."""

    def __init__(self, number: int) -> None:
        self._free = number
        self._waiting: deque[object] = deque()
        self._changed_at = time.monotonic()
        self._change = threading.Condition()

    def take(self, standstill: float) -> bool:
        """False when none has become free, or was taken by another, for so many seconds."""
        turn = object()
        with self._change:
            self._waiting.append(turn)
            try:
                while not (self._free and self._waiting[0] is turn):
                    left = self._changed_at + standstill - time.monotonic()
                    if left <= 0:
                        return False
                    self._change.wait(left)
                self._free -= 1
                self._changed_at = time.monotonic()
                return True
            finally:
                self._waiting.remove(turn)
                self._change.notify_all()

    def give_back(self) -> None:
        with self._change:
            self._free += 1
            self._changed_at = time.monotonic()
            self._change.notify_all()


_places = Places(PLACES)


class Body:
    """In the place of `wsgi.input`. Raises `OSError`: with EFBIG for a body that does not end where it must, else for
    one that is too slow, one too many, or cut off."""

    def __init__(self, stream: Stream, length: int | None, longest: int) -> None:
        self._stream = stream
        self._length = length
        self._longest = longest
        self._received = 0
        self._began: float | None = None
        self._ended = False

    def read(self, size: int = -1) -> bytes:
        """As many bytes as were asked for, or all that are left."""
        self._begin(STANDSTILL)
        pieces = []
        while not self._ended and size:
            pieces.append(self._next(min(size, PIECE) if size > 0 else PIECE))
            size -= len(pieces[-1]) if size > 0 else 0
        if self._length is None and self._received >= self._longest:
            raise OSError(errno.EFBIG, "the body is too long")
        return b"".join(pieces)

    def readline(self, size: int = -1) -> bytes:
        """Some bytes, and not a line: Django only asks for lines to come to the end of a form that it has read."""
        return self.read(min(size, PIECE) if size > 0 else PIECE)

    def _begin(self, standstill: float) -> None:
        if self._ended or self._began is not None:
            return
        if not _places.take(standstill):
            self._ended = True
            raise BlockingIOError("too many bodies are being served")
        self._began = time.monotonic()

    def _next(self, size: int) -> bytes:
        piece = self._stream.read(size)
        self._received += len(piece)
        if not piece or self._received == self._length:
            self._ended = True
            if self._length is not None and self._received < self._length:
                raise ConnectionResetError("the sender is gone")
        elif self._is_slow():
            self._ended = True
            raise TimeoutError("the body came too slowly")
        return piece

    def _is_slow(self) -> bool:
        assert self._began is not None  # noqa: S101 - or there were no piece
        return time.monotonic() - self._began > GRACE + self._received / LEAST_PACE

    def finish(self) -> None:
        """After the answer is made: a browser that still sends when the connection closes would not show it."""
        most, until = 4 * settings.UPLOAD_MAX_BYTES, time.monotonic() + DRAIN_SECONDS
        with suppress(OSError):  # too slow, too many, or gone: then without
            self._begin(standstill=0)
            while not self._ended and self._received < most and time.monotonic() < until:
                self._next(PIECE)
        if self._began is not None:
            _places.give_back()


def bounded(application: Application, longest: int) -> Application:
    """`longest`: bytes of a body that comes in chunks, without saying how long it is; more are not read."""

    def call(environment: Environment, start_response: Callable[..., Any]) -> Iterable[bytes]:
        length = environment.get("CONTENT_LENGTH") or ""
        known = int(length) if length.isascii() and length.isdigit() and len(length) <= 18 else 0
        chunked = not length and "chunked" in environment.get("HTTP_TRANSFER_ENCODING", "")
        if not known and not chunked:
            return application(environment, start_response)
        if chunked:
            environment["CONTENT_LENGTH"] = str(longest)
        body = environment["wsgi.input"] = Body(environment["wsgi.input"], None if chunked else known, longest)
        try:
            return application(environment, start_response)
        finally:
            body.finish()

    return call
