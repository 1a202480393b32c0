"""HEIC and AVIF: pictures in the boxes of ISO 14496-12 and 23008-12."""

from __future__ import annotations

import struct
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import BinaryIO

from PIL.AvifImagePlugin import AvifImageFile
from pillow_heif import HeifImageFile

from uploads.errors import Rejected
from uploads.formats.outline import Cicp, Colour, Format, Outline

TOP_BOXES = {b"ftyp", b"meta", b"mdat", b"moov", b"free", b"skip", b"uuid"}
MAX_TOP_BOXES = 1_000
META_MAX_BYTES = 4 * 1024 * 1024
TOLD_MAX_BYTES = 20 * 1024 * 1024
TOLD_IN = {b"iinf", b"iloc", b"iref", b"iprp"}
PICTURES = {b"hvc1", b"av01", b"avc1", b"vvc1", b"jpeg", b"j2k1", b"unci", b"grid", b"iovl", b"iden", b"tmap", b"tili"}

AVIF_BRANDS = {b"avif", b"avis"}
HEIC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"}
ANY_BRANDS = {b"mif1", b"mif2", b"msf1"}
"""They say only that it is some HEIF file."""


Span = tuple[int, int]
"""Where the content of a box begins and ends."""
NOWHERE = (0, 0)


def outline_heic(file: BinaryIO) -> Outline:
    _, meta = _checked_meta(file)
    found = _primary_properties(meta)
    sizes = [*_extents(meta), (1, 1)]
    return Outline(
        *max(sizes, key=lambda size: size[0] * size[1]),
        memory_per_pixel=_memory_per_pixel(meta),
        colour=_colour(found),
    )


def outline_avif(file: BinaryIO) -> Outline:
    """Its decoder ignores `clap`, and refuses what browsers open: associations in two boxes, broken Exif, which has no
    say here, and a file that calls itself HEIF only."""
    at, meta = _checked_meta(file)
    found = _primary_properties(meta)
    sizes = [*_extents(meta), (1, 1)]
    size = file.seek(0, 2)
    return Outline(
        *max(sizes, key=lambda size: size[0] * size[1]),
        memory_per_pixel=_memory_per_pixel(meta),
        pieces=[*_avif_brands(file), (16, at - 16), _without_obstacles(meta), (at + len(meta), size - at - len(meta))],
        colour=_colour(found),
        crop=_clean_aperture(found),
    )


def _checked_meta(file: BinaryIO) -> tuple[int, bytes]:
    """Where the content of the `meta` box is, and the content. Refuses what is cut off, and too much metadata."""
    size, found, film = file.seek(0, 2), None, False
    for kind, at, end in _top_boxes(file, size):
        film |= kind == b"moov"
        if end > size and kind in TOP_BOXES:
            # What is missing, HEIC's decoder fills up: a tile, or half of a phone's photo.
            raise ValueError("the file is cut off")
        if kind == b"meta" and found is None:
            if end - at > META_MAX_BYTES:
                raise ValueError("too much in the meta box")
            file.seek(at)
            found = at, file.read(end - at)
            _check_told(found[1], size)
    if found is None and film:
        raise Rejected("UNSUPPORTED_TYPE", "This file holds a sequence of pictures, and no still picture.")
    if found is None:
        raise ValueError("no picture in the file")
    return found


def _check_told(meta: bytes, size: int) -> None:
    """Bound the metadata: HEIC's decoder copies it for each picture, and items may share the same bytes."""
    boxes = [(kind, at, end) for kind, at, end in _boxes(meta, 4, len(meta)) if kind in TOLD_IN]
    found = {kind: (at, end) for kind, at, end in boxes}
    if len(found) < len(boxes):
        raise ValueError("a box that may be there once is there twice")
    kinds, shown = _items(meta, *found.get(b"iinf", NOWHERE))
    sizes = _sizes(meta, *found.get(b"iloc", NOWHERE), size)
    readers = _readers(meta, *found.get(b"iref", NOWHERE))
    told = sum(sizes[item] * max(1, readers[item]) for item, kind in kinds.items() if kind not in PICTURES)
    properties = found.get(b"iprp", NOWHERE)
    if told + shown * (properties[1] - properties[0]) > TOLD_MAX_BYTES:
        raise ValueError("more metadata than there may be")


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
    """About how many pictures each item of metadata describes (14496-12, 8.11.12)."""
    readers: Counter[int] = Counter()
    wide = 4 if end and meta[at] else 2
    for kind, entry, _ in _boxes(meta, at + 4, end):
        if kind == b"cdsc":
            item = int.from_bytes(meta[entry : entry + wide])
            readers[item] += int.from_bytes(meta[entry + wide : entry + wide + 2])
    return readers


