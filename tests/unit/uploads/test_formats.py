import struct
import tracemalloc
from io import BytesIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support import floods, pictures
from tests.support.examples import examples
from uploads.errors import Rejected
from uploads.formats import Header, inspect

MILLION = 1_000_000

# Pillow warns of broken EXIF that it skips.
pytestmark = [pytest.mark.any_database, pytest.mark.filterwarnings("ignore::UserWarning:PIL")]


def inspected(data: bytes, max_pixels: int = MILLION) -> Header:
    return inspect(BytesIO(data), max_pixels=max_pixels)


def refusal(data: bytes, max_pixels: int = MILLION) -> str:
    with pytest.raises(Rejected) as caught:
        inspected(data, max_pixels)
    return caught.value.code


SAMPLES = {
    "JPEG": ("image/jpeg", "jpg"),
    "PNG": ("image/png", "png"),
    "WEBP": ("image/webp", "webp"),
    "GIF": ("image/gif", "gif"),
    "AVIF": ("image/avif", "avif"),
    "HEIC": ("image/heic", "heic"),
}


@pytest.mark.parametrize("kind", SAMPLES)
def test_each_allowed_kind_is_told_by_its_content(kind: str) -> None:
    header = inspected(pictures.encoded(pictures.quarters(96, 64), kind))

    assert header == (*SAMPLES[kind], 96, 64)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF", "HEIC"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_width_and_height_are_those_of_the_upright_picture(kind: str, orientation: int) -> None:
    header = inspected(pictures.turned(orientation, kind))

    assert (header.width, header.height) == (96, 64)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"Dear friend, this is no picture.",
        b"\xff\xd8",
        b"%PDF-1.7",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        pictures.encoded(pictures.quarters(), "TIFF"),
        pictures.encoded(pictures.quarters(), "BMP"),
        b"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00mp42isom",
        b"RIFF\x24\x00\x00\x00WAVEfmt ",
    ],
)
def test_what_is_no_allowed_picture_is_an_unsupported_type(data: bytes) -> None:
    assert refusal(data) == "UNSUPPORTED_TYPE"


@pytest.mark.parametrize(
    ("start", "named"),
    [
        (pictures.encoded(pictures.quarters(), "TIFF"), "a TIFF or a camera’s raw picture"),
        (pictures.encoded(pictures.quarters(), "BMP"), "a BMP picture"),
        (pictures.encoded(pictures.quarters(), "JPEG2000"), "a JPEG 2000 picture"),
        (pictures.encoded(pictures.quarters(), "PDF"), "a PDF document"),
        (b"\xff\x0a\xfa\x7f", "a JPEG XL picture"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "a JPEG XL picture"),
        (b"\0\0\0\x18ftypcrx \0\0\0\1crx isom", "a TIFF or a camera’s raw picture"),
        (b"FUJIFILMCCD-RAW 0201", "a TIFF or a camera’s raw picture"),
        (b"8BPS\0\1", "a Photoshop file"),
        (b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg">', "an SVG drawing"),
        (b"\0\0\0\x14ftypqt  \0\0\0\0qt  ", "a film"),
        (b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom", "a film"),
    ],
)
def test_a_refusal_names_what_the_file_is(start: bytes, named: str) -> None:
    with pytest.raises(Rejected, match="UNSUPPORTED_TYPE") as refused:
        inspect(BytesIO(start), max_pixels=MILLION)

    assert f"This is {named}" in refused.value.message


def test_a_sequence_larger_than_its_still_picture_is_judged_by_what_is_decoded() -> None:
    size = struct.pack(">II", 32, 20)
    data = pictures.animated("AVIF").replace(b"ispe" + bytes(4) + size, b"ispe" + bytes(4) + struct.pack(">II", 1, 1))

    with pytest.raises(Rejected, match="IMAGE_TOO_LARGE"):
        inspect(BytesIO(data), max_pixels=100)


def test_a_sequence_without_a_still_picture_is_not_called_damaged() -> None:
    file = floods.box(b"ftyp", b"hevc", bytes(4), b"msf1hevc") + floods.box(b"moov", bytes(100))
    with pytest.raises(Rejected, match="UNSUPPORTED_TYPE") as refused:
        inspect(BytesIO(file), max_pixels=MILLION)

    assert refused.value.message == "This file holds a sequence of pictures, and no still picture."


def test_a_refusal_of_what_is_not_known_says_what_is_taken() -> None:
    with pytest.raises(Rejected) as refused:
        inspect(BytesIO(b"Dear diary"), max_pixels=MILLION)

    assert refused.value.message == "Please send a JPEG, PNG, WebP, GIF, AVIF or HEIC picture."


@pytest.mark.parametrize("kind", SAMPLES)
def test_a_header_that_breaks_off_is_unreadable(kind: str) -> None:
    assert refusal(pictures.encoded(pictures.quarters(), kind)[:24]) == "UNREADABLE_IMAGE"


def test_a_png_whose_header_was_changed_is_unreadable() -> None:
    data = bytearray(pictures.encoded(pictures.quarters(), "PNG"))
    data[18] ^= 1

    assert refusal(bytes(data)) == "UNREADABLE_IMAGE"


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "AVIF"])
def test_only_the_frame_that_is_used_counts(kind: str) -> None:
    data = pictures.animated(kind, frames=3)

    assert inspected(data, 32 * 20).width == 32
    assert refusal(data, 32 * 20 - 1) == "IMAGE_TOO_LARGE"


