import struct
import time
import tracemalloc
from io import BytesIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support import pictures
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

    assert header == (*SAMPLES[kind], 96, 64, 1)


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


@pytest.mark.parametrize("kind", SAMPLES)
def test_a_header_that_breaks_off_is_unreadable(kind: str) -> None:
    assert refusal(pictures.encoded(pictures.quarters(), kind)[:24]) == "UNREADABLE_IMAGE"


def test_a_png_whose_header_was_changed_is_unreadable() -> None:
    data = bytearray(pictures.encoded(pictures.quarters(), "PNG"))
    data[18] ^= 1

    assert refusal(bytes(data)) == "UNREADABLE_IMAGE"


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "AVIF"])
def test_frames_count_towards_the_pixels(kind: str) -> None:
    data = pictures.animated(kind, frames=3)

    # A WebP may have half as many: its decoder takes twice the memory.
    pixels = 3 * 32 * 20 * (2 if kind == "WEBP" else 1)
    assert inspected(data, pixels).frames == 3
    assert refusal(data, pixels - 1) == "IMAGE_TOO_LARGE"


def test_a_multi_picture_jpeg_is_its_primary_image() -> None:
    assert inspected(pictures.multi_picture()) == ("image/jpeg", "jpg", 96, 64, 1)


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


def test_a_jpeg_header_that_goes_on_for_ever_is_given_up() -> None:
    data = pictures.encoded(pictures.quarters(), "JPEG")
    file = Counted(data[:2] + b"\xff" * 5_000_000 + data[2:])

    with pytest.raises(Rejected, match="UNREADABLE_IMAGE"):
        inspect(file, max_pixels=MILLION)
    assert file.reads < 50_000


def test_the_time_to_count_frames_grows_with_the_file_only() -> None:
    header = pictures.gif_that_claims(1, 1)
    frame = b"," + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x02\x44\x01\x00"

    def cost(frames: int) -> float:
        """CPU seconds, at the best of some tries."""
        data, tries = header[:-1] + frame * frames + b";", []
        for _ in range(5):
            began = time.process_time()
            assert inspected(data).frames == frames + 1
            tries.append(time.process_time() - began)
        return min(tries)

    # Eight times as many; if each were compared with those before it, it would be 64 times as much.
    assert cost(160_000) < 32 * cost(20_000)


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
    assert 0 < header.width * header.height * header.frames <= MILLION
