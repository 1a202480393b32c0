from base64 import b64decode
from collections.abc import Callable
from io import BytesIO

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from tests.support import pictures
from tests.support.examples import examples
from uploads.errors import Rejected
from workflows import images

MILLION = 1_000_000

# Pillow warns of broken EXIF that it skips.
pytestmark = [pytest.mark.any_database, pytest.mark.filterwarnings("ignore::UserWarning:PIL")]

UPRIGHT = ["red", "green", "blue", "yellow"]


def decoded(data: bytes, max_side: int = 2048) -> Image.Image:
    return images.decode(BytesIO(data), max_pixels=2 * MILLION, max_side=max_side)


def colour_at(image: Image.Image, x: float, y: float) -> tuple[int, ...]:
    found = image.getpixel((int(x * image.width), int(y * image.height)))
    assert isinstance(found, tuple)
    return found


def close(found: tuple[int, ...], wanted: tuple[int, ...], by: int = 12) -> bool:
    return max(abs(a - b) for a, b in zip(found, wanted, strict=True)) <= by


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF", "HEIC"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_comes_out_upright(kind: str, orientation: int) -> None:
    image = decoded(pictures.turned(orientation, kind))

    assert image.size == (96, 64)
    assert pictures.corners(image) == UPRIGHT


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF", "HEIC"])
def test_nothing_but_pixels_is_left(kind: str) -> None:
    data = pictures.with_everything(kind)
    assert pictures.GPS_POSITION in data

    image = decoded(data)

    assert image.info == {}
    assert not image.getexif()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "AVIF", "HEIC"])
def test_a_truncated_file_is_unreadable(kind: str) -> None:
    data = pictures.encoded(pictures.landscape(), kind)

    for keep in (0.3, 0.6, 0.9):
        with pytest.raises(Rejected) as caught:
            decoded(data[: int(len(data) * keep)])
        assert caught.value.code == "UNREADABLE_IMAGE"


def test_a_photo_in_tiles_as_phones_make_them_is_unreadable_when_truncated() -> None:
    """Its decoder would fill up the tiles that are missing."""
    data = pictures.encoded(pictures.landscape(1024, 768), "HEIC", tile_size=256)
    assert decoded(data).size == (1024, 768)
    assert decoded(data + b"something that an app has put behind it").size == (1024, 768)

    for keep in (0.3, 0.6, 0.9, 0.999):
        with pytest.raises(Rejected) as caught:
            decoded(data[: int(len(data) * keep)])
        assert caught.value.code == "UNREADABLE_IMAGE"


