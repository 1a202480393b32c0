"""What pictures cost a process: memory, and what importing the code needs."""

import os
import subprocess
import sys

import pytest
from PIL import Image

from tests.support import pictures

# Pillow warns of broken EXIF that it skips.
pytestmark = [pytest.mark.any_database, pytest.mark.filterwarnings("ignore::UserWarning:PIL")]


@pytest.mark.skipif(sys.platform != "linux", reason="asks /proc")
def test_memory_stays_modest_for_a_large_transparent_picture(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("large") / "large.png"
    Image.new("RGBA", (7000, 5000), (*pictures.RED, 128)).save(path, compress_level=1)
    script = (
        "import sys; from pathlib import Path; from workflows import images\n"
        "images.decode(Path(sys.argv[1]).open('rb'), max_pixels=50_000_000, max_side=2048)\n"
        "print(Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0])"
    )
    done = subprocess.run([sys.executable, "-c", script, str(path)], check=True, capture_output=True, text=True)

    # One picture of the full size, four bytes a pixel, and no second one.
    assert int(done.stdout) < (7000 * 5000 * 4 * 1.4) / 1024 + 100 * 1024


def test_pictures_need_no_settings() -> None:
    """The contact sheet, the benches and the corpus are made without any."""
    without = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    for module in ("tests.tools.sheet", "tests.support.corpus", "tests.benchmarks.pictures"):
        subprocess.run([sys.executable, "-c", f"import {module}"], env=without, check=True)
