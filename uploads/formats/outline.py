"""What a format's module finds out about a picture from its container."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO, NamedTuple

from PIL import Image
from PIL.ImageFile import ImageFile

from uploads.errors import Rejected

ICC_MAX_BYTES = 4 * 1024 * 1024
"""A longer profile is ignored, as a broken one is. The largest in use, for printers, have about 2 MB."""

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


class Header(NamedTuple):
    content_type: str
    extension: str
    width: int
    """As displayed, that is after the orientation has been applied."""
    height: int


class Cicp(NamedTuple):
    """Colour by code points (ITU-T H.273), as in `nclx` boxes and `cICP` chunks."""

    primaries: int
    transfer: int
    display_referred: bool = False
    """Whether browsers show the transfer of BT.709 as a display would, as they do in PNG, and not as sRGB's."""


class Chromaticities(NamedTuple):
    """x and y of each, as in a `cHRM` chunk."""

    white: tuple[float, float]
    red: tuple[float, float]
    green: tuple[float, float]
    blue: tuple[float, float]


@dataclass(frozen=True)
class Colour:
    """What the numbers of the pixels mean. An ICC profile wins over the rest; without any of these it is sRGB."""

    icc: bytes | None = None
    cicp: Cicp | None = None
    gamma: float | None = None
    """The exponent that turns a value into light: 2.2, not 0.45."""
    chromaticities: Chromaticities | None = None
    peak_nits: float | None = None
    """The brightest light in the picture, where an HDR picture says so (`clli`)."""


Piece = tuple[int, int] | bytes
"""Offset and length in the file, or bytes in their place."""


@dataclass(frozen=True)
class Outline:
    width: int
    """Pixels as stored, before the orientation is applied; for a GIF those of its canvas."""
    height: int
    memory_per_pixel: float
    """Bytes that the decode takes at its peak, over what the process has; README has the figures."""
    pieces: Sequence[Piece] | None = None
    """What the decoder is given; None is the whole file."""
    orientation: int | None = None
    """Exif's 1 to 8; None is what the decoder says."""
    colour: Colour = Colour()
    placed: tuple[int, int] | None = None
    """Left and top, where the decoded picture covers only a part of a canvas of `width` × `height`."""
    crop: tuple[int, int, int, int] | None = None
    """Left, top, right, bottom of what is shown of the decoded picture; `width` and `height` are the crop's."""
    scans: int = 1
    complete: bool = True
    """Whether the end of the picture was found."""


@dataclass(frozen=True)
class Format:
    name: str
    """As people call it."""
    content_type: str
    extension: str
    matches: Callable[[bytes], bool]
    """Whether a file that begins with these bytes (512, if there are as many) has this format."""
    outline: Callable[[BinaryIO], Outline]
    """Check the container and describe the picture. Raises ValueError when it is damaged, after work that grows with
    the file at most, in bounded memory."""
    open: Callable[[BinaryIO], ImageFile]
    """Pillow's plugin, by class: `Image.open` would try others too."""


class Spliced:
    """A file made of pieces of another, for decoders that must not see the rest."""

    def __init__(self, file: BinaryIO, pieces: Sequence[Piece]) -> None:
        self._file = file
        self._pieces: list[tuple[int, int, Piece]] = []
        end = 0
        for piece in pieces:
            length = len(piece) if isinstance(piece, bytes) else piece[1]
            self._pieces.append((end, end + length, piece))
            end += length
        self._end = end
        self._at = 0
        self._current = 0

    def read(self, size: int = -1) -> bytes:
        wanted = self._end - self._at if size < 0 else min(size, self._end - self._at)
        found = []
        while wanted > 0:
            start, end, piece = self._pieces[self._find()]
            skip, length = self._at - start, min(wanted, end - self._at)
            if isinstance(piece, bytes):
                data = piece[skip : skip + length]
            else:
                self._file.seek(piece[0] + skip)
                data = self._file.read(length)
            if not data:
                break
            found.append(data)
            self._at += len(data)
            wanted -= len(data)
        return b"".join(found)

    def _find(self) -> int:
        """The piece that holds the current position; the last one found is the likeliest."""
        at = self._current
        if at >= len(self._pieces) or self._at < self._pieces[at][0]:
            at = 0
        while self._at >= self._pieces[at][1]:
            at += 1
        self._current = at
        return at

    def seek(self, offset: int, whence: int = 0) -> int:
        base = (0, self._at, self._end)[whence]
        self._at = min(max(base + offset, 0), self._end)
        return self._at

    def tell(self) -> int:
        return self._at

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True


@contextmanager
def refuse_damage() -> Iterator[None]:
    """Turn what a decoder raises into `Rejected`: UNREADABLE_IMAGE, IMAGE_TOO_LARGE or MEMORY_EXCEEDED."""
    try:
        yield
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise Rejected("IMAGE_TOO_LARGE", detail=str(error)) from error
    except MemoryError as error:
        raise Rejected("MEMORY_EXCEEDED", detail=str(error)) from error
    except DECODER_ERRORS as error:
        text = f"{type(error).__name__}: {error}"
        # Decoders report a failed allocation as an error of the file.
        ran_out = "memory" in text.lower() or "alloc" in text.lower()
        raise Rejected("MEMORY_EXCEEDED" if ran_out else "UNREADABLE_IMAGE", detail=text) from error


def exif_orientation(exif: bytes | None) -> int:
    """The orientation 1–8 in a block of EXIF; 1 when there is none that makes sense."""
    if not exif:
        return 1
    tags = Image.Exif()
    try:
        tags.load(exif)
        value = tags.get(0x0112, 1)
    except DECODER_ERRORS:
        return 1
    return value if value in range(1, 9) else 1
