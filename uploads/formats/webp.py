"""WebP (RFC 9649)."""

import struct
from typing import BinaryIO

from PIL.WebPImagePlugin import WebPImageFile

from uploads.formats.outline import Format, Outline

MEMORY_PER_PIXEL = 16
"""Two canvases of the decoder for animations, the only one in Pillow, a copy, and the picture; of four bytes each."""


def outline(file: BinaryIO) -> Outline:
    """Read the size of the canvas from the first chunk, which is of one of three kinds (2.5 to 2.7). The decoder
    reserves its memory as soon as it is made."""
    file.seek(0)
    start = file.read(30)
    chunk = start[12:16]
    if chunk == b"VP8X":
        size = int.from_bytes(start[24:27], "little") + 1, int.from_bytes(start[27:30], "little") + 1
    elif chunk == b"VP8L":
        bits = int.from_bytes(start[21:25], "little")
        size = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    else:
        width, height = struct.unpack_from("<HH", start, 26)
        size = width & 0x3FFF, height & 0x3FFF
    return Outline(*size, MEMORY_PER_PIXEL)


WEBP = Format(
    "WebP",
    "image/webp",
    "webp",
    lambda start: start[:4] == b"RIFF" and start[8:12] == b"WEBP",
    outline,
    WebPImageFile,
)
