"""What kind of picture a file holds and how large it is, from its own first bytes and before anything is decoded."""

import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import BinaryIO, NamedTuple, cast

from PIL import Image
from PIL.AvifImagePlugin import AvifImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile
from pillow_heif import HeifImageFile

from uploads.errors import Rejected


class Header(NamedTuple):
    content_type: str
    extension: str
    width: int
    """As displayed, that is after the orientation has been applied."""
    height: int
    frames: int


class Kind(NamedTuple):
    content_type: str
    extension: str
    open: Callable[[BinaryIO], ImageFile]
    share: float = 1.0
    """Of the pixels that may be, for its decoder's memory."""


# The plugins are called by class: `Image.open` would try others too, and treats an MPO file as something else than
# the JPEG that it begins with.
JPEG = Kind("image/jpeg", "jpg", JpegImageFile)
PNG = Kind("image/png", "png", PngImageFile)
WEBP = Kind("image/webp", "webp", WebPImageFile, 0.5)  # holds two more canvases beside the picture
GIF = Kind("image/gif", "gif", GifImageFile)
AVIF = Kind("image/avif", "avif", AvifImageFile)
HEIC = Kind("image/heic", "heic", HeifImageFile)

BOXES_WITHIN = 256 * 1024
TOP_BOXES = {b"ftyp", b"meta", b"mdat", b"moov", b"free", b"skip", b"uuid"}
AVIF_BRANDS = {b"avif", b"avis"}
HEIC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"}

# What Pillow and its codecs are known to raise on a bad file.
DECODER_ERRORS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)


def inspect(file: BinaryIO, *, max_pixels: int) -> Header:
    """Judge a file by its header; nothing is decoded.

    Raises `Rejected`: UNSUPPORTED_TYPE, UNREADABLE_IMAGE, or IMAGE_TOO_LARGE when pixels × frames exceed `max_pixels`.
    """
    kind = kind_of(file)
    max_pixels = int(max_pixels * kind.share)
    with refusing_damage():
        if kind is WEBP:
            # Its decoder sets memory aside for the whole canvas as soon as it is made.
            refuse_over(max_pixels, *_webp_canvas(file))
        elif kind in (AVIF, HEIC):
            # What is missing at the end, HEIC's decoder fills up: a tile, or half of a phone's photo.
            _refuse_cut_off(file)
            # Their decoders have limits of their own, over which they call a file broken.
            for width, height in _spatial_extents(file):
                refuse_over(max_pixels, width, height)
        width, height, frames = _walk_gif(file) if kind is GIF else _measure(kind, file)
    file.seek(0)
    refuse_over(max_pixels, width, height, frames)
    return Header(kind.content_type, kind.extension, width, height, frames)


def kind_of(file: BinaryIO) -> Kind:
    """The kind that the signature names, the file rewound; raises `Rejected("UNSUPPORTED_TYPE")`."""
    file.seek(0)
    start = file.read(512)
    file.seek(0)
    kind = _kind_by_signature(start)
    if kind is None:
        raise Rejected("UNSUPPORTED_TYPE")
    return kind


def _kind_by_signature(start: bytes) -> Kind | None:
    if start.startswith(b"\xff\xd8\xff"):
        return JPEG
    if start.startswith(b"\x89PNG\r\n\x1a\n"):
        return PNG
    if start.startswith((b"GIF87a", b"GIF89a")):
        return GIF
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return WEBP
    if start[4:8] == b"ftyp":
        return _kind_by_brand(start)
    return None


def _kind_by_brand(start: bytes) -> Kind | None:
    """`mif1` and `msf1` say only that it is some HEIF file, so the compatible brands are asked too (ISO 23008-12)."""
    size = int.from_bytes(start[:4])
    brands = [start[8:12], *(start[at : at + 4] for at in range(16, min(size, len(start)), 4))]
    for brand in brands:
        if brand in AVIF_BRANDS:
            return AVIF
        if brand in HEIC_BRANDS:
            return HEIC
    return None


