"""PNG (third edition), chunk by chunk."""

from __future__ import annotations

import struct
import zlib
from typing import BinaryIO

from PIL.PngImagePlugin import PngImageFile

from uploads.formats.outline import (
    ICC_MAX_BYTES,
    Chromaticities,
    Cicp,
    Colour,
    Format,
    Outline,
    Piece,
    exif_orientation,
)

SIGNATURE = b"\x89PNG\r\n\x1a\n"
END = b"\0\0\0\0IEND\xaeB`\x82"
MAX_CHUNKS = 50_000
EXIF_MAX_BYTES = 1024 * 1024
COLOUR = {b"cICP", b"cLLI", b"iCCP", b"sRGB", b"gAMA", b"cHRM"}

# Bytes for each pixel in Pillow's memory, by colour type; twice as many for 16 bits of grey.
MEMORY = {0: 1, 2: 4, 3: 1, 4: 4, 6: 4}


def outline(file: BinaryIO) -> Outline:  # noqa: C901, PLR0912 - one walk through the file
    """Keep IHDR, PLTE, tRNS and IDAT: damage in a chunk that is not used is no reason to refuse a picture.

    An ancillary chunk with a wrong checksum is ignored (13.1).
    """
    at, header, pixels, done = len(SIGNATURE), b"", False, False
    pieces: list[Piece] = [SIGNATURE]
    ancillary: dict[bytes, bytes] = {}
    for _ in range(MAX_CHUNKS):
        file.seek(at)
        length, name = struct.unpack(">I4s", file.read(8).ljust(8, b"\0"))
        chunk = (at, 12 + length)
        at += 12 + length
        if name in (b"IEND", bytes(4)):
            break
        if name == b"IHDR" and not header:
            header = file.read(13)
            pieces.append(chunk)
        elif not header:
            raise ValueError("the first chunk is not IHDR")
        elif name == b"PLTE" and not pixels:
            pieces.append(chunk)
        elif name == b"IDAT" and not done:
            pixels = True
            pieces.append(chunk)
        elif pixels:
            done = True  # the pixels are in consecutive chunks
        if name in COLOUR | {b"tRNS", b"eXIf"} and (name not in ancillary or name == b"eXIf"):
            body = _body(file, chunk, name)
            if body is not None:
                ancillary.setdefault(name, body)
                if name == b"tRNS" and not pixels:
                    pieces.append(chunk)
    else:
        raise ValueError("too many chunks")
    if not pixels:
        raise ValueError("no picture in the file")
    width, height, depth, colour_type = struct.unpack_from(">IIBB", header)
    if not width or not height:
        raise ValueError("a picture without a size")
    return Outline(
        width,
        height,
        MEMORY.get(colour_type, 4) * (2 if depth == 16 and colour_type == 0 else 1) + 0.5,
        [*_merged(pieces), END],
        orientation=exif_orientation(ancillary.get(b"eXIf")),
        colour=_colour(ancillary),
    )


def _body(file: BinaryIO, chunk: tuple[int, int], name: bytes) -> bytes | None:
    """None when it is too long to be sensible, or its checksum is wrong."""
    at, length = chunk
    if length > (ICC_MAX_BYTES if name == b"iCCP" else EXIF_MAX_BYTES):
        return None
    file.seek(at + 4)
    data = file.read(length - 4)
    if len(data) < length - 4 or zlib.crc32(data[:-4]) != int.from_bytes(data[-4:]):
        return None
    return data[4:-4]


def _merged(pieces: list[Piece]) -> list[Piece]:
    """Those that touch are one."""
    merged: list[Piece] = []
    for piece in pieces:
        last = merged[-1] if merged else b""
        if isinstance(piece, tuple) and isinstance(last, tuple) and sum(last) == piece[0]:
            merged[-1] = (last[0], last[1] + piece[1])
        else:
            merged.append(piece)
    return merged


def _colour(chunks: dict[bytes, bytes]) -> Colour:
    """By the chunks' precedence (4.3): cICP, iCCP, sRGB, then gAMA and cHRM."""
    cicp = chunks.get(b"cICP", b"")
    if len(cicp) == 4 and cicp[2] == 0:
        peak = int.from_bytes(chunks.get(b"cLLI", b"")[:4]) / 10_000
        return Colour(cicp=Cicp(cicp[0], cicp[1], display_referred=True), peak_nits=peak or None)
    profile = _inflated(chunks.get(b"iCCP", b""))
    if profile:
        return Colour(icc=profile)
    if b"sRGB" in chunks:
        return Colour()
    gamma, corners = chunks.get(b"gAMA", b""), chunks.get(b"cHRM", b"")
    value = int.from_bytes(gamma) if len(gamma) == 4 else 0
    chromaticities = None
    if len(corners) == 32:
        x = [number / 100_000 for number in struct.unpack(">8I", corners)]
        chromaticities = Chromaticities((x[0], x[1]), (x[2], x[3]), (x[4], x[5]), (x[6], x[7]))
    return Colour(gamma=100_000 / value if value else None, chromaticities=chromaticities)


def _inflated(body: bytes) -> bytes | None:
    """The profile in an iCCP chunk: a name, a method, and what zlib has packed."""
    packed = body.partition(b"\0")[2][1:]
    try:
        inflater = zlib.decompressobj()
        profile = inflater.decompress(packed, ICC_MAX_BYTES)
    except zlib.error:
        return None
    return profile if inflater.eof else None


PNG = Format("PNG", "image/png", "png", lambda start: start.startswith(SIGNATURE), outline, PngImageFile)