def _find(meta: bytes, kind: bytes) -> Span:
    """The first box of this kind."""
    return next(((at, end) for name, at, end in _boxes(meta, 4, len(meta)) if name == kind), NOWHERE)


def _properties(meta: bytes) -> list[tuple[bytes, bytes]]:
    """Kind and content of each property, in the order in which associations count them."""
    for kind, at, end in _boxes(meta, *_find(meta, b"iprp")):
        if kind == b"ipco":
            return [(name, meta[start:stop]) for name, start, stop in _boxes(meta, at, end)]
    return []


def _extents(meta: bytes) -> Iterator[tuple[int, int]]:
    """Width and height of every picture in the file, also of those that are not shown (23008-12, 6.5.3)."""
    for kind, content in _properties(meta):
        if kind == b"ispe" and len(content) >= 12:
            yield struct.unpack_from(">II", content, 4)


def _primary_item(meta: bytes) -> int:
    at, end = _find(meta, b"pitm")
    return int.from_bytes(meta[at + 4 : at + (8 if end and meta[at] else 6)])


def _primary_properties(meta: bytes) -> dict[bytes, list[bytes]]:
    """Contents by kind, of the primary picture."""
    primary, every = _primary_item(meta), _properties(meta)
    found: dict[bytes, list[bytes]] = defaultdict(list)
    for kind, at, end in _boxes(meta, *_find(meta, b"iprp")):
        if kind != b"ipma":
            continue
        for item, entry in _associations(meta[at:end]):
            wide = meta[at + 3] & 1
            numbers = struct.unpack(f">{entry[0]}{'H' if wide else 'B'}", entry[1:])
            for number in numbers if item == primary else ():
                index = (number & (0x7FFF if wide else 0x7F)) - 1
                if 0 <= index < len(every):
                    found[every[index][0]].append(every[index][1])
    return found


def _associations(box: bytes) -> Iterator[tuple[int, bytes]]:
    """Each item of an `ipma` box with its count and numbers of properties (14496-12, 8.11.14)."""
    wide_ids, wide = 4 if box[0] else 2, 2 if box[3] & 1 else 1
    at = 8
    for _ in range(int.from_bytes(box[4:8])):
        item, entry = int.from_bytes(box[at : at + wide_ids]), at + wide_ids
        if entry >= len(box) or entry + 1 + box[entry] * wide > len(box):
            raise ValueError("the associations are cut off")
        at = entry + 1 + box[entry] * wide
        yield item, box[entry:at]


def _colour(found: dict[bytes, list[bytes]]) -> Colour:
    """The code points of the primary picture; a profile its decoder hands out."""
    cicp, peak = None, None
    for content in found.get(b"colr", ()):
        if content[:4] == b"nclx" and len(content) >= 8:
            cicp = Cicp(*struct.unpack_from(">HH", content, 4))
    for content in found.get(b"clli", ()):
        peak = float(int.from_bytes(content[:2])) or None
    return Colour(cicp=cicp, peak_nits=peak)


def _clean_aperture(found: dict[bytes, list[bytes]]) -> tuple[int, int, int, int] | None:
    """Left, top, right and bottom of the `clap` property (14496-12, 12.1.4.2); None when there is none that fits."""
    clap, extent = found.get(b"clap"), found.get(b"ispe")
    if not clap or not extent or len(clap[0]) < 32 or len(extent[0]) < 12:
        return None
    total = struct.unpack_from(">II", extent[0], 4)
    numbers = struct.unpack_from(">iIiIiIiI", clap[0])
    if 0 in numbers[1::2]:
        return None
    width, height, across, down = (n / d for n, d in zip(numbers[::2], numbers[1::2], strict=True))
    left, top = across + (total[0] - width) / 2, down + (total[1] - height) / 2
    box = round(left), round(top), round(left + width), round(top + height)
    fits = 0 <= box[0] < box[2] <= total[0] and 0 <= box[1] < box[3] <= total[1]
    return box if fits else None