def test_a_progressive_jpeg_that_breaks_off_is_unreadable() -> None:
    data = pictures.encoded(pictures.landscape(), "JPEG", progressive=True)
    assert decoded(data).size == (480, 320)

    with pytest.raises(Rejected):
        decoded(data[: len(data) // 2])


def test_trouble_with_the_storage_is_not_taken_for_a_bad_picture() -> None:
    class Broken(BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        images.decode(Broken(), max_pixels=MILLION, max_side=100)


def test_too_many_pixels_are_refused_before_decoding() -> None:
    with pytest.raises(Rejected) as caught:
        decoded(pictures.png_that_claims(20_000, 20_000))
    assert caught.value.code == "IMAGE_TOO_LARGE"


@pytest.mark.parametrize(("kind", "mode"), [("PNG", "RGBA"), ("PNG", "P"), ("WEBP", "RGBA"), ("GIF", "RGBA")])
def test_what_is_transparent_becomes_white_paper(kind: str, mode: str) -> None:
    image = decoded(pictures.encoded(pictures.half_transparent(mode), kind))

    assert close(colour_at(image, 0.25, 0.5), pictures.RED)
    assert close(colour_at(image, 0.75, 0.5), (255, 255, 255), by=3)


def test_white_paper_does_not_darken_where_a_large_transparent_picture_is_reduced() -> None:
    large = pictures.half_transparent().resize((640, 480), Image.Resampling.NEAREST)
    image = decoded(pictures.encoded(large, "PNG"), max_side=64)

    assert image.size == (64, 48)
    assert close(colour_at(image, 0.75, 0.5), (255, 255, 255), by=0)
    assert close(colour_at(image, 0.25, 0.5), pictures.RED, by=1)


def test_sixteen_bits_of_grey_keep_their_range() -> None:
    image = decoded(pictures.sixteen_bit_grey())

    assert colour_at(image, 0, 0) == (0, 0, 0)
    assert close(colour_at(image, 0.5, 0.5), (130, 130, 130))
    assert close(colour_at(image, 0.99, 0.99), (255, 255, 255), by=2)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
def test_every_png_mode_becomes_rgb(mode: str) -> None:
    image = decoded(pictures.encoded(pictures.quarters().convert(mode), "PNG"))

    assert image.mode == "RGB"
    assert close(colour_at(image, 0.9, 0.9), colour_at(pictures.quarters().convert(mode).convert("RGB"), 0.9, 0.9))


def test_cmyk_becomes_rgb() -> None:
    image = decoded(pictures.encoded(pictures.quarters().convert("CMYK"), "JPEG", quality=95))

    assert image.mode == "RGB"
    assert pictures.corners(image) == UPRIGHT


def test_a_colour_profile_is_applied() -> None:
    plain = decoded(pictures.encoded(pictures.quarters(), "PNG"))
    swapped = decoded(
        pictures.encoded(pictures.quarters(), "PNG", icc_profile=pictures.profile_with_red_and_blue_swapped())
    )

    assert close(colour_at(plain, 0.1, 0.1), pictures.RED, by=1)
    assert pictures.corners(swapped)[0] == "blue"


@pytest.mark.parametrize("profile", [b"no profile", ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()])
def test_a_useless_profile_is_passed_over(profile: bytes) -> None:
    image = decoded(pictures.encoded(pictures.quarters(), "PNG", icc_profile=profile))

    assert pictures.corners(image) == UPRIGHT


def test_the_primary_image_of_a_multi_picture_file_is_taken() -> None:
    image = decoded(pictures.multi_picture())

    assert image.size == (96, 64)
    assert pictures.corners(image) == UPRIGHT


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "AVIF"])
def test_the_first_frame_of_an_animation_is_taken(kind: str) -> None:
    assert close(colour_at(decoded(pictures.animated(kind)), 0.5, 0.5), (0, 90, 40))


ARITHMETIC_JPEG = (
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAAUDBAQEAwUEBAQFBQUGBwwIBwcHBw8LCwkMEQ8SEhEPERETFhwXExQaFRERGCEYGh0d"
    "Hx8fExciJCIeJBweHx7/2wBDAQUFBQcGBw4ICA4eFBEUHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4e"
    "Hh4eHh4eHh7/yQARCAAQABADASIAAhEBAxEB/8wACgAQEAUBEBEF/9oADAMBAAIRAxEAPwD/AHzaJLUiQyNR2yo/cMNcDya0Lf32"
    "6bNNGW69gIttWR7/2Q=="
)
"""16 × 16, red with a green quarter: Pillow reads arithmetic coding and cannot write it."""


def test_an_arithmetic_jpeg_is_read() -> None:
    data = b64decode(ARITHMETIC_JPEG)
    assert data[158:160] == b"\xff\xc9"  # the frame is an arithmetic one
    image = decoded(data)
    assert close(colour_at(image, 0.2, 0.8), (200, 40, 40))
    assert close(colour_at(image, 0.8, 0.2), (40, 160, 60))


@given(
    width=st.integers(1, 900),
    height=st.integers(1, 900),
    max_side=st.integers(1, 700),
    kind=st.sampled_from(["JPEG", "PNG", "WEBP", "RGBA"]),
)
@settings(max_examples=examples(60), deadline=None)
def test_no_side_is_larger_than_asked_and_the_shape_stays(width: int, height: int, max_side: int, kind: str) -> None:
    picture = Image.new("RGBA" if kind == "RGBA" else "RGB", (width, height), pictures.RED)
    image = decoded(pictures.encoded(picture, "PNG" if kind == "RGBA" else kind), max_side)

    scale = min(1, max_side / max(width, height))
    assert image.mode == "RGB"
    assert abs(image.width - width * scale) <= 1
    assert abs(image.height - height * scale) <= 1
    assert max(image.size) <= max_side
    assert close(colour_at(image, 0.5, 0.5), pictures.RED)


BASES = {kind: pictures.with_everything(kind) for kind in ("JPEG", "PNG", "WEBP", "AVIF", "HEIC")} | {
    "GIF": pictures.animated("GIF"),
    "progressive": pictures.encoded(pictures.quarters(), "JPEG", progressive=True),
    "palette": pictures.encoded(pictures.half_transparent("P"), "PNG"),
}


@given(kind=st.sampled_from(sorted(BASES)), draw=st.data())
@settings(max_examples=examples(400), deadline=None)
def test_any_damage_gives_a_picture_or_a_clean_refusal(kind: str, draw: st.DataObject) -> None:
    try:
        image = decoded(draw.draw(pictures.damaged(BASES[kind])), max_side=64)
    except Rejected:
        return
    assert image.mode == "RGB"
    assert max(image.size) <= 64


def test_a_work_file_keeps_every_pixel() -> None:
    picture = pictures.landscape()

    assert np.array_equal(np.asarray(decoded(images.encode_work(picture))), np.asarray(picture))


ENCODERS: dict[str, Callable[[Image.Image], images.Encoded]] = {
    "full": images.encode_full,
    "thumbnail": images.encode_thumbnail,
    "preview": lambda image: images.encode_preview(image, "Darkroom"),
}


@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize("picture", [pictures.landscape(), pictures.flat_graphic()], ids=["photo", "graphic"])
def test_what_is_encoded_says_truly_what_it_is(name: str, picture: Image.Image) -> None:
    encoded = ENCODERS[name](picture)

    with Image.open(BytesIO(encoded.data)) as image:
        assert image.size == (encoded.width, encoded.height)
        assert image.get_format_mimetype() == encoded.content_type
    assert encoded.extension in {"jpg", "webp"}
    assert encoded.content_type.endswith(encoded.extension.replace("jpg", "jpeg"))


@pytest.mark.parametrize("name", ENCODERS)
def test_nothing_private_is_encoded(name: str) -> None:
    with Image.open(BytesIO(pictures.with_everything("JPEG"))) as picture:
        picture.load()
        picture.info["comment"] = pictures.GPS_POSITION
        encoded = ENCODERS[name](picture)

    assert pictures.GPS_POSITION not in encoded.data
    with Image.open(BytesIO(encoded.data)) as image:
        assert not image.getexif()
        assert not {"exif", "icc_profile", "xmp", "comment"} & set(image.info)


def test_a_flat_graphic_is_kept_without_loss() -> None:
    picture = pictures.flat_graphic()
    encoded = images.encode_full(picture)

    assert encoded.content_type == "image/webp"
    assert np.array_equal(np.asarray(decoded(encoded.data)), np.asarray(picture))


def test_a_thumbnail_and_a_preview_are_small() -> None:
    picture = pictures.landscape(2000, 1000)

    assert (images.encode_thumbnail(picture).width, images.encode_thumbnail(picture).height) == (400, 200)
    assert images.encode_preview(picture, "Darkroom").width == images.PREVIEW_SIDE


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1), (20_000, 2), (3, 2)])
@pytest.mark.parametrize("name", ENCODERS)
def test_odd_shapes_can_be_encoded(name: str, size: tuple[int, int]) -> None:
    encoded = ENCODERS[name](Image.new("RGB", size, pictures.RED))

    assert encoded.width >= 1
    assert encoded.height >= 1
    assert decoded(encoded.data, 30_000).size == (encoded.width, encoded.height)


