"""Pictures as cameras, phones and other programs write them."""

import struct
import zlib
from collections.abc import Callable, Iterator
from io import BytesIO

import numpy as np
import pytest
from PIL import Image, ImageCms

from tests.support import pictures
from tests.support.floods import box
from tests.support.pictures import chunk
from uploads.errors import Rejected
from workflows import images

pytestmark = [pytest.mark.any_database]

UPRIGHT = ["red", "green", "blue", "yellow"]


def read(data: bytes) -> images.Decoded:
    return images.read(BytesIO(data), max_pixels=2_000_000, max_side=2048)


def png_with(*chunks: bytes, image: Image.Image | None = None) -> bytes:
    data = pictures.encoded(image or pictures.quarters(), "PNG")
    return data[:33] + b"".join(chunks) + data[33:]


def wrong(chunk: bytes) -> bytes:
    """The chunk with another checksum."""
    return chunk[:-1] + bytes([chunk[-1] ^ 1])


SOUND_PNGS = {
    "wrong checksum of pHYs": png_with(wrong(chunk(b"pHYs", bytes(9)))),
    "wrong checksum of iCCP": png_with(wrong(chunk(b"iCCP", b"x\0\0"))),
    "wrong checksum of tRNS": png_with(wrong(chunk(b"tRNS", bytes(6)))),
    "3 MB of packed text": png_with(chunk(b"zTXt", b"note\0\0" + zlib.compress(bytes(3_000_000)))),
    "iCCP that is not packed": png_with(chunk(b"iCCP", b"profile\0\0no zlib")),
    "empty iCCP": png_with(chunk(b"iCCP", b"")),
    "empty gAMA and cHRM": png_with(chunk(b"gAMA", b""), chunk(b"cHRM", b"")),
    "cHRM of zeros": png_with(chunk(b"gAMA", struct.pack(">I", 45_455)), chunk(b"cHRM", bytes(32))),
    "cHRM of one point": png_with(
        chunk(b"gAMA", struct.pack(">I", 45_455)), chunk(b"cHRM", struct.pack(">8I", *[33_333] * 8))
    ),
    "cHRM out of reach": png_with(chunk(b"gAMA", struct.pack(">I", 45_455)), chunk(b"cHRM", b"\xff" * 32)),
    "cHRM with a white of no blue": png_with(
        chunk(b"gAMA", struct.pack(">I", 45_455)),
        chunk(b"cHRM", struct.pack(">8I", 5_000, 95_000, 64_000, 33_000, 30_000, 60_000, 15_000, 6_000)),
    ),
    "gAMA of next to nothing": png_with(chunk(b"sRGB", b"\0"), chunk(b"gAMA", struct.pack(">I", 1))),
    "gAMA of zero": png_with(chunk(b"gAMA", bytes(4))),
    "broken eXIf": png_with(chunk(b"eXIf", b"II*\0\xff\xff")),
    "no IEND": pictures.encoded(pictures.quarters(), "PNG")[:-12],
}


@pytest.mark.parametrize("data", SOUND_PNGS.values(), ids=SOUND_PNGS)
def test_metadata_cannot_refuse_a_png(data: bytes) -> None:
    assert pictures.corners(read(data).image) == UPRIGHT


JPEG = pictures.encoded(pictures.quarters(), "JPEG", quality=95)
SOUND_JPEGS = {
    "without its end": JPEG[:-2],
    "with zeros in place of its end": JPEG[:-2] + bytes(100),
    "an empty JFIF segment": JPEG[:2] + b"\xff\xe0\0\2" + JPEG[20:],
    "a short JFIF segment": JPEG[:2] + b"\xff\xe0\0\7JFIF\0" + JPEG[20:],
    "a short Adobe segment": JPEG[:20] + b"\xff\xee\0\7Adobe" + JPEG[20:],
    "broken image resources": JPEG[:20] + b"\xff\xed\0\x18Photoshop 3.0\0" + b"8BIM\4\4\xff\xff" + JPEG[20:],
    "half of a colour profile": JPEG[:20] + b"\xff\xe2\0\x14ICC_PROFILE\0\1\2abcd" + JPEG[20:],
}


@pytest.mark.parametrize("data", SOUND_JPEGS.values(), ids=SOUND_JPEGS)
def test_a_sound_jpeg_is_taken_whole(data: bytes) -> None:
    image, damaged = read(data)

    assert pictures.corners(image) == UPRIGHT
    assert not damaged


def test_a_jpeg_with_a_stray_marker_is_taken_and_said_to_be_damaged() -> None:
    data = pictures.encoded(pictures.landscape(), "JPEG", restart_marker_blocks=100)
    at = data.index(b"\xff\xd3") + 200
    image, damaged = read(data[:at] + b"\xff\x9f" + data[at:])

    assert image.size == (480, 320)
    assert damaged


def test_a_jpeg_that_is_damaged_inside_says_so() -> None:
    data = pictures.encoded(pictures.landscape(), "JPEG")
    middle = len(data) // 2
    broken = data[:middle] + bytes(400) + data[middle + 400 :]

    assert not read(data).damaged
    assert read(broken).damaged


