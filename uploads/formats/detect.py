"""Which format a file has, and whether its picture may be opened."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import BinaryIO, NamedTuple, cast

from PIL.ImageFile import ImageFile

from uploads.errors import Rejected
from uploads.formats import others
from uploads.formats.gif import GIF
from uploads.formats.heif import AVIF, HEIC
from uploads.formats.jpeg import JPEG
from uploads.formats.outline import Format, Header, Outline, Spliced, exif_orientation, refuse_damage
from uploads.formats.png import PNG
from uploads.formats.webp import WEBP

FORMATS = (JPEG, PNG, GIF, WEBP, AVIF, HEIC)
"""In the order in which they are tried."""

MAX_MEMORY = 1536 * 1024**2
"""Bytes that a decode may take at its peak, where nothing else is said: what WORKER_MEMORY_BYTES leaves by default."""

# Pillow warns of each fault in metadata, in its own words.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")


class Inspected(NamedTuple):
    format: Format
    outline: Outline
    header: Header


def detect(file: BinaryIO) -> Format:
    """The format by the file's first bytes, the file rewound. Raises `Rejected`: UNSUPPORTED_TYPE."""
    file.seek(0)
    start = file.read(512)
    file.seek(0)
    for candidate in FORMATS:
        if candidate.matches(start):
            return candidate
    raise Rejected("UNSUPPORTED_TYPE", others.refusal(start))


def inspect(file: BinaryIO, *, max_pixels: int, max_memory: int = MAX_MEMORY) -> Header:
    """Judge a file by its container; nothing is decoded.

    Raises `Rejected`: UNSUPPORTED_TYPE, UNREADABLE_IMAGE, or IMAGE_TOO_LARGE when the picture has more than
    `max_pixels`, or its decoder would need more than `max_memory` bytes. Only the first frame of an animation counts,
    as no other is used.
    """
    with open_picture(file, max_pixels=max_pixels, max_memory=max_memory) as (_, inspected):
        header = inspected.header
    file.seek(0)
    return header


@contextmanager
def open_picture(
    file: BinaryIO, *, max_pixels: int, max_memory: int = MAX_MEMORY
) -> Iterator[tuple[ImageFile, Inspected]]:
    """The picture, not yet decoded, in Pillow's plugin, and what was found out about it. Raises as `inspect` does."""
    kind = detect(file)
    with refuse_damage():
        outline = kind.outline(file)
        refuse_costly(kind, outline, max_pixels, max_memory)
        file.seek(0)
        opened = kind.open(file if outline.pieces is None else cast("BinaryIO", Spliced(file, outline.pieces)))
    with opened:
        with refuse_damage():
            # Again: the decoder may have found another picture, as in a sequence.
            refuse_costly(kind, replace(outline, width=opened.width, height=opened.height), max_pixels, max_memory)
            header = _header(kind, outline, opened)
        yield opened, Inspected(kind, outline, header)


def refuse_costly(kind: Format, outline: Outline, max_pixels: int, max_memory: int) -> None:
    most = min(max_pixels, int(max_memory / outline.memory_per_pixel))
    if outline.width * outline.height > most:
        size, least = f"{outline.width} × {outline.height} pixels", f"{most / 1e6:.4g} million at most"
        of_its_kind = f" for this kind of {kind.name}" if most < max_pixels else ""
        raise Rejected("IMAGE_TOO_LARGE", f"This picture is too large: {size}, of {least}{of_its_kind}.")


def _header(kind: Format, outline: Outline, image: ImageFile) -> Header:
    if outline.placed:
        width, height = outline.width, outline.height
    elif outline.crop:
        width, height = outline.crop[2] - outline.crop[0], outline.crop[3] - outline.crop[1]
    else:
        width, height = image.size
    if orientation_of(outline, image) >= 5:
        width, height = height, width
    return Header(kind.content_type, kind.extension, width, height)


def orientation_of(outline: Outline, image: ImageFile) -> int:
    """1 to 8, as in Exif. `Image.getexif` is not used: it decodes a PNG that has none."""
    if outline.orientation is not None:
        return outline.orientation
    return exif_orientation(image.info.get("exif"))
