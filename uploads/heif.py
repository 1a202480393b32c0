"""The boxes of HEIC and AVIF files (ISO 14496-12 and 23008-12), looked at before a decoder does.

Everything here raises ValueError, after work that grows with the file at most.
"""

import struct
from collections import Counter
from collections.abc import Iterator
from typing import BinaryIO

TOP_BOXES = {b"ftyp", b"meta", b"mdat", b"moov", b"free", b"skip", b"uuid"}
TOP_BOXES_MOST = 1_000
EXTENTS_WITHIN = 256 * 1024
META_MOST = 4 * 1024 * 1024
TOLD_MOST = 20 * 1024 * 1024
TOLD_IN = {b"iinf", b"iloc", b"iref", b"iprp"}
PICTURES = {b"hvc1", b"av01", b"avc1", b"vvc1", b"jpeg", b"j2k1", b"unci", b"grid", b"iovl", b"iden", b"tmap", b"tili"}


def check(file: BinaryIO) -> None:
    """Refuse what is cut off, and what tells more about its pictures than there may be."""
    size = file.seek(0, 2)
    for kind, at, end in _top_boxes(file, size):
        if end > size and kind in TOP_BOXES:
            # What is missing, HEIC's decoder fills up: a tile, or half of a phone's photo.
            raise ValueError("the file is cut off")
        if kind == b"meta":
            if end - at > META_MOST:
                raise ValueError("too much in the meta box")
            file.seek(at)
            _check_told(file.read(end - at), size)
    file.seek(0)


def _check_told(meta: bytes, size: int) -> None:
    """HEIC's decoder copies it for each picture, and any number of items may name the same bytes as theirs."""
    boxes = [(kind, at, end) for kind, at, end in _boxes(meta, 4, len(meta)) if kind in TOLD_IN]
    found = {kind: (at, end) for kind, at, end in boxes}
    if len(found) < len(boxes):
        raise ValueError("a box that may be there once is there twice")
    nowhere = (0, 0)
    kinds, shown = _items(meta, *found.get(b"iinf", nowhere))
    sizes = _sizes(meta, *found.get(b"iloc", nowhere), size)
    readers = _readers(meta, *found.get(b"iref", nowhere))
    told = sum(sizes[item] * max(1, readers[item]) for item, kind in kinds.items() if kind not in PICTURES)
    properties = found.get(b"iprp", nowhere)
    if told + shown * (properties[1] - properties[0]) > TOLD_MOST:
        raise ValueError("more is told about the pictures than there may be")


def _items(meta: bytes, at: int, end: int) -> tuple[dict[int, bytes], int]:
    """The kind of each item, and how many are not hidden (14496-12, 8.11.6)."""
    kinds: dict[int, bytes] = {}
    shown = 0
    for _, entry, _ in _boxes(meta, at + (8 if meta[at] else 6), end) if end else ():
        wide = 4 if meta[entry] == 3 else 2
        item = int.from_bytes(meta[entry + 4 : entry + 4 + wide])
        if item in kinds:
            raise ValueError("an item is described twice")
        kinds[item] = meta[entry + 6 + wide : entry + 10 + wide]
        shown += not meta[entry + 3] & 1
    return kinds, shown


def _sizes(meta: bytes, at: int, end: int, whole: int) -> Counter[int]:
    """How many bytes each item has (14496-12, 8.11.3); a length that is not given goes on to the file's end."""
    sizes: Counter[int] = Counter()
    if not end:
        return sizes
    version, (offset, length), (base, index) = meta[at], *(divmod(meta[at + by], 16) for by in (4, 5))
    wide = 4 if version == 2 else 2
    count, at = int.from_bytes(meta[at + 6 : at + 6 + wide]), at + 6 + wide
    before, extent = wide + 2 * (version > 0) + 2 + base, index * (version > 0) + offset + length
    for _ in range(count):
        item, at = int.from_bytes(meta[at : at + wide]), at + before
        extents, at = int.from_bytes(meta[at : at + 2]), at + 2
        last = at + extents * extent
        if last > end:
            raise ValueError("the places of the items are cut off")
        if length:
            sizes[item] += sum(
                int.from_bytes(meta[e - length : e]) or whole for e in range(at + extent, last + 1, extent)
            )
        else:
            sizes[item] += extents * whole
        at = last
    return sizes


def _readers(meta: bytes, at: int, end: int) -> Counter[int]:
    """About how many pictures each item tells something (14496-12, 8.11.12)."""
    readers: Counter[int] = Counter()
    wide = 4 if end and meta[at] else 2
    for kind, entry, _ in _boxes(meta, at + 4, end):
        if kind == b"cdsc":
            item = int.from_bytes(meta[entry : entry + wide])
            readers[item] += int.from_bytes(meta[entry + wide : entry + wide + 2])
    return readers


def spatial_extents(file: BinaryIO) -> Iterator[tuple[int, int]]:
    """Width and height of everything that the `ispe` properties near the start describe (ISO 23008-12, 6.5.3)."""
    file.seek(0)
    data = file.read(EXTENTS_WITHIN)
    containers = [(0, len(data))]
    while containers:
        for kind, at, end in _boxes(data, *containers.pop()):
            if kind in (b"meta", b"iprp", b"ipco"):
                containers.append((at + 4 * (kind == b"meta"), end))
            elif kind == b"ispe" and end - at >= 12:
                width, height = struct.unpack_from(">II", data, at + 4)
                yield width, height


def _top_boxes(file: BinaryIO, size: int) -> Iterator[tuple[bytes, int, int]]:
    """Kind, and where its content begins and should end, of each up to the first that does not end in the file."""
    at = 0
    for _ in range(TOP_BOXES_MOST):
        file.seek(at)
        head = file.read(16)
        long = head[:4] == b"\0\0\0\1"
        length, least = (int.from_bytes(head[8:16]), 16) if long else (int.from_bytes(head[:4]) or size - at, 8)
        if length < least:
            return
        yield head[4:8], at + least, at + length
        at += length
        if at >= size:
            return
    raise ValueError("too many boxes")


def _boxes(data: bytes, at: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Kind, and where its content begins and ends, of each box (ISO 14496-12, 4.2)."""
    while at + 8 <= end:
        size, head = int.from_bytes(data[at : at + 4]), 8
        if size == 1:
            size, head = int.from_bytes(data[at + 8 : at + 16]), 16
        last = end if size == 0 else at + size
        if size and size < head:
            return
        yield data[at + 4 : at + 8], at + head, min(last, end)
        at = last
