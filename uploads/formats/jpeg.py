"""JPEG (ITU T.81), segment by segment."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

import simplejpeg
from PIL.JpegImagePlugin import JpegImageFile

from uploads.errors import Rejected
from uploads.formats.outline import ICC_MAX_BYTES, Colour, Format, Outline, Piece, Spliced, exif_orientation

# Table B.1, without the markers that stand alone: the only one of those that matters here is the picture's end.
MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd8\xff]")
# What stands for nothing there, decoders pass over between and within scans.
MARKER_AFTER_SCAN = re.compile(rb"\xff[\xc0-\xc7\xc9-\xcf\xd9-\xef\xfe]")
END, SCAN, QUANTIZATION, JFIF, EXIF, ICC, ADOBE, COMMENT = 0xD9, 0xDA, 0xDB, 0xE0, 0xE1, 0xE2, 0xEE, 0xFE
FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
LOSSLESS = {0xC3, 0xC7, 0xCB, 0xCF}
PROGRESSIVE = {0xC2, 0xC6, 0xCA, 0xCE}
SEGMENTS = FRAMES | {0xC4, 0xCC, *range(0xDA, 0xF0), COMMENT}
METADATA = {*range(0xE0, 0xF0), COMMENT}
WINDOW = 64 * 1024

MAX_SEGMENTS = 2_000
MAX_TABLES = 100
MAX_SCANS = 100
MAX_SCANNED_PIXELS = 4_000_000_000
"""Pixels × scans: each scan of a progressive picture visits all of it. 0.5 s of a core for 200 million (measured)."""

DAMAGE = ("premature end of data segment", "bad Huffman code", "instead of RST")
"""Warnings of libjpeg after which a part of the picture is missing; others are about what it can do without."""


class Segment(NamedTuple):
    marker: int
    at: int
    """Where its marker is; its length follows two bytes later."""
    length: int
    """Without the marker."""


class Frame(NamedTuple):
    marker: int
    width: int
    height: int
    sampling: tuple[tuple[int, int], ...]
    """Horizontal and vertical, for each component."""


def outline(file: BinaryIO) -> Outline:  # noqa: C901, PLR0912 - one walk through the file
    """Keep what the pixels need: metadata is thrown away in any case, so it cannot refuse a picture."""
    pieces: list[Piece] = [b"\xff\xd8"]
    frame: Frame | None = None
    exif: bytes | None = None
    profile: dict[int, bytes] = {}
    first_scan: Segment | None = None
    tables, scans, end = 0, 0, None
    for count, segment in enumerate(_segments(file)):
        if segment.marker == END:
            end = segment.at
            break
        tables += segment.marker == QUANTIZATION
        scans += segment.marker == SCAN
        if count == MAX_SEGMENTS or tables > MAX_TABLES or scans > MAX_SCANS:
            raise ValueError("too many segments")
        if segment.marker in FRAMES:
            if frame:
                raise ValueError("more than one frame")
            frame = _frame(file, segment)
        if first_scan:
            continue
        if segment.marker == SCAN:
            first_scan = segment
        elif segment.marker not in METADATA:
            pieces.append((segment.at, 2 + segment.length))
        else:
            body = _body(file, segment)
            if segment.marker == EXIF and body.startswith(b"Exif\0"):
                exif = exif or body
            elif segment.marker == ICC and body.startswith(b"ICC_PROFILE\0") and len(body) > 14:
                profile.setdefault(body[12], body[13:])
            elif _tells_colour(segment.marker, body):
                pieces.append((segment.at, 2 + segment.length))
    if frame is None or first_scan is None:
        raise ValueError("no picture in the file")
    size = file.seek(0, 2)
    pieces += [(first_scan.at, (size if end is None else end) - first_scan.at), b"\xff\xd9"]
    _refuse_endless(frame, scans)
    return Outline(
        frame.width,
        frame.height,
        _memory_per_pixel(frame, components_in_scan=_body(file, first_scan)[0], scans=scans),
        pieces,
        orientation=exif_orientation(exif),
        colour=Colour(icc=_joined(profile)),
        complete=end is not None,
    )


def _segments(file: BinaryIO) -> Iterator[Segment]:
    """Each segment (B.1.1.4) up to the picture's end, which is the last, or to the end of the file."""
    at, scanned = 2, False
    while True:
        file.seek(at)
        window = file.read(WINDOW)
        found = (MARKER_AFTER_SCAN if scanned else MARKER).search(window)
        if found is None:
            if len(window) < WINDOW:
                return
            at += len(window) - 1  # the last byte may begin a marker
            continue
        marker, at = window[found.end() - 1], at + found.end()
        if marker == END and scanned:
            yield Segment(marker, at - 2, 0)
            return
        if marker not in SEGMENTS or marker == END:
            raise ValueError(f"unknown marker: {marker:x}")
        scanned |= marker == SCAN
        file.seek(at)
        length = max(2, int.from_bytes(file.read(2)))
        yield Segment(marker, at - 2, length)
        at += length


