"""Small pictures in files that go on and on: a decoder that takes all that comes would be busy for a long time."""

import struct
import zlib
from collections.abc import Callable

from tests.support import pictures
from tests.support.pictures import chunk, encoded, quarters

SIZE = 8_000_000
INFLATES = zlib.compress(bytes(1 << 20), 9)


def many(piece: bytes) -> bytes:
    return piece * (SIZE // len(piece))


def png(more: bytes, *, behind: bool = False) -> bytes:
    data = encoded(quarters(), "PNG")
    at = data.rindex(b"IEND") - 4 if behind else 33
    return data[:at] + more + data[at:]


def segment(marker: int, body: bytes = b"") -> bytes:
    return b"\xff" + bytes([marker]) + struct.pack(">H", 2 + len(body)) + body


def jpeg(more: bytes) -> bytes:
    data = encoded(quarters(), "JPEG")
    return data[:2] + more + data[2:]


def jpeg_of_scans(scans: int, data: bytes | None = None) -> bytes:
    """Progressive, its last scans with nothing more to say."""
    data = data or encoded(quarters(), "JPEG", progressive=True)
    at = data.rindex(b"\xff\xd9")
    return data[:at] + segment(0xDA, bytes([1, 1, 0, 1, 63, 0])) * (scans - data.count(b"\xff\xda")) + data[at:]


def gif(more: bytes) -> bytes:
    """With something between its head and its picture."""
    data = pictures.gif_that_claims(1, 1)
    return data[:13] + more + data[13:]


def heic(*, shown: int, told: int, size: int, extents: int = 1) -> bytes:
    """Pictures without pixels that share what is told about them, which is the same bytes each time."""
    ids, notes = range(1, 1 + shown), range(1 + shown, 1 + shown + told)
    real = encoded(quarters(), "HEIC")
    at = real.index(b"ipco") - 4
    properties = real[at : at + int.from_bytes(real[at : at + 4])]
    brands = real[: int.from_bytes(real[:4])]
    kinds = [(item, b"hvc1") for item in ids] + [(item, b"Exif") for item in notes]
    about = struct.pack(f">H{shown}H", shown, *ids)
    tail = [
        box(b"iinf", bytes(4), struct.pack(">H", len(kinds)), *(_entry(*each) for each in kinds)),
        box(b"iref", bytes(4), *(box(b"cdsc", struct.pack(">H", item), about) for item in notes)),
        box(b"iprp", properties, box(b"ipma", bytes(4), struct.pack(">I", shown), *(_linked(item) for item in ids))),
    ]

    def meta(data_at: int) -> bytes:
        places = [struct.pack(">HHHII", item, 0, 1, data_at, 8) for item in ids]
        places += [
            struct.pack(">HHH", item, 0, extents) + struct.pack(">II", data_at, size) * extents for item in notes
        ]
        return box(
            b"meta",
            bytes(4),
            box(b"hdlr", bytes(8), b"pict", bytes(13)),
            box(b"pitm", struct.pack(">IH", 0, 1)),
            box(b"iloc", struct.pack(">BBHBBH", 0, 0, 0, 0x44, 0, len(kinds)), *places),
            *tail,
        )

    data_at = len(brands) + len(meta(0)) + 8
    return brands + meta(data_at) + box(b"mdat", b"\0\0\0\6Exif\0\0", bytes(size))


def box(kind: bytes, *content: bytes) -> bytes:
    body = b"".join(content)
    return struct.pack(">I4s", 8 + len(body), kind) + body


def _entry(item: int, kind: bytes) -> bytes:
    return box(b"infe", struct.pack(">IHH4sx", 0x02000000, item, 0, kind))


def _linked(item: int) -> bytes:
    return struct.pack(">HB4B", item, 4, 0x81, 2, 3, 4)


FLOODS: dict[str, Callable[[], bytes]] = {
    "png of empty notes": lambda: png(many(chunk(b"tEXt", b"p\0"))),
    "png of empty data": lambda: png(many(chunk(b"IDAT", b"")), behind=True),
    "png of something of its own": lambda: png(many(chunk(b"prVt", b"")), behind=True),
    "jpeg of exif": lambda: jpeg(many(segment(0xE1, b"Exif\0\0" + bytes(2_000)))),
    "jpeg of exif behind an end": lambda: jpeg(b"\xff\xd9" + many(segment(0xE1, b"Exif\0\0" + bytes(2_000)))),
    "jpeg of tables": lambda: jpeg(many(segment(0xDB, (b"\0" + bytes([1] * 64)) * 1008))),
    "jpeg of frames": lambda: jpeg(many(segment(0xC0, bytes([8, 0, 64, 0, 96, 3]) + b"\1\x11\0" * 21_000))),
    "jpeg of empty segments": lambda: jpeg(many(segment(0xE5))),
    "jpeg of reserved segments": lambda: jpeg(many(segment(0xF0, bytes(100)))),
    "jpeg of scans": lambda: jpeg_of_scans(20_000),
    "gif of comments in small pieces": lambda: gif(b"!\xfe" + many(b"\1a") + b"\0"),
    "gif of empty extensions": lambda: gif(many(b"!\xff\0")),
    "gif of data in small pieces": lambda: pictures.gif_of_tiny_blocks(SIZE),
    "gif of what is no block": lambda: gif(many(b"\x99")),
    "heic of boxes": lambda: box(b"ftyp", b"heic", bytes(4)) + many(box(b"free")),
    "heic of exif": lambda: heic(shown=1, told=400, size=SIZE),
    "heic of exif in many places": lambda: heic(shown=1, told=1, size=SIZE, extents=400),
    "heic of pictures that share their exif": lambda: heic(shown=100, told=4, size=SIZE),
}

HARMLESS: dict[str, Callable[[], bytes]] = {
    "png of colour profiles": lambda: png(many(chunk(b"iCCP", b"p\0\0" + INFLATES))),
    "png of colour profiles behind the pixels": lambda: png(many(chunk(b"iCCP", b"p\0\0" + INFLATES)), behind=True),
    "png of packed notes": lambda: png(many(chunk(b"zTXt", b"p\0\0" + INFLATES))),
    "png of packed notes in all languages": lambda: png(many(chunk(b"iTXt", b"p\0\1\0\0\0" + INFLATES))),
    "jpeg of image resources": lambda: jpeg(many(segment(0xED, b"Photoshop 3.0\0" + b"8BIM\4\4\0\0\0\0\0\0" * 5_400))),
    "gif of what is no block behind the picture": lambda: pictures.gif_that_claims(1, 1)[:-1] + many(b"\x99"),
}
"""Floods of what is not used: it is passed over, and the picture is developed."""
