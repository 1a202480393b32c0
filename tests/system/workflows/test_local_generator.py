"""The local generator in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import pictures
from workflows import images
from workflows.generators import PROMPT_VERSIONS
from workflows.generators.local import LocalGenerator

pytestmark = pytest.mark.any_database


def test_a_picture_is_drawn_by_one_thread() -> None:
    """Each worker has a core of its own; more threads than cores only wait for each other."""
    script = "import config, psutil, workflows.generators.local; print(psutil.Process().num_threads())"
    environment = {name: value for name, value in os.environ.items() if name != "OPENBLAS_NUM_THREADS"}
    told = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert told.stdout == "1\n"


@pytest.mark.parametrize("version", PROMPT_VERSIONS)
def test_the_same_picture_gives_the_same_bytes_in_another_process(version: str, tmp_path: Path) -> None:
    work = images.encode_work(pictures.landscape(240, 160))
    path = tmp_path / "work.png"
    path.write_bytes(work)
    script = (
        "import sys; from pathlib import Path; from workflows.generators.local import LocalGenerator\n"
        "drawn = LocalGenerator().generate(Path(sys.argv[1]).read_bytes(), sys.argv[2], lambda _: None)\n"
        "sys.stdout.buffer.write(drawn)"
    )
    other = subprocess.run([sys.executable, "-c", script, str(path), version], check=True, capture_output=True).stdout

    assert LocalGenerator().generate(work, version, lambda _: None) == other
