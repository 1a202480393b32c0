"""Pictures that mean harm: each is refused with a code or developed, and nothing foreign in it is ever served."""

import math
import time
from functools import cache
from io import BytesIO

import numpy as np
import pytest
from django.conf import LazySettings
from hypothesis import given
from hypothesis import settings as how
from hypothesis import strategies as st
from PIL import Image

from tests.support import pictures
from tests.support.api import Api, develop
from tests.support.corpus import CORPUS, GOOD, MARKER
from tests.support.examples import examples
from tests.support.floods import FLOODS, HARMLESS
from uploads.errors import REASONS, Rejected
from uploads.models import Upload
from workflows import images

pytestmark = [pytest.mark.any_database, pytest.mark.filterwarnings("ignore::UserWarning:PIL")]

ALLOWED = {"UNSUPPORTED_TYPE", "UNREADABLE_IMAGE", "IMAGE_TOO_LARGE", "MEMORY_EXCEEDED"}


@pytest.mark.django_db
@pytest.mark.parametrize("name", CORPUS)
def test_each_is_refused_cleanly_or_developed_without_a_foreign_byte(
    api: Api, settings: LazySettings, name: str
) -> None:
    settings.WORK_MAX_SIDE = 512
    hostile = CORPUS[name]
    response = api.send(hostile.make(), name="holiday.jpg")
    if response.status_code != 202:
        error = response.json()["error"]
        assert error["code"] in hostile.outcome.split()
        assert response.status_code == REASONS[error["code"]].status
        assert (error["retryable"], "Error" in error["message"]) == (False, False)
        return
    upload = Upload.objects.get(pk=response.json()["jobId"])
    develop(upload)
    assert (upload.error_code or GOOD) in hostile.outcome.split(), upload.error_detail
    assert upload.attempt <= 1
    if upload.status == "completed":
        for file in (upload.result.full, upload.result.preview, upload.result.thumbnail):
            with file.open() as opened:
                check_clean(opened.read())


def check_clean(data: bytes) -> None:
    assert MARKER not in data
    assert b"script" not in data
    with Image.open(BytesIO(data)) as shown:
        assert not {"icc_profile", "exif", "xmp", "comment", "photoshop"} & set(shown.info)


def test_the_corpus_does_have_foreign_bytes_in_it() -> None:
    assert sum(MARKER in hostile.make() for hostile in CORPUS.values()) >= 10


@pytest.mark.django_db
def test_a_picture_that_is_damaged_inside_is_developed_and_says_so(api: Api) -> None:
    data = pictures.encoded(pictures.landscape(), "JPEG")
    middle = len(data) // 2
    response = api.send(data[:middle] + bytes(400) + data[middle + 400 :])
    upload = Upload.objects.get(pk=response.json()["jobId"])
    develop(upload)

    assert upload.status == "completed"
    (said,) = upload.events.filter(level="warn").values_list("message", flat=True)
    assert said == "A part of this picture is damaged. It is developed all the same, and that part stays grey."


BASES = {kind: pictures.with_everything(kind) for kind in ("JPEG", "PNG", "WEBP", "AVIF", "HEIC")} | {
    "GIF": pictures.animated("GIF")
}


@given(kind=st.sampled_from(sorted(BASES)), other=st.sampled_from(sorted(BASES)), draw=st.data())
@how(max_examples=examples(150), deadline=None)
def test_two_damaged_kinds_joined_anywhere_give_a_picture_or_a_clean_code(
    kind: str, other: str, draw: st.DataObject
) -> None:
    first = draw.draw(pictures.damaged(BASES[kind]))
    second = draw.draw(pictures.damaged(BASES[other]))
    at = draw.draw(st.integers(0, len(first)))
    data = first[:at] + MARKER + second + first[at:]
    result = decoded(data)
    if isinstance(result, str):
        assert result in ALLOWED
        return
    assert result.info == {}
    for encoded in (images.encode_work(result), images.encode_full(result).data, images.encode_thumbnail(result).data):
        assert MARKER not in encoded


def decoded(data: bytes, max_pixels: int = 1_000_000) -> Image.Image | str:
    try:
        return images.decode(BytesIO(data), max_pixels=max_pixels, max_side=2048)
    except Rejected as error:
        return error.code


def cost(data: bytes) -> tuple[float, Image.Image | str]:
    """Seconds of the processor, at the best of some tries, and what came of it."""
    tries = []
    for _ in range(3):
        began = time.process_time()
        result = decoded(data, max_pixels=50_000_000)
        tries.append(time.process_time() - began)
    return min(tries), result


@cache
def cost_of_a_picture(megabytes: int) -> float:
    noise = np.random.default_rng(1).integers(0, 255, (megabytes * 1_000_000 // 3_000, 1_000, 3), np.uint8)
    seconds, result = cost(pictures.encoded(Image.fromarray(noise), "PNG", compress_level=1))
    assert isinstance(result, Image.Image)
    return seconds


@pytest.mark.parametrize("name", [*FLOODS, *HARMLESS])
def test_a_file_that_goes_on_and_on_costs_about_what_a_picture_of_its_size_does(name: str) -> None:
    flood = (FLOODS | HARMLESS)[name]()
    seconds, result = cost(flood)
    assert (result == "UNREADABLE_IMAGE") == (name in FLOODS)
    assert seconds < 4 * cost_of_a_picture(math.ceil(len(flood) / 1_000_000))
