"""GIF89a, block by block as far as its first picture, which is the one that is used."""

from __future__ import annotations

import struct
from typing import BinaryIO

from PIL.GifImagePlugin import GifImageFile

from uploads.formats.outline import Format, Outline, Piece

MAX_BLOCKS = 500_000
MAX_EXTENSIONS = 5_000
"""Before the first picture."""
WINDOW = 64 * 1024
IMAGE, EXTENSION, TRAILER, CONTROL = 0x2C, 0x21, 0x3B, 0xF9
MEMORY_PER_PIXEL = 3


def outline(file: BinaryIO) -> Outline:
    """Keep the first picture alone, on a canvas of its own size: then it costs what it holds, not what the canvas
    claims, and what it does not cover is not painted."""
    file.seek(6)
    head = file.read(7)
    width, height, flags, background, aspect = struct.unpack("<HHBBB", head)
    palette = _table(flags)
    at = 13 + palette
    control: list[Piece] = []
    blocks = _Blocks(file)
    for _ in range(MAX_EXTENSIONS):
        kind = blocks.byte(at)
        if kind == EXTENSION:
            label, end = blocks.byte(at + 1), blocks.after(at + 2)
            if label == CONTROL:
                control = [(at, end - at)]
            at = end
        elif kind == 0:
            at = blocks.after_padding(at)
        elif kind == IMAGE:
            break
        else:
            raise ValueError("no picture in the file")
    else:
        raise ValueError("too many extensions")
    file.seek(at + 1)
    left, top, w, h, local = struct.unpack("<HHHHB", file.read(9))
    table = at + 10
    data = table + _table(local)
    end = blocks.after(data + 1)
    if not w or not h:
        raise ValueError("a picture without a size")
    descriptor = bytes([IMAGE]) + struct.pack("<HHHHB", 0, 0, w, h, local)
    return Outline(
        max(width, left + w),
        max(height, top + h),
        MEMORY_PER_PIXEL,
        [
            b"GIF89a" + struct.pack("<HHBBB", w, h, flags, background, aspect),
            (13, palette),
            *control,
            descriptor,
            (table, end - table),
            bytes([TRAILER]),
        ],
        placed=(left, top),
    )


def _table(flags: int) -> int:
    """Bytes of the colour table that the flags announce."""
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


class _Blocks:
    """Walks over sub-blocks, not more than `MAX_BLOCKS` in all, and reads each part of the file about once."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._left = MAX_BLOCKS
        self._start = 0
        self._window = b""

    def byte(self, at: int) -> int | None:
        """None behind the end of the file."""
        if not self._start <= at < self._start + len(self._window):
            self._file.seek(at)
            self._start, self._window = at, self._file.read(WINDOW)
        return self._window[at - self._start] if self._window else None

    def after(self, at: int) -> int:
        """The end of the sub-blocks that begin at `at`, or of the file."""
        while (length := self.byte(at)) is not None:
            at += 1 + length
            self._left -= 1
            if not length:
                return at
            if self._left < 0:
                raise ValueError("too many blocks")
        return self._file.seek(0, 2)

    def after_padding(self, at: int) -> int:
        """The first byte that is not zero: some encoders leave zeros between blocks."""
        while self.byte(at) == 0:
            rest = self._window[at - self._start :]
            at += len(rest) - len(rest.lstrip(b"\0"))
        return at


GIF = Format("GIF", "image/gif", "gif", lambda start: start.startswith((b"GIF87a", b"GIF89a")), outline, GifImageFile)