@pytest.mark.parametrize("kept", [0.3, 0.6, 0.99])
def test_a_jpeg_that_breaks_off_is_refused(kept: float) -> None:
    data = pictures.encoded(pictures.landscape(), "JPEG")

    with pytest.raises(Rejected, match="UNREADABLE_IMAGE"):
        read(data[: int(len(data) * kept)])


def test_a_heif_file_that_names_no_coding_is_taken() -> None:
    data = pictures.encoded(pictures.quarters(), "HEIC")
    size = int.from_bytes(data[:4])
    plain = data[:8] + b"mif1" + bytes(4) + b"mif1miaf".ljust(size - 16, b"\0") + data[size:]

    assert pictures.corners(read(plain).image) == UPRIGHT


def test_an_avif_file_that_names_no_coding_is_taken() -> None:
    data = pictures.encoded(pictures.quarters(), "AVIF")
    size = int.from_bytes(data[:4])
    plain = data[:8] + b"mif1" + bytes(4) + b"mif1miaf".ljust(size - 16, b"\0") + data[size:]

    assert pictures.corners(read(plain).image) == UPRIGHT


def nested(data: bytes, path: str, change: Callable[[bytes], bytes]) -> bytes:
    """The boxes with the content of one of them changed, and the places of the pixels moved with them."""
    name, _, rest = path.partition("/")
    at, out = 0, b""
    while at < len(data):
        size, kind = int.from_bytes(data[at : at + 4]), data[at + 4 : at + 8]
        body = data[at + 8 : at + size]
        if kind == name.encode():
            head = body[:4] if kind == b"meta" else b""
            body = head + nested(body[len(head) :], rest, change) if rest else change(body)
        out += box(kind, body)
        at += size
    return out


def moved(data: bytes, by: int) -> bytes:
    """AVIF as Pillow writes it, with `by` more bytes before its pixels."""

    def items(body: bytes) -> bytes:
        assert body[:6] == bytes([0, 0, 0, 0, 0x44, 0])
        count, at, out = int.from_bytes(body[6:8]), 8, body[:8]
        for _ in range(count):
            item, source, extents, place, length = struct.unpack_from(">HHHII", body, at)
            assert extents == 1
            out += struct.pack(">HHHII", item, source, extents, place + by, length)
            at += 14
        return out

    return nested(data, "meta/iloc", items)


def test_a_clean_aperture_crops_an_avif() -> None:
    """`clap` with the upper left of the quarters (ISO 14496-12, 12.1.4)."""
    clap = box(b"clap", struct.pack(">8i", 48, 1, 32, 1, -24, 1, -16, 1))
    data = pictures.encoded(pictures.quarters(), "AVIF")
    boxes = 0

    def added(body: bytes) -> bytes:
        nonlocal boxes
        at = 0
        while at < len(body):
            at, boxes = at + int.from_bytes(body[at : at + 4]), boxes + 1
        return body + clap

    def linked(body: bytes) -> bytes:
        assert struct.unpack_from(">IIH", body) == (0, 1, 1)
        return body[:10] + bytes([body[10] + 1]) + body[11:] + bytes([0x80 | boxes + 1])

    data = nested(nested(data, "meta/iprp/ipco", added), "meta/iprp/ipma", linked)
    image = read(moved(data, len(clap) + 1)).image

    assert image.size == (48, 32)
    assert pictures.corners(image) == ["red"] * 4


def test_an_avif_with_its_associations_in_two_boxes_is_taken() -> None:
    """As encoders wrote them once, for a picture and its alpha."""
    data = pictures.encoded(pictures.half_transparent(), "AVIF")

    def parted(body: bytes) -> bytes:
        at = body.index(b"ipma") - 4
        found = list(each_association(body[at + 8 :]))
        assert len(found) == 2
        flags = body[at + 8 : at + 12]
        return body[:at] + b"".join(box(b"ipma", flags, struct.pack(">IH", 1, item), entry) for item, entry in found)

    old = nested(data, "meta/iprp", parted)
    old = moved(old, len(old) - len(data))
    with pytest.raises(OSError, match="cannot identify"):
        Image.open(BytesIO(old))
    image = read(old).image

    assert image.getpixel((60, 24)) == (255, 255, 255)
    assert pictures.corners(image.crop((0, 0, 32, 48))) == ["red"] * 4


def each_association(body: bytes) -> Iterator[tuple[int, bytes]]:
    """Item, and count and numbers of its properties, of an `ipma` box of version 0."""
    at = 8
    while at < len(body):
        end = at + 3 + body[at + 2]
        yield int.from_bytes(body[at : at + 2]), body[at + 2 : end]
        at = end


def test_broken_exif_does_not_refuse_an_avif() -> None:
    exif = Image.Exif()
    exif[0x010E] = "a note"
    data = pictures.encoded(pictures.quarters(), "AVIF", exif=exif.tobytes())
    at = data.rindex(b"MM\0*" if b"MM\0*" in data else b"II*\0")

    assert pictures.corners(read(data[:at] + b"XXXX" + data[at + 4 :]).image) == UPRIGHT


