"""Large and hostile pictures in a process whose memory is looked at, or limited."""

import subprocess
import sys
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pillow_heif
import pytest
from PIL import Image

from tests.support import pictures
from tests.support.installation import PATIENCE

pytestmark = [pytest.mark.any_database, pytest.mark.filterwarnings("ignore::UserWarning:PIL")]


SHARED = """
import resource
from io import BytesIO
from tests.support.floods import heic
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
from tests.support.floods import jpeg, segment
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
from tests.support import pictures
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
    assert ended.stdout.splitlines() == ["(96, 64) (2048, 2048)", "MEMORY_EXCEEDED (96, 64)"]


READ = """
import sys
from io import BytesIO
from uploads import formats
from tests.support import pictures
from workflows import images
def figure(name):
    return next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith(name))
with open(sys.argv[1], "rb") as file:
    data = file.read()
images.decode(BytesIO(pictures.encoded(pictures.quarters(), "PNG")), max_pixels=50_000_000, max_side=2048)
found = formats.detect(BytesIO(data)).outline(BytesIO(data))
before = figure("VmRSS")
images.decode(BytesIO(data), max_pixels=50_000_000, max_side=2048)
print(figure("VmHWM") - before, len(data) + found.width * found.height * found.memory_per_pixel)
"""
BESIDE = 48 * 1024**2
"""Bytes: of a picture of any size, its copies of 2048 pixels at most."""
WIDTH, HEIGHT = 4800, 3200


def flat(mode: str) -> Image.Image:
    return Image.new("RGBA", (WIDTH, HEIGHT), (*pictures.RED, 128)).convert(mode)


def ten_bits(mode: str, chroma: str) -> bytes:
    values = np.full((HEIGHT, WIDTH, len(mode)), 30_000, np.uint16)
    out = BytesIO()
    picture = pillow_heif.from_bytes(f"{mode};16", (WIDTH, HEIGHT), values.tobytes())
    picture.save(out, quality=50, chroma=chroma, enc_params={"preset": "ultrafast"})
    return out.getvalue()


LARGE: dict[str, Callable[[], bytes]] = {
    "jpeg": lambda: pictures.encoded(flat("RGB"), "JPEG"),
    "progressive jpeg": lambda: pictures.encoded(flat("RGB"), "JPEG", progressive=True),
    "progressive jpeg without subsampling": lambda: pictures.encoded(
        flat("RGB"), "JPEG", progressive=True, subsampling=0
    ),
    "progressive cmyk jpeg": lambda: pictures.encoded(flat("CMYK"), "JPEG", progressive=True),
    "png with alpha": lambda: pictures.encoded(flat("RGBA"), "PNG", compress_level=1),
    "png of 16 bits of grey": lambda: pictures.encoded(
        Image.fromarray(np.full((HEIGHT, WIDTH), 30_000, np.uint16)), "PNG", compress_level=1
    ),
    "gif": lambda: pictures.encoded(flat("P"), "GIF"),
    "webp": lambda: pictures.encoded(flat("RGBA"), "WEBP", method=0),
    "avif": lambda: pictures.encoded(flat("RGB"), "AVIF", speed=10),
    "avif with alpha, without subsampling": lambda: pictures.encoded(
        flat("RGBA"), "AVIF", speed=10, subsampling="4:4:4"
    ),
    "heic": lambda: pictures.encoded(flat("RGB"), "HEIC"),
    "heic with alpha": lambda: pictures.encoded(flat("RGBA"), "HEIC"),
    "heic of 10 bits": lambda: ten_bits("RGB", "420"),
    "heic of 10 bits with alpha, without subsampling": lambda: ten_bits("RGBA", "444"),
}


@pytest.mark.skipif(sys.platform != "linux", reason="asks /proc")
@pytest.mark.parametrize("make", LARGE.values(), ids=LARGE)
def test_opening_a_picture_takes_no_more_memory_than_its_limit_counts_on(
    make: Callable[[], bytes], tmp_path: Path
) -> None:
    path = tmp_path / "large"
    path.write_bytes(make())
    ended = subprocess.run(
        [sys.executable, "-c", READ, str(path)], capture_output=True, text=True, timeout=PATIENCE, check=True
    )
    taken, counted_on = map(float, ended.stdout.split())

    print(taken / 2**20, counted_on / 2**20)
    assert taken <= counted_on + BESIDE
