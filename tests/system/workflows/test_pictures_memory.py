"""Hostile pictures in a process whose memory is limited."""

import subprocess
import sys

import pytest

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