def test_a_gif_whose_first_picture_is_smaller_than_its_canvas_lies_on_paper() -> None:
    small = pictures.encoded(Image.new("P", (20, 10), 1), "GIF")
    data = small[:6] + struct.pack("<HH", 40, 30) + small[10:]
    at = data.index(b",", 13)
    data = data[:at] + b"," + struct.pack("<HH", 10, 10) + data[at + 5 :]
    image = read(data).image

    assert image.size == (40, 30)
    assert image.getpixel((2, 2)) == (255, 255, 255)
    assert image.getpixel((38, 28)) == (255, 255, 255)
    assert image.getpixel((20, 15)) != (255, 255, 255)


# What Chromium shows of a grey of 128, by the chunks of its PNG (drawn on a canvas in sRGB).
GREY = Image.new("RGB", (8, 8), (128, 128, 128))
SHOWN = {
    "BT.709": (chunk(b"cICP", bytes([1, 1, 0, 1])), (121, 121, 121), 1),
    "PQ": (chunk(b"cICP", bytes([9, 16, 0, 1])), (132, 132, 132), 4),
    "HLG": (chunk(b"cICP", bytes([9, 18, 0, 1])), (99, 99, 99), 4),
    "linear": (chunk(b"cICP", bytes([1, 8, 0, 1])), (188, 188, 188), 1),
    "gamma 2.2": (chunk(b"cICP", bytes([1, 4, 0, 1])), (129, 129, 129), 1),
    "gAMA 1": (chunk(b"gAMA", struct.pack(">I", 100_000)), (188, 188, 188), 1),
    "gAMA 1/1.8": (chunk(b"gAMA", struct.pack(">I", 55_556)), (146, 146, 146), 1),
    "sRGB before gAMA": (chunk(b"sRGB", b"\0") + chunk(b"gAMA", struct.pack(">I", 100_000)), (128, 128, 128), 0),
}


@pytest.mark.parametrize(("chunks", "shown", "by"), SHOWN.values(), ids=SHOWN)
def test_grey_is_as_a_browser_shows_it(chunks: bytes, shown: tuple[int, int, int], by: int) -> None:
    found = np.asarray(read(png_with(chunks, image=GREY)).image)[4, 4]

    assert np.abs(found.astype(int) - shown).max() <= by


def test_wide_gamut_is_brought_into_srgb() -> None:
    muted = Image.new("RGB", (8, 8), (200, 100, 100))
    found = np.asarray(read(png_with(chunk(b"cICP", bytes([12, 13, 0, 1])), image=muted)).image)[4, 4]

    assert np.abs(found.astype(int) - (214, 94, 97)).max() <= 4


def grey_profile(gamma: float) -> bytes:
    """A minimal monochrome profile (ICC.1, 8.3)."""
    curve = b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256)) + bytes(2)
    white = b"XYZ " + bytes(4) + struct.pack(">3i", 63190, 65536, 54061)
    text = b"desc" + bytes(4) + struct.pack(">I", 5) + b"grey\0" + bytes(79)
    tags, at = [(b"kTRC", curve), (b"wtpt", white), (b"desc", text)], 128 + 4 + 3 * 12
    table, body = struct.pack(">I", 3), b""
    for name, data in tags:
        table += name + struct.pack(">II", at + len(body), len(data))
        body += data
    head = struct.pack(
        ">I4sI4s4s4s12s4s", at + len(body), bytes(4), 0x02400000, b"mntr", b"GRAY", b"XYZ ", bytes(12), b"acsp"
    )
    head = head.ljust(68, b"\0") + struct.pack(">3i", 63190, 65536, 54061)
    return head.ljust(128, b"\0") + table + body


@pytest.mark.parametrize("mode", ["L", "LA", "I;16"])
def test_a_grey_profile_is_applied_in_every_grey_mode(mode: str) -> None:
    profile = grey_profile(1.0)
    assert ImageCms.ImageCmsProfile(BytesIO(profile)).profile.xcolor_space.strip() == "GRAY"
    if mode == "I;16":
        image = Image.fromarray(np.full((8, 8), 128 * 257, np.uint16))
    else:
        image = Image.new("L", (8, 8), 128).convert(mode)
    found = read(pictures.encoded(image, "PNG", icc_profile=profile)).image.getpixel((4, 4))

    assert isinstance(found, tuple)
    assert abs(found[0] - 188) <= 2


def test_sixteen_bits_of_grey_with_a_transparent_value_lie_on_paper() -> None:
    values = np.full((8, 8), 30_000, np.uint16)
    values[:, 4:] = 1_000
    data = png_with(chunk(b"tRNS", struct.pack(">H", 1_000)), image=Image.fromarray(values))
    image = read(data).image

    assert image.getpixel((6, 4)) == (255, 255, 255)
    assert image.getpixel((1, 4)) == (117, 117, 117)
