"""Pictures in and out: decoding what people send, encoding what they get."""

from dataclasses import replace
from io import BytesIO
from typing import BinaryIO, NamedTuple

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageFont

from uploads import formats
from workflows.colour import in_srgb

THUMBNAIL_SIDE = 400
PREVIEW_SIDE = 1280
WEBP_MAX_SIDE = 16383
PAPER = (255, 255, 255)
STRIP_PIXELS = 1 << 20
PLAIN_MODES = {"L", "RGB", "CMYK"}
GREY_MODES = {"L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "I;16N"}

UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class Encoded(NamedTuple):
    data: bytes
    content_type: str
    extension: str
    width: int
    height: int


class Decoded(NamedTuple):
    image: Image.Image
    """Upright, sRGB, mode RGB, without any metadata."""
    damaged: bool
    """Whether a part of the picture is missing from the file, and was filled with grey."""


def decode(file: BinaryIO, *, max_pixels: int, max_side: int, max_memory: int = formats.MAX_MEMORY) -> Image.Image:
    """Return the first or primary picture as `read` does, whether or not a part of it is damaged."""
    return read(file, max_pixels=max_pixels, max_side=max_side, max_memory=max_memory).image


def read(file: BinaryIO, *, max_pixels: int, max_side: int, max_memory: int = formats.MAX_MEMORY) -> Decoded:
    """Decode the first or primary picture, scaled down so that no side is over `max_side`.

    Raises `Rejected` as `uploads.formats.inspect` does, UNREADABLE_IMAGE for what is damaged further in, and
    MEMORY_EXCEEDED when the process may not have the memory that the decode takes.
    """
    # Read first: trouble with the storage must not look like trouble with the picture.
    source = BytesIO(file.read())
    with formats.open_picture(source, max_pixels=max_pixels, max_memory=max_memory) as (image, found):
        outline = found.outline
        with formats.refuse_damage():
            damaged = found.format is formats.JPEG and formats.is_damaged(source, outline)
            if damaged and not outline.complete:
                raise ValueError("the file breaks off")
            box = outline.crop or (0, 0, *image.size)
            size = _fitted(_placed_size(outline) or (box[2] - box[0], box[3] - box[1]), max_side)
            if found.format is formats.JPEG:
                image.draft(None, size)
                box = (0, 0, *image.size)
            image.load()
            colour = replace(outline.colour, icc=outline.colour.icc or image.info.get("icc_profile"))
            if outline.placed:
                result = _on_canvas(image, outline, size, colour)
            else:
                result = in_srgb(_reduced(image, size, box), colour)
            turn = UPRIGHT.get(formats.orientation_of(outline, image))
    return Decoded(_bare(result.transpose(turn) if turn is not None else result), damaged)


def _fitted(size: tuple[int, int], max_side: int) -> tuple[int, int]:
    scale = min(1.0, max_side / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _placed_size(outline: formats.Outline) -> tuple[int, int] | None:
    return (outline.width, outline.height) if outline.placed else None


def _on_canvas(
    image: Image.Image, outline: formats.Outline, size: tuple[int, int], colour: formats.Colour
) -> Image.Image:
    """The picture in its place on white paper of `size`."""
    assert outline.placed  # noqa: S101 - or there were no canvas
    scale = size[0] / outline.width, size[1] / outline.height
    left, top = round(outline.placed[0] * scale[0]), round(outline.placed[1] * scale[1])
    own = max(1, round(image.width * scale[0])), max(1, round(image.height * scale[1]))
    canvas = Image.new("RGB", size, PAPER)
    canvas.paste(in_srgb(_reduced(image, own, (0, 0, *image.size)), colour), (left, top))
    return canvas


def _reduced(image: Image.Image, size: tuple[int, int], box: tuple[int, int, int, int]) -> Image.Image:
    """What is in `box`, scaled down to `size`, as L, RGB or CMYK."""
    if image.mode in PLAIN_MODES and not image.has_transparency_data:
        return image.resize(size, Image.Resampling.LANCZOS, box, reducing_gap=2)
    width, height = box[2] - box[0], box[3] - box[1]
    factor = max(1, min(width // size[0], height // size[1]))
    # The last column and row of what was reduced may stand for less than a whole pixel.
    exact = (0, 0, width / factor, height / factor)
    return _flattened(image, factor, box).resize(size, Image.Resampling.LANCZOS, exact)


def _flattened(image: Image.Image, factor: int, box: tuple[int, int, int, int]) -> Image.Image:
    """Without alpha, palette or 16 bits; in strips, so that no second picture of the full size is ever held."""
    left, top, right, bottom = box
    rows = factor * max(1, STRIP_PIXELS // ((right - left) * factor))
    mode = "L" if image.mode in GREY_MODES else "RGB"
    joined = Image.new(mode, (-(-(right - left) // factor), -(-(bottom - top) // factor)))
    for at in range(top, bottom, rows):
        strip = image.crop((left, at, right, min(at + rows, bottom)))
        joined.paste(_flat(strip).reduce(factor), (0, (at - top) // factor))
    return joined


def _flat(image: Image.Image) -> Image.Image:
    """As L or RGB, with paper below what is transparent."""
    if image.mode.startswith("I"):
        values = np.asarray(image)
        grey = (values >> 8).clip(0, 255).astype(np.uint8)
        clear = image.info.get("transparency")
        return Image.fromarray(np.where(values == clear, 255, grey).astype(np.uint8) if clear is not None else grey)
    mode = "L" if image.mode in GREY_MODES else "RGB"
    if not image.has_transparency_data:
        return image.convert(mode)
    layer = image.convert("RGBA")
    paper = Image.new("RGB", layer.size, PAPER)
    paper.paste(layer, mask=layer.getchannel("A"))
    return paper.convert(mode)


def _bare(image: Image.Image) -> Image.Image:
    """A copy with nothing but its pixels: Pillow writes profiles and comments from `info` into what it saves."""
    bare = image.convert("RGB") if image.mode != "RGB" else image.copy()
    bare.info = {}
    return bare


def encode_work(image: Image.Image) -> bytes:
    """Lossless and quick, to be passed from step to step."""
    out = BytesIO()
    _bare(image).save(out, "PNG", compress_level=1)
    return out.getvalue()


def encode_full(image: Image.Image) -> Encoded:
    """Flat graphics without loss; all else as JPEG with its colour in full, as thin strokes of colour need."""
    if image.getcolors(256) and max(image.size) <= WEBP_MAX_SIDE:
        return _webp(image, lossless=True)
    out = BytesIO()
    _bare(image).save(out, "JPEG", quality=92, subsampling="4:4:4", progressive=True)
    return Encoded(out.getvalue(), "image/jpeg", "jpg", image.width, image.height)


def encode_thumbnail(image: Image.Image) -> Encoded:
    return _webp(_scaled(image, THUMBNAIL_SIDE), quality=80)


def encode_preview(image: Image.Image, text: str) -> Encoded:
    """Small enough to be only a preview, with `text` all over it."""
    return _webp(watermark(_scaled(image, PREVIEW_SIDE), text), quality=82)


def _scaled(image: Image.Image, max_side: int) -> Image.Image:
    plain = image if image.mode == "RGB" else image.convert("RGB")
    return plain.resize(_fitted(image.size, max_side), Image.Resampling.LANCZOS, reducing_gap=2)


def _webp(image: Image.Image, *, quality: int = 80, lossless: bool = False) -> Encoded:
    out = BytesIO()
    _bare(image).save(out, "WEBP", quality=quality, lossless=lossless)
    return Encoded(out.getvalue(), "image/webp", "webp", image.width, image.height)


def watermark(image: Image.Image, text: str) -> Image.Image:
    """The text aslant all over the picture, light with a soft dark rim, so that it can be read on any ground."""
    result = _bare(image)
    stamp = _stamp(text, image.size)
    letters = Image.new("L", image.size)
    for at in _staggered(image.size, stamp.size):
        letters.paste(stamp, at, stamp)
    rim = ImageChops.subtract(letters.filter(ImageFilter.GaussianBlur(max(1.0, stamp.height / 50))), letters)
    result.paste((0, 0, 0), mask=rim.point(lambda value: value * 0.6))
    result.paste(PAPER, mask=letters.point(lambda value: value * 0.4))
    return result


def _stamp(text: str, size: tuple[int, int]) -> Image.Image:
    """The text once, white on black, rising by 30 degrees; at least two fit across the picture's larger side."""
    wanted = max(10.0, (size[0] * size[1]) ** 0.5 / 24)
    widest = ImageFont.load_default(wanted).getlength(text)
    font = ImageFont.load_default(max(8.0, wanted * min(1.0, max(size) / 2 / max(1.0, widest))))
    left, top, right, bottom = font.getbbox(text, anchor="ls")
    stamp = Image.new("L", (max(1, round(right - left)), max(1, round(bottom - top))))
    ImageDraw.Draw(stamp).text((-left, -top), text, 255, font, anchor="ls")
    return stamp.rotate(30, Image.Resampling.BICUBIC, expand=True)


def _staggered(size: tuple[int, int], stamp: tuple[int, int]) -> list[tuple[int, int]]:
    """Where stamps go, like bricks; the middle of the picture never falls between two."""
    across, down = round(stamp[0] * 1.2) + 1, round(stamp[1] * 0.95) + 1
    rows = range(-(stamp[1] // 2), size[1], down)
    return [
        (x, y) for row, y in enumerate(rows) for x in range(-(stamp[0] // 2) - row % 2 * (across // 2), size[0], across)
    ]