def test_a_multi_picture_jpeg_is_its_primary_image() -> None:
    assert inspected(pictures.multi_picture()) == ("image/jpeg", "jpg", 96, 64)


def test_the_pixel_limit_is_exact() -> None:
    data = pictures.encoded(pictures.quarters(96, 64), "JPEG")

    assert inspected(data, 96 * 64).width == 96
    assert refusal(data, 96 * 64 - 1) == "IMAGE_TOO_LARGE"


@pytest.mark.parametrize(
    "data",
    [
        pictures.png_that_claims(20_000, 20_000),
        pictures.webp_that_claims(16_383, 16_383, pictures.encoded(pictures.quarters(), "WEBP")),
        pictures.gif_that_claims(65_535, 65_535),
    ],
    ids=["png", "webp", "gif"],
)
def test_a_bomb_is_refused_before_a_pixel_is_decoded(data: bytes) -> None:
    tracemalloc.start()
    try:
        assert refusal(data, 50 * MILLION) == "IMAGE_TOO_LARGE"
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < MILLION


class Counted(BytesIO):
    reads = 0

    def read(self, size: int | None = -1) -> bytes:
        self.reads += 1
        return super().read(size)


def test_fill_bytes_before_a_marker_are_not_read_one_by_one() -> None:
    data = pictures.encoded(pictures.quarters(), "JPEG")
    file = Counted(data[:2] + b"\xff" * 5_000_000 + data[2:])

    assert inspect(file, max_pixels=MILLION).width == 96
    assert file.reads < 1_000


PHONES = {"50 MP": (8192, 6144), "64 MP": (9248, 6936), "panorama": (16382, 3628), "200 MP": (16384, 12288)}


@pytest.mark.parametrize("size", PHONES.values(), ids=PHONES)
def test_a_baseline_jpeg_of_any_phone_is_taken(size: tuple[int, int]) -> None:
    assert inspected(pictures.jpeg_that_claims(*size), 220 * MILLION)[2:] == size