def refuse_over(max_pixels: int, width: int, height: int, frames: int = 1) -> None:
    if width * height * frames > max_pixels:
        has = f"{width} × {height} pixels" + (f" in {frames} frames" if frames > 1 else "")
        raise Rejected("IMAGE_TOO_LARGE", f"This picture is too large: {has}, of {max_pixels / 1e6:g} million at most.")


@contextmanager
def refusing_damage() -> Iterator[None]:
    """Let what a decoder raises come out as `Rejected`."""
    try:
        yield
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise Rejected("IMAGE_TOO_LARGE", detail=str(error)) from error
    except MemoryError as error:
        raise Rejected("IMAGE_TOO_LARGE", "This picture takes too much memory to open.") from error
    except DECODER_ERRORS as error:
        raise Rejected("UNREADABLE_IMAGE", detail=f"{type(error).__name__}: {error}") from error


def orientation(image: Image.Image) -> int:
    """The EXIF orientation 1–8 of an opened picture; 1 when there is none that makes sense.

    `Image.getexif` is not used: it decodes a PNG that has none.
    """
    exif = Image.Exif()
    try:
        exif.load(image.info.get("exif", b""))
        value = exif.get(0x0112, 1)
    except DECODER_ERRORS:
        return 1
    return value if value in range(1, 9) else 1


class _Patient:
    """A file that may be asked only so often: Pillow reads some headers byte by byte, for as long as they go on."""

    def __init__(self, file: BinaryIO, reads: int = 20_000) -> None:
        self.file = file
        self.reads = reads
        self.seek = file.seek
        self.tell = file.tell

    def read(self, size: int = -1) -> bytes:
        self.reads -= 1
        if self.reads < 0:
            raise ValueError("the header has no end")
        return self.file.read(size)


def _measure(kind: Kind, file: BinaryIO) -> tuple[int, int, int]:
    with kind.open(cast("BinaryIO", _Patient(file))) as image:
        width, height = image.size
        if orientation(image) >= 5:
            width, height = height, width
        return width, height, getattr(image, "n_frames", 1)


def _webp_canvas(file: BinaryIO) -> tuple[int, int]:
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


def _spatial_extents(file: BinaryIO) -> Iterator[tuple[int, int]]:
    """Width and height of everything that the `ispe` properties near the start describe (ISO 23008-12, 6.5.3)."""
    data = file.read(BOXES_WITHIN)
    file.seek(0)
    containers = [(0, len(data))]
    while containers:
        for kind, at, end in _boxes(data, *containers.pop()):
            if kind in (b"meta", b"iprp", b"ipco"):
                containers.append((at + 4 * (kind == b"meta"), end))
            elif kind == b"ispe" and end - at >= 12:
                width, height = struct.unpack_from(">II", data, at + 4)
                yield width, height


def _refuse_cut_off(file: BinaryIO) -> None:
    """Raises ValueError when a box at the top promises more than the file has (ISO 14496-12, 4.2)."""
    end, at = file.seek(0, 2), 0
    while at < end:
        file.seek(at)
        head = file.read(16)
        size, least = int.from_bytes(head[:4]), 8
        if size == 1:
            size, least = int.from_bytes(head[8:16]), 16
        if size < least or head[4:8] not in TOP_BOXES:
            break  # it goes on to the end, or something was put behind the picture
        at += size
    file.seek(0)
    if at > end:
        raise ValueError("the file is cut off")


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


def _walk_gif(file: BinaryIO) -> tuple[int, int, int]:
    """Width, height and frames, block by block (GIF89a, 17 to 26): Pillow's own count is slow enough to be abused."""
    data = file.read()
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    at, frames = 13 + _colour_table(flags), 0
    while data[at : at + 1] in (b"!", b","):
        if data[at] == ord(","):
            left, top, w, h, flags = struct.unpack_from("<HHHHB", data, at + 1)
            if not frames:
                width, height = max(width, left + w), max(height, top + h)
            at, frames = at + 11 + _colour_table(flags), frames + 1
        else:
            at += 2
        at = _after_sub_blocks(data, at)
    if not frames:
        raise ValueError("no image in the file")
    return width, height, frames


def _colour_table(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _after_sub_blocks(data: bytes, at: int) -> int:
    end = len(data)
    while at < end and data[at]:
        at += data[at] + 1
    return at + 1