def marked(picture: Image.Image, text: str = "Darkroom") -> npt.NDArray[np.int_]:
    before = np.asarray(picture.convert("RGB")).astype(int)
    change: npt.NDArray[np.int_] = np.abs(np.asarray(images.watermark(picture, text)).astype(int) - before).max(axis=2)
    return change


@pytest.mark.parametrize("shade", ["black", "white", "gray"])
def test_the_watermark_is_seen_on_any_ground_but_lets_the_picture_through(shade: str) -> None:
    change = marked(Image.new("RGB", (800, 600), shade))

    assert change.max() >= 45
    assert 0.02 < (change > 20).mean() < 0.4


def test_no_crop_of_a_third_escapes_the_watermark() -> None:
    change = marked(pictures.landscape(900, 600))

    for top in range(0, 401, 100):
        for left in range(0, 601, 100):
            assert (change[top : top + 200, left : left + 300] > 20).mean() > 0.01


def test_the_watermark_grows_with_the_picture() -> None:
    small, large = (marked(Image.new("RGB", size)) > 20 for size in ((300, 200), (1200, 800)))

    assert large.mean() == pytest.approx(small.mean(), rel=0.5)


@pytest.mark.parametrize("text", ["", " ", "x" * 300, "Фото © 2026", "two\nlines"])
def test_any_text_can_be_a_watermark(text: str) -> None:
    picture = pictures.quarters()

    assert images.watermark(picture, text).size == picture.size


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1)])
def test_the_watermark_takes_any_shape(size: tuple[int, int]) -> None:
    assert images.watermark(Image.new("RGB", size), "Darkroom").size == size
