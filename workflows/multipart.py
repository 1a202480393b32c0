"""Forms as clients send them: the name of a file is never a reason to refuse a picture."""

from __future__ import annotations

import codecs
import re
from typing import IO, Any, Protocol, cast

from django.utils.http import parse_header_parameters
from rest_framework.parsers import MultiPartParser

from uploads.errors import CodedError

HEADER_MAX_BYTES = 16 * 1024
PIECE = 64 * 1024
NAME = re.compile(r'(?i)(\bfilename=")([^"]*)(")')
EXTENDED_NAME = re.compile(r"(?i)(\bfilename\*=)([^']*)(')")
HALF_WIDTH = re.compile("[\uff61-\uff9f]")
"""Katakana that nobody types: signs that another encoding was taken for Shift-JIS."""
ADJACENT = re.compile(rb"[\x80-\xff]{2}")


class Readable(Protocol):
    def read(self, size: int = ..., /) -> bytes: ...


class FormParser(MultiPartParser):
    """Django's parser, which drops a part whose header is not UTF-8, or whose file has no usable name."""

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Any = None) -> Any:
        boundary = parse_header_parameters(media_type or "")[1].get("boundary", "")
        if not boundary:
            raise CodedError("INVALID_PARAMETER", "The Content-Type of this form names no boundary.")
        announced = _whole_number(parser_context["request"].META.get("CONTENT_LENGTH"))
        legible_form = LegibleHeaders(stream, boundary.encode("latin-1", "ignore"), announced)
        return super().parse(cast("IO[bytes]", legible_form), media_type, parser_context)


class LegibleHeaders:
    """A form whose parts have headers in UTF-8, and files with names; all else is passed on as it comes.

    A form that is `announced` bytes long, all of which arrive, is closed when its closing delimiter is missing.
    One that breaks off is not: the sender, who may send it again, must not find half of it taken.
    """

    def __init__(self, stream: Readable, boundary: bytes, announced: int | None = None) -> None:
        self._stream = stream
        self._delimiter = b"--" + boundary
        self._missing = announced
        self._waiting = b""
        self._ready = bytearray()
        self._in_header = False
        self._ended = False
        self._closed = False

    def read(self, size: int = -1) -> bytes:
        while not self._ended and (size < 0 or len(self._ready) < size):
            piece = self._stream.read(PIECE)
            self._ended = not piece
            self._waiting += piece
            if self._missing is not None:
                self._missing -= len(piece)
            self._sort()
        size = len(self._ready) if size < 0 else size
        data = bytes(self._ready[:size])
        del self._ready[:size]
        return data

    def _sort(self) -> None:
        """Move what is waiting to what is ready, as far as it is known to be header or content."""
        while not self._closed:
            if not (self._sort_header() if self._in_header else self._sort_content()):
                return
            self._in_header = not self._in_header
        self._move(len(self._waiting))

    def _sort_header(self) -> bool:
        """Whether the header, or what it cannot be, is over."""
        end = self._waiting.find(b"\r\n\r\n")
        if end < 0 and len(self._waiting) <= HEADER_MAX_BYTES and not self._ended:
            return False
        self._closed = self._waiting.startswith(b"--")
        end = 0 if self._closed else max(end, 0)
        self._ready += legible(self._waiting[:end])
        self._waiting = self._waiting[end:]
        return True

    def _sort_content(self) -> bool:
        """Whether the content is over, with the delimiter behind it."""
        found = self._waiting.find(self._delimiter)
        if found >= 0:
            self._move(found + len(self._delimiter))
            return True
        kept = 0 if self._ended else len(self._delimiter) - 1
        self._move(max(0, len(self._waiting) - kept))
        if self._ended and self._missing == 0:
            self._ready += b"\r\n" + self._delimiter + b"--\r\n"
        return False

    def _move(self, end: int) -> None:
        self._ready += self._waiting[:end]
        self._waiting = self._waiting[end:]


def legible(header: bytes) -> bytes:
    """The header of a part in UTF-8, where each file that has a name has one that can be used."""
    text = _decoded(header)
    text = NAME.sub(lambda found: found[1] + _usable(found[2]) + found[3], text)
    text = EXTENDED_NAME.sub(lambda found: found[1] + _known(found[2]) + found[3], text)
    return text.encode()


def _decoded(header: bytes) -> str:
    """As UTF-8; else as what is likeliest of cp1252 (where letters with accents stand alone), Shift-JIS and GBK."""
    try:
        return header.decode()
    except UnicodeDecodeError:
        pass
    for encoding in ("cp932", "gb18030") if ADJACENT.search(header) else ():
        try:
            text = header.decode(encoding)
        except UnicodeDecodeError:
            continue
        if not HALF_WIDTH.search(text):
            return text
    return header.decode("cp1252", errors="replace")


def _usable(name: str) -> str:
    last = re.split(r"[/\\]", name)[-1]
    letters = "".join(letter for letter in last if letter.isprintable())
    return "picture" if name and letters.strip() in {"", ".", ".."} else name


def _known(encoding: str) -> str:
    try:
        return codecs.lookup(encoding).name
    except LookupError:
        return "utf-8"


def _whole_number(text: str | None) -> int | None:
    return int(text) if text and text.isdecimal() else None
