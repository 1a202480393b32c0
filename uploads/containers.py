"""What picture files are made of, piece by piece, looked at before a decoder does.

Decoders take their time over headers without measure: everything here raises ValueError for those, after work that
grows with the file at most.
"""

import re
import struct
from collections import Counter
from collections.abc import Iterator
from typing import BinaryIO

PNG_CHUNKS_MOST = 50_000
PNG_METADATA_MOST = 10 * 1024 * 1024
# Each may be a megabyte that is inflated from a thousand bytes.
PNG_INFLATED = {b"iCCP", b"zTXt", b"iTXt"}
PNG_INFLATED_MOST = 64

# ITU T.81, table B.1, without the markers that stand alone: of those only the picture's end is of interest here.
JPEG_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd8\xff]")
JPEG_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
JPEG_SEGMENTS = JPEG_FRAMES | {0xC4, 0xCC, *range(0xDA, 0xF0), 0xFE}
JPEG_END, JPEG_SCAN = 0xD9, 0xDA
JPEG_SEGMENTS_MOST = 2_000
# Of these a few are usual and each costs: a scan goes over all of the frame, and what is in the others Pillow takes
# apart byte by byte, or joins to what came before.
JPEG_MOST = {"frame": 1, "scan": 100, "tables": 100, "exif": 20, "photoshop": 100}
WINDOW = 64 * 1024

GIF_BLOCKS_MOST = 500_000
GIF_EXTENSIONS_MAX = 100_000
"""An animation has one or two for each frame; an empty one is three bytes, so a file could hold millions."""
GIF_PADDING = re.compile(rb"\0*")


def check_png(file: BinaryIO) -> None:
    """Chunk by chunk to the end (PNG 3, 5.3): Pillow reads also what stands behind the pixels."""
    at, metadata, inflated = 8, 0, 0
    for _ in range(PNG_CHUNKS_MOST):
        file.seek(at)
        length, name = struct.unpack(">I4s", file.read(8).ljust(8, b"\0"))
        if name in (b"IEND", bytes(4)):
            return
        if name[0] & 0x20 and name != b"fdAT":
            metadata += length
        inflated += name in PNG_INFLATED
        if metadata > PNG_METADATA_MOST or inflated > PNG_INFLATED_MOST:
            raise ValueError("more is told about the picture than there may be")
        at += 12 + length
    raise ValueError("too many chunks")


def check_jpeg(file: BinaryIO) -> None:
    """Segment by segment through all scans."""
    seen: Counter[str] = Counter()
    for count, (marker, start) in enumerate(_jpeg_segments(file)):
        kind = _jpeg_kind(marker, start)
        seen[kind] += 1
        if count == JPEG_SEGMENTS_MOST or seen[kind] > JPEG_MOST.get(kind, JPEG_SEGMENTS_MOST):
            raise ValueError(f"too many segments: {kind}")


def _jpeg_kind(marker: int, start: bytes) -> str:
    if marker in JPEG_FRAMES:
        return "frame"
    if marker == 0xE1 and start == b"Exif\0\0":
        return "exif"
    return {JPEG_SCAN: "scan", 0xDB: "tables", 0xED: "photoshop"}.get(marker, "other")


def _jpeg_segments(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Marker and first bytes of each, up to the picture's end (ITU T.81, B.1)."""
    at, scanned = 2, False
    while True:
        file.seek(at)
        window = file.read(WINDOW)
        found = JPEG_MARKER.search(window)
        if found is None:
            if len(window) < WINDOW:
                return  # it breaks off, as the decoder will see
            at += len(window) - 1  # the last byte may begin a marker
            continue
        marker = window[found.end() - 1]
        if marker == JPEG_END and scanned:
            return
        if marker not in JPEG_SEGMENTS:
            raise ValueError(f"no such segment: {marker:x}")
        scanned |= marker == JPEG_SCAN
        at += found.end()
        file.seek(at)
        start = file.read(8)
        yield marker, start[2:]
        at += max(2, int.from_bytes(start[:2]))


def webp_canvas(file: BinaryIO) -> tuple[int, int]:
    """Width and height by RFC 9649, for the three kinds of first chunk."""
    start = file.read(30)
    file.seek(0)
    chunk = start[12:16]
    if chunk == b"VP8X":
        return int.from_bytes(start[24:27], "little") + 1, int.from_bytes(start[27:30], "little") + 1
    if chunk == b"VP8L":
        bits = int.from_bytes(start[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    width, height = struct.unpack_from("<HH", start, 26)
    return width & 0x3FFF, height & 0x3FFF


def walk_gif(file: BinaryIO) -> tuple[int, int, int]:
    """Width, height and frames, block by block (GIF89a, 17 to 26): Pillow's own count is slow enough to be abused."""
    data = file.read()
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    at, frames, extensions, left = 13 + _colour_table(flags), 0, 0, GIF_BLOCKS_MOST
    while data[at : at + 1] not in (b"", b";"):
        if data[at] == ord(","):
            x, y, w, h, flags = struct.unpack_from("<HHHHB", data, at + 1)
            if not frames:
                width, height = max(width, x + w), max(height, y + h)
            at, frames = at + 11 + _colour_table(flags), frames + 1
        elif data[at] == ord("!"):
            at, extensions = at + 2, extensions + 1
            if extensions > GIF_EXTENSIONS_MAX:
                raise ValueError("more extensions than any picture has")
        else:
            at = _after_padding(data, at)
            continue
        at, left = _after_sub_blocks(data, at, left - 1)
    if not frames:
        raise ValueError("no image in the file")
    return width, height, frames


def _colour_table(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _after_padding(data: bytes, at: int) -> int:
    padding = GIF_PADDING.match(data, at)
    if not padding or padding.end() == at:
        raise ValueError("what comes here is no block")
    return padding.end()


def _after_sub_blocks(data: bytes, at: int, left: int) -> tuple[int, int]:
    """Where the next block is, and how many may still come."""
    end = len(data)
    while at < end and data[at] and left >= 0:
        at += data[at] + 1
        left -= 1
    if left < 0:
        raise ValueError("too many blocks")
    return at + 1, left