def test_what_costs_more_memory_may_have_fewer_pixels() -> None:
    """At the same size: a baseline JPEG is scaled while it is decoded, a progressive one holds all coefficients, and
    a WebP several canvases."""
    size, memory = (10_000, 8_000), 600 * 1024**2

    def outcome(data: bytes) -> str:
        try:
            inspect(BytesIO(data), max_pixels=220 * MILLION, max_memory=memory)
        except Rejected as error:
            return error.message
        return "taken"

    webp = pictures.encoded(pictures.quarters(), "WEBP")
    assert outcome(pictures.jpeg_that_claims(*size)) == "taken"
    assert outcome(pictures.jpeg_that_claims(*size, progressive=True)) == "taken"
    assert outcome(pictures.jpeg_that_claims(*size, progressive=True, subsampling="4:4:4")) == "taken"
    assert outcome(pictures.png_that_claims(*size)) == "taken"
    assert outcome(pictures.webp_that_claims(*size, webp)) == (
        "This picture is too large: 10000 × 8000 pixels, of 39.32 million at most for this kind of WebP."
    )
    memory = 300 * 1024**2
    assert outcome(pictures.jpeg_that_claims(*size)) == "taken"
    assert outcome(pictures.jpeg_that_claims(*size, progressive=True)) == "taken"
    assert "too large" in outcome(pictures.jpeg_that_claims(*size, progressive=True, subsampling="4:4:4"))
    assert "too large" in outcome(pictures.png_that_claims(*size))


def test_a_baseline_jpeg_in_several_scans_costs_what_a_progressive_one_does() -> None:
    data = pictures.jpeg_that_claims(16_000, 12_000)
    scan = data.rindex(b"\xff\xda")
    first = data[:scan] + b"\xff\xda\0\x08\x01\x01\x00\x00\x3f\x00" + data[scan + 14 :]

    with pytest.raises(Rejected, match="IMAGE_TOO_LARGE"):
        inspect(BytesIO(first), max_pixels=220 * MILLION, max_memory=512 * 1024**2)
    inspect(BytesIO(data), max_pixels=220 * MILLION, max_memory=512 * 1024**2)


def test_a_progressive_jpeg_may_not_visit_too_many_pixels_too_often() -> None:
    few = pictures.jpeg_that_claims(16_000, 12_000, progressive=True)
    many = floods.jpeg_of_scans(90, few)

    inspect(BytesIO(few), max_pixels=220 * MILLION)
    with pytest.raises(Rejected, match="IMAGE_TOO_LARGE") as caught:
        inspect(BytesIO(many), max_pixels=220 * MILLION)
    assert caught.value.message == ("This picture would take too long to open: 16000 × 12000 pixels in 90 scans.")


@pytest.mark.parametrize("kind", SAMPLES)
def test_checking_takes_little_memory(kind: str) -> None:
    """Whatever the file holds beside its first picture."""
    data = pictures.encoded(pictures.landscape(), kind)
    if kind == "GIF":
        data = data[:-1] + data[data.index(b",") : -1] * 200 + b";"
    file = BytesIO(data)
    inspect(file, max_pixels=MILLION)
    tracemalloc.start()
    try:
        inspect(file, max_pixels=MILLION)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 500_000


def test_the_file_is_handed_back_rewound() -> None:
    file = BytesIO(pictures.encoded(pictures.quarters(), "WEBP"))
    file.seek(7)

    inspect(file, max_pixels=MILLION)

    assert file.tell() == 0


def test_broken_exif_does_not_spoil_a_good_picture() -> None:
    data = pictures.encoded(pictures.quarters(), "JPEG", exif=b"Exif\x00\x00II*\x00\xff\xff\xff\x7f")

    assert inspected(data).width == 96


BASES = {kind: pictures.with_everything(kind) for kind in ("JPEG", "PNG", "WEBP", "AVIF", "HEIC")} | {
    "GIF": pictures.animated("GIF")
}


@given(kind=st.sampled_from(sorted(BASES)), draw=st.data())
@settings(max_examples=examples(400), deadline=None)
def test_any_damage_gives_a_header_or_a_clean_refusal(kind: str, draw: st.DataObject) -> None:
    try:
        header = inspected(draw.draw(pictures.damaged(BASES[kind])))
    except Rejected:
        return
    assert 0 < header.width * header.height <= MILLION