def _body(file: BinaryIO, segment: Segment) -> bytes:
    file.seek(segment.at + 4)
    return file.read(segment.length - 2)


def _frame(file: BinaryIO, segment: Segment) -> Frame:
    body = _body(file, segment)
    _, height, width, count = struct.unpack_from(">BHHB", body)
    sampling = tuple((byte >> 4, byte & 15) for byte in body[7 : 7 + 3 * count : 3])
    if not (width and height and sampling and all(h and v for h, v in sampling)):
        raise ValueError("a frame without a size")
    return Frame(segment.marker, width, height, sampling)


def _tells_colour(marker: int, body: bytes) -> bool:
    """Whether libjpeg learns from this segment how the colour is stored; broken ones are as good as none."""
    return (marker == JFIF and body.startswith(b"JFIF\0") and len(body) >= 14) or (
        marker == ADOBE and body.startswith(b"Adobe") and len(body) >= 12
    )


def _joined(profile: dict[int, bytes]) -> bytes | None:
    """The ICC profile of all parts, each with the number of parts before it."""
    parts = [profile.get(number, b"") for number in range(1, len(profile) + 1)]
    if not all(part and part[0] == len(profile) for part in parts) or sum(map(len, parts)) > ICC_MAX_BYTES:
        return None
    return b"".join(part[1:] for part in parts) or None


def _memory_per_pixel(frame: Frame, *, components_in_scan: int, scans: int) -> float:
    """Next to nothing for a baseline picture, which is decoded line by line and scaled meanwhile. With several scans
    all coefficients are held, of two bytes each; a lossless picture cannot be scaled."""
    if frame.marker in LOSSLESS:
        return 8
    if frame.marker not in PROGRESSIVE and scans == 1 and components_in_scan >= len(frame.sampling):
        return 0.5
    block = max(h for h, _ in frame.sampling) * max(v for _, v in frame.sampling)
    return 0.5 + 2 * sum(h * v for h, v in frame.sampling) / block


def _refuse_endless(frame: Frame, scans: int) -> None:
    if scans * frame.width * frame.height > MAX_SCANNED_PIXELS:
        raise Rejected(
            "IMAGE_TOO_LARGE",
            f"This picture would take too long to open: {frame.width} × {frame.height} pixels in {scans} scans.",
        )


def is_damaged(file: BinaryIO, found: Outline) -> bool:
    """Whether a part of the picture is missing. libjpeg fills it with grey, and Pillow does not pass its warnings on.

    Costs an entropy decoding of the whole picture, and no more: it is made at an eighth of its size, in grey.
    """
    data = Spliced(file, found.pieces or ()).read()
    try:
        simplejpeg.decode_jpeg(data, "GRAY", min_height=1, min_width=1, min_factor=8, strict=True)
    except ValueError as error:
        return any(warning in str(error) for warning in DAMAGE)
    return False


JPEG = Format(
    "JPEG",
    "image/jpeg",
    "jpg",
    lambda start: start.startswith(b"\xff\xd8\xff"),
    outline,
    JpegImageFile,
)