def _without_obstacles(meta: bytes) -> bytes:
    """The same number of bytes, which AVIF's decoder accepts."""
    result = bytearray(meta)
    for _, at, end in _boxes(meta, *_item_list(meta)):
        kind = at + (10 if meta[at] == 3 else 8)
        if kind + 4 <= end and meta[kind : kind + 4] == b"Exif":
            result[kind : kind + 4] = b"free"
    start, stop = _find(meta, b"iprp")
    parts = [(at - 8, end) for kind, at, end in _boxes(meta, start, stop) if kind == b"ipma"]
    if len(parts) == 2 and parts[0][1] == parts[1][0] and parts[1][1] == stop:
        first, second = (meta[at + 8 : end] for at, end in parts)
        if first[:4] == second[:4]:  # of different versions they are two boxes by right
            entries = sorted([*_associations(first), *_associations(second)], key=lambda entry: entry[0])
            wide = 4 if first[0] else 2
            body = b"".join(item.to_bytes(wide) + entry for item, entry in entries)
            merged = struct.pack(">I4s4sI", 16 + len(body), b"ipma", first[:4], len(entries)) + body
            result[parts[0][0] : stop] = merged + struct.pack(">I4s8x", 16, b"free")
            result[start - 8 : start - 4] = struct.pack(">I", stop - 16 - start + 8)
    return bytes(result) if len(result) == len(meta) else meta


def _item_list(meta: bytes) -> Span:
    at, end = _find(meta, b"iinf")
    return (at + (8 if meta[at] else 6), end) if end else NOWHERE


def _avif_brands(file: BinaryIO) -> list[bytes]:
    """The first 16 bytes, with a brand that AVIF's decoder knows."""
    file.seek(0)
    start = file.read(16)
    return [start if start[8:12] in AVIF_BRANDS else start[:8] + b"avif" + start[12:]]


def _memory_per_pixel(meta: bytes) -> float:
    """The planes of the picture, and of its alpha, twice; and seven bytes for what becomes of them (measured)."""
    properties = _properties(meta)
    planes = [_planes(kind, content) for kind, content in properties if kind in {b"hvcC", b"av1C"}]
    depth, chroma = map(max, zip(*planes, strict=True)) if planes else (1, 2.0)
    alpha = any(kind == b"auxC" for kind, _ in properties)
    return 7 + 2 * depth * (1 + chroma + alpha)


def _planes(kind: bytes, content: bytes) -> tuple[int, float]:
    """Bytes of a sample, and samples of chroma for each of luma (14496-15, 8.3.3.1; AV1 in ISOBMFF, 2.3)."""
    if kind == b"hvcC":
        return 1 + (content[17] & 7 > 0), (0, 0.5, 1, 2)[content[16] & 3]
    monochrome, across, down = content[2] & 16, content[2] >> 3 & 1, content[2] >> 2 & 1
    return 1 + (content[2] & 64 > 0), 0 if monochrome else 2 / (1 << across + down)


def _top_boxes(file: BinaryIO, size: int) -> Iterator[tuple[bytes, int, int]]:
    """Kind, and where its content begins and should end, of each up to the first that does not end in the file."""
    at = 0
    for _ in range(MAX_TOP_BOXES):
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


def _brands(start: bytes) -> set[bytes]:
    """The main and the compatible brands of a file, as far as they are in its first bytes."""
    if start[4:8] != b"ftyp":
        return set()
    end = min(int.from_bytes(start[:4]), len(start))
    return {start[8:12], *(start[at : at + 4] for at in range(16, end, 4))}


def _is_avif(start: bytes) -> bool:
    """By brand; a file that says only that it is HEIF, by the first coding that is named."""
    brands = _brands(start)
    if brands & AVIF_BRANDS and start[8:12] not in HEIC_BRANDS:
        return True
    return bool(brands & ANY_BRANDS) and not brands & HEIC_BRANDS and b"av01" in start


def _is_heic(start: bytes) -> bool:
    brands = _brands(start)
    return bool(brands & (HEIC_BRANDS | ANY_BRANDS)) and not _is_avif(start)


AVIF = Format("AVIF", "image/avif", "avif", _is_avif, outline_avif, AvifImageFile)
HEIC = Format("HEIC", "image/heic", "heic", _is_heic, outline_heic, HeifImageFile)
