"""What kind of picture a file holds and how large it is, from its own first bytes and before anything is decoded."""

import struct
import warnings
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

from uploads import containers, heif
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

AVIF_BRANDS = {b"avif", b"avis"}
HEIC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"}

# Of faults that it passes over, as many as a file has, each in its own words.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")

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
        _look_through(kind, file, max_pixels)
        file.seek(0)
        width, height, frames = containers.walk_gif(file) if kind is GIF else _measure(kind, file)
    file.seek(0)
    refuse_over(max_pixels, width, height, frames)
    return Header(kind.content_type, kind.extension, width, height, frames)


def _look_through(kind: Kind, file: BinaryIO, max_pixels: int) -> None:
    """Before any decoder is made."""
    if kind is PNG:
        containers.check_png(file)
    elif kind is JPEG:
        containers.check_jpeg(file)
    elif kind is WEBP:
        # Its decoder sets memory aside for the whole canvas as soon as it is made.
        refuse_over(max_pixels, *containers.webp_canvas(file))
    elif kind in (AVIF, HEIC):
        heif.check(file)
        # Their decoders have limits of their own, over which they call a file broken.
        for width, height in heif.spatial_extents(file):
            refuse_over(max_pixels, width, height)


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
