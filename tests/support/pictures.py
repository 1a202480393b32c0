"""Pictures for tests, made in memory."""

import struct
import zlib
from io import BytesIO
from typing import Any

import numpy as np
import pillow_heif
from hypothesis import strategies as st
from PIL import Image, ImageCms, ImageDraw, ImageFilter, ImageFont

RED, GREEN, BLUE, YELLOW = (220, 30, 30), (30, 190, 60), (30, 60, 220), (240, 220, 40)

ORIENTATION = 0x0112
GPS_POSITION = b"Grytviken 54S"

# What turns an upright picture into the stored one that the orientation then turns back.
STORED = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    out = BytesIO()
    if kind == "HEIC":
        pillow_heif.from_pillow(image).save(out, quality=90, enc_params={"preset": "ultrafast"}, **options)
    else:
        image.save(out, kind, **options)
    return out.getvalue()


def quarters(width: int = 96, height: int = 64) -> Image.Image:
    """Red and green above blue and yellow: it looks different in each of the eight orientations."""
    image = Image.new("RGB", (width, height), RED)
    image.paste(GREEN, (width // 2, 0, width, height // 2))
    image.paste(BLUE, (0, height // 2, width // 2, height))
    image.paste(YELLOW, (width // 2, height // 2, width, height))
    return image


def corners(image: Image.Image) -> list[str]:
    """The names of the colours nearest to the four corners' own, in the order of `quarters`."""
    names = {"red": RED, "green": GREEN, "blue": BLUE, "yellow": YELLOW}
    width, height = image.size
    points = [(x, y) for y in (height // 8, height - height // 8 - 1) for x in (width // 8, width - width // 8 - 1)]
    found = [np.array(image.convert("RGB").getpixel(point)) for point in points]
    return [min(names, key=lambda name: np.abs(colour - names[name]).sum()) for colour in found]


def turned(orientation: int, kind: str) -> bytes:
    """`quarters`, stored turned and with the EXIF orientation that shows it upright."""
    turn = STORED[orientation]
    stored = quarters().transpose(turn) if turn is not None else quarters()
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return encoded(stored, kind, exif=exif.tobytes())


def with_everything(kind: str) -> bytes:
    """A picture with EXIF and a GPS position in it, and a colour profile."""
    exif = Image.Exif()
    exif[0x010E] = GPS_POSITION.decode()
    exif.get_ifd(0x8825).update({1: "S", 2: (54.0, 16.0, 53.0)})
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return encoded(quarters(), kind, exif=exif.tobytes(), icc_profile=profile)


def animated(kind: str, frames: int = 3) -> bytes:
    pages = [Image.new("RGB", (32, 20), (80 * number % 256, 90, 40)) for number in range(frames)]
    return encoded(pages[0], kind, save_all=True, append_images=pages[1:], duration=50)


def multi_picture() -> bytes:
    return encoded(quarters(), "MPO", save_all=True, append_images=[Image.new("RGB", (640, 480), BLUE)])


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png_that_claims(width: int, height: int) -> bytes:
    """A few bytes that would take width × height × 3 to decode."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = zlib.compress(bytes(4096))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def jpeg_that_claims(width: int, height: int, **options: Any) -> bytes:
    data = encoded(quarters(), "JPEG", **options)
    at = next(at for at in (data.find(b"\xff\xc0"), data.find(b"\xff\xc2")) if at > 0) + 5
    return data[:at] + struct.pack(">HH", height, width) + data[at + 4 :]


def webp_that_claims(width: int, height: int, data: bytes) -> bytes:
    """A WebP file with another canvas size in its extended header."""
    extended = bytes(4) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    body = b"WEBPVP8X" + struct.pack("<I", 10) + extended + data[12:]
    return b"RIFF" + struct.pack("<I", len(body)) + body


def gif_of_tiny_blocks(size: int) -> bytes:
    """A GIF whose data come in as many pieces as possible."""
    head = b"GIF89a" + struct.pack("<HHBBB", 1, 1, 0, 0, 0)
    return head + b"," + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02" + b"\x01\x44" * (size // 2) + b"\x00;"


def sixteen_bit_grey() -> bytes:
    ramp = np.linspace(0, 65535, 64 * 48).reshape(48, 64).astype(np.uint16)
    return encoded(Image.fromarray(ramp), "PNG")


def half_transparent(mode: str = "RGBA") -> Image.Image:
    """Red on the left, nothing on the right (where the colour below the alpha is black)."""
    image = Image.new("RGBA", (64, 48))
    image.paste((*RED, 255), (0, 0, 32, 48))
    return image.convert(mode) if mode == "RGBA" else image.quantize(4)


def landscape(width: int = 480, height: int = 320) -> Image.Image:
    """Sky, hills, a lake and a sun, with the noise of a small sensor."""
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    sky = np.stack([150 + 90 * y, 180 + 50 * y, 235 - 20 * y], axis=2)
    for level, colour in ((0.45, (110, 130, 160)), (0.6, (70, 110, 80)), (0.78, (40, 90, 120))):
        ridge = level + 0.06 * np.sin(9 * x + 20 * level) + 0.03 * np.sin(23 * x)
        sky[y > ridge] = colour
    sky[(x - 0.75) ** 2 * (width / height) ** 2 + (y - 0.2) ** 2 < 0.008] = (255, 230, 150)
    noise = np.random.default_rng(3).normal(0, 6, sky.shape)
    return Image.fromarray(np.clip(sky + noise, 0, 255).astype(np.uint8))


def portrait(width: int = 320, height: int = 400) -> Image.Image:
    image = Image.new("RGB", (width, height), (120, 140, 130))
    draw = ImageDraw.Draw(image)
    for box, colour in (
        ((0.12, 0.72, 0.88, 1.3), (60, 70, 120)),
        ((0.24, 0.10, 0.76, 0.70), (60, 40, 30)),
        ((0.30, 0.20, 0.70, 0.76), (224, 178, 150)),
        ((0.37, 0.40, 0.45, 0.44), (250, 250, 250)),
        ((0.55, 0.40, 0.63, 0.44), (250, 250, 250)),
        ((0.395, 0.40, 0.43, 0.44), (50, 60, 40)),
        ((0.57, 0.40, 0.605, 0.44), (50, 60, 40)),
        ((0.48, 0.46, 0.52, 0.56), (205, 150, 125)),
        ((0.42, 0.61, 0.58, 0.65), (180, 80, 80)),
    ):
        left, top, right, bottom = box
        draw.ellipse((left * width, top * height, right * width, bottom * height), fill=colour)
    return image.filter(ImageFilter.GaussianBlur(width / 200))


def night(width: int = 480, height: int = 320) -> Image.Image:
    """Lit windows and their glow in the dark, noisy."""
    random = np.random.default_rng(5)
    image = Image.new("RGB", (width, height), (8, 10, 22))
    draw = ImageDraw.Draw(image)
    for left in range(0, width, width // 8):
        top = int(random.integers(height // 4, height // 2))
        draw.rectangle((left, top, left + width // 9, height), fill=(18, 18, 28))
        for x, y in random.integers((left + 4, top + 6), (left + width // 10, height - 8), (12, 2)):
            draw.rectangle((x, y, x + 5, y + 7), fill=(255, 200, 110))
    glow = np.asarray(image.filter(ImageFilter.GaussianBlur(8)), np.float32)
    lit = np.asarray(image, np.float32) + glow + random.normal(0, 7, (height, width, 3))
    return Image.fromarray(np.clip(lit, 0, 255).astype(np.uint8))


def page_of_text(width: int = 400, height: int = 300) -> Image.Image:
    image = Image.new("RGB", (width, height), "white")
    lines = "\n".join(["Dear friend,", "the pictures came out", "better than I feared.", "Come and see them."])
    ImageDraw.Draw(image).multiline_text((24, 24), lines, "black", ImageFont.load_default(30), spacing=14)
    return image


def flat_graphic(width: int = 400, height: int = 300) -> Image.Image:
    image = Image.new("RGB", (width, height), (250, 240, 220))
    draw = ImageDraw.Draw(image)
    draw.ellipse((width * 0.1, height * 0.2, width * 0.5, height * 0.75), fill=(230, 70, 50))
    draw.rectangle((width * 0.4, height * 0.4, width * 0.9, height * 0.9), fill=(30, 90, 160))
    draw.polygon(
        [(width * 0.7, height * 0.05), (width * 0.95, height * 0.35), (width * 0.5, height * 0.3)], (20, 20, 30)
    )
    return image


def kinds() -> dict[str, Image.Image]:
    """One of each kind that a look must do well on."""
    return {
        "landscape": landscape(),
        "portrait": portrait(),
        "night": night(),
        "text": page_of_text(),
        "flat graphic": flat_graphic(),
        "panorama": landscape(960, 120),
        "grey": landscape().convert("L").convert("RGB"),
        "white": Image.new("RGB", (200, 150), "white"),
        "3 by 2": quarters(4, 2).crop((0, 0, 3, 2)),
        "1 by 1": Image.new("RGB", (1, 1), RED),
    }


def gif_that_claims(width: int, height: int) -> bytes:
    head = b"GIF89a" + struct.pack("<HHBBB", width, height, 0, 0, 0)
    return head + b"," + struct.pack("<HHHHB", 0, 0, width, height, 0) + b"\x02\x02\x44\x01\x00;"


def profile_with_red_and_blue_swapped() -> bytes:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return profile.replace(b"rXYZ", b"tmpX").replace(b"bXYZ", b"rXYZ").replace(b"tmpX", b"bXYZ")


@st.composite
def damaged(draw: st.DrawFn, data: bytes) -> bytes:
    """The same bytes with some of them changed, and perhaps cut off; changes near the start are likelier."""
    result = bytearray(data)
    reach = draw(st.sampled_from([64, 400, len(data)]))
    place = st.integers(0, min(reach, len(data)) - 1)
    for at, value in draw(st.lists(st.tuples(place, st.integers(0, 255)), max_size=8)):
        result[at] = value
    return bytes(result[: draw(st.one_of(st.just(len(data)), st.integers(0, len(data))))])
