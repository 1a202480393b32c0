"""Pictures that mean harm: each is refused with a code or developed, and nothing foreign in it is ever served."""

import subprocess
import sys
import time
from io import BytesIO

import numpy as np
import pytest
from django.conf import LazySettings
from hypothesis import given
from hypothesis import settings as how
from hypothesis import strategies as st
from PIL import Image

from tests import pictures
from tests.api import Api, develop
from tests.hostile.corpus import GOOD, MARKER, corpus
from tests.hostile.floods import floods
from tests.processes.installation import PATIENCE
from uploads.errors import REASONS, Rejected
from uploads.models import Upload
from workflows import images

pytestmark = [pytest.mark.any_database, pytest.mark.filterwarnings("ignore::UserWarning:PIL")]

ALLOWED = {"UNSUPPORTED_TYPE", "UNREADABLE_IMAGE", "IMAGE_TOO_LARGE"}


@pytest.mark.django_db
@pytest.mark.parametrize("name", corpus())
def test_each_is_refused_cleanly_or_developed_without_a_foreign_byte(
    api: Api, settings: LazySettings, name: str
) -> None:
    settings.WORK_MAX_SIDE = 512
    hostile = corpus()[name]
    response = api.send(hostile.data, name="holiday.jpg")
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
    assert sum(MARKER in hostile.data for hostile in corpus().values()) >= 10


BASES = {kind: pictures.with_everything(kind) for kind in ("JPEG", "PNG", "WEBP", "AVIF", "HEIC")} | {
    "GIF": pictures.animated("GIF")
}


@given(kind=st.sampled_from(sorted(BASES)), other=st.sampled_from(sorted(BASES)), draw=st.data())
@how(max_examples=150, deadline=None)
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


def processor_seconds(data: bytes) -> float:
    """At the best of some tries."""
    tries = []
    for _ in range(3):
        began = time.process_time()
        decoded(data, max_pixels=50_000_000)
        tries.append(time.process_time() - began)
    return min(tries)


@pytest.mark.parametrize("name", floods())
def test_a_file_that_goes_on_and_on_is_refused_for_about_what_a_picture_of_its_size_costs(name: str) -> None:
    flood = floods()[name]
    noise = np.random.default_rng(1).integers(0, 255, (len(flood) // 3_000, 1_000, 3), np.uint8)
    plain = pictures.encoded(Image.fromarray(noise), "PNG", compress_level=1)
    assert isinstance(decoded(plain, max_pixels=50_000_000), Image.Image)
    assert decoded(flood, max_pixels=50_000_000) == "UNREADABLE_IMAGE"
    assert processor_seconds(flood) < 4 * processor_seconds(plain)


SHARED = """
import resource
from io import BytesIO
from tests.hostile.floods import heic
from uploads import formats
from uploads.errors import Rejected
data = heic(shown=20, told=50, size=1_000_000)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    formats.inspect(BytesIO(data), max_pixels=50_000_000)
except Rejected as error:
    print(error.code, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 10_000)
"""


def test_what_pictures_share_is_not_copied_for_each() -> None:
    ended = subprocess.run([sys.executable, "-c", SHARED], capture_output=True, text=True, timeout=PATIENCE)
    assert ended.stdout.split() == ["UNREADABLE_IMAGE", "True"], ended.stderr


WARNING = """
import logging, struct
from io import BytesIO
from tests.hostile.floods import jpeg, segment
from uploads import formats
logging.basicConfig(level=logging.INFO)
tags = b"".join(struct.pack("<HHLL", tag, 1, 60_000, 8) for tag in range(1, 5000))
data = jpeg(segment(0xE1, b"Exif\\0\\0II*\\0\\x08\\0\\0\\0" + struct.pack("<H", 5000) + tags))
print(formats.inspect(BytesIO(data), max_pixels=50_000_000).width)
"""


def test_a_picture_with_thousands_of_faults_fills_no_log() -> None:
    ended = subprocess.run([sys.executable, "-c", WARNING], capture_output=True, text=True, timeout=PATIENCE)
    assert (ended.stdout, ended.stderr) == ("96\n", "")


HUNGRY = """
import resource, sys
from io import BytesIO
import django
django.setup()
from celery.signals import worker_process_init
from django.conf import settings
from tests import pictures
from PIL import Image
from uploads.errors import Rejected
from workflows import images
large = pictures.encoded(Image.new("RGBA", (6000, 6000), (1, 2, 3, 128)), "PNG")
small = pictures.encoded(pictures.quarters(), "JPEG")
def outcome(data):
    try:
        return images.decode(BytesIO(data), max_pixels=50_000_000, max_side=2048).size
    except Rejected as error:
        return error.code
print(outcome(small), outcome(large))
taken = next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith("VmData"))
settings.WORKER_MEMORY_BYTES = taken + 50 * 1024**2
worker_process_init.send(None)
print(outcome(large), outcome(small))
"""


def test_a_picture_that_takes_too_much_memory_fails_by_itself_and_the_worker_goes_on() -> None:
    ended = subprocess.run([sys.executable, "-c", HUNGRY], capture_output=True, text=True, timeout=PATIENCE)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines() == ["(96, 64) (2048, 2048)", "IMAGE_TOO_LARGE (96, 64)"]
