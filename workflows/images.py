"""Pictures in and out: decoding what people send, encoding what they get."""

from io import BytesIO
from typing import BinaryIO, NamedTuple

from PIL import Image, ImageChops, ImageCms, ImageDraw, ImageFilter, ImageFont

from uploads import formats

THUMBNAIL_SIDE = 400
PREVIEW_SIDE = 1280
WEBP_MAX_SIDE = 16383
PAPER = (255, 255, 255)
STRIP_PIXELS = 1 << 20
PLAIN_MODES = {"L", "RGB", "CMYK"}

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


def decode(file: BinaryIO, *, max_pixels: int, max_side: int) -> Image.Image:
    """The primary image: upright, sRGB, mode RGB, no side over `max_side`, without any metadata.

    Raises `Rejected` as `uploads.formats.inspect` does, and UNREADABLE_IMAGE for what is damaged further in.
    """
    # Read first: trouble with the storage must not look like trouble with the picture.
    source = BytesIO(file.read())
    formats.inspect(source, max_pixels=max_pixels)
    kind = formats.kind_of(source)
    with formats.refusing_damage(), kind.open(source) as image:
        size = _fitted(image.size, max_side)
        if kind is formats.JPEG:
            image.draft(None, size)
        image.load()
        profile = image.info.get("icc_profile")
        turn = UPRIGHT.get(formats.orientation(image))
        result = _in_srgb(_reduced(image, size), profile)
    return _bare(result.transpose(turn) if turn is not None else result)


def _fitted(size: tuple[int, int], max_side: int) -> tuple[int, int]:
    scale = min(1.0, max_side / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _reduced(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Scaled down to `size`, as L, RGB or CMYK."""
    if image.mode in PLAIN_MODES and not image.has_transparency_data:
        return image.resize(size, Image.Resampling.LANCZOS, reducing_gap=2)
    factor = max(1, min(image.width // size[0], image.height // size[1]))
    # The last column and row of what was reduced may stand for less than a whole pixel.
    box = (0, 0, image.width / factor, image.height / factor)
    return _flattened(image, factor).resize(size, Image.Resampling.LANCZOS, box)


def _flattened(image: Image.Image, factor: int) -> Image.Image:
    """Without alpha, palette or 16 bits; in strips, so that no second picture of the full size is ever held."""
    rows = factor * max(1, STRIP_PIXELS // (image.width * factor))
    joined = Image.new("RGB", (-(-image.width // factor), -(-image.height // factor)))
    for top in range(0, image.height, rows):
        strip = image.crop((0, top, image.width, min(top + rows, image.height)))
        joined.paste(_flat(strip).reduce(factor), (0, top // factor))
    return joined


def _flat(image: Image.Image) -> Image.Image:
    """As RGB, with paper below what is transparent."""
    if image.mode.startswith("I"):
        return image.point(lambda value: value / 256).convert("L").convert("RGB")
    if not image.has_transparency_data:
        return image.convert("RGB")
    layer = image.convert("RGBA")
    paper = Image.new("RGB", layer.size, PAPER)
    paper.paste(layer, mask=layer.getchannel("A"))
    return paper


def _in_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    if profile:
        try:
            source = ImageCms.ImageCmsProfile(BytesIO(profile))
            return ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), image.mode, "RGB").apply(image)
        except (ImageCms.PyCMSError, OSError, ValueError):
            pass  # a broken profile, or one for another kind of picture, is as good as none
    return image.convert("RGB")


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
