"""What the README tells people to write runs as it stands there."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import pictures
from tests.clients.test_clients import HERE, cannot
from tests.processes.installation import PATIENCE, Installation, installation

pytestmark = pytest.mark.any_database

ROOT = Path(__file__).parents[2]
PACKAGES = ["react@19", "react-dom@19", "jsdom@26", "sucrase@3"]


@pytest.fixture(scope="module")
def darkroom(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with installation(tmp_path_factory.mktemp("installation"), SWEEP_SECONDS="1") as running:
        yield running


def test_the_example_for_react_uses_the_hook_as_it_is(darkroom: Installation, tmp_path: Path) -> None:
    node = shutil.which("node") or cannot("This needs Node (node), which is not installed.")
    npm = shutil.which("npm") or cannot("This needs npm, which is not installed.")
    (tmp_path / "package.json").write_text('{"private": true, "type": "module"}')
    install = [npm, "install", "--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts", *PACKAGES]
    done = subprocess.run(install, cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE)
    if done.returncode:
        cannot(f"npm could not install {', '.join(PACKAGES)}: {done.stderr}")
    shutil.copy(HERE / "readme.mjs", tmp_path)
    job = darkroom.send(pictures.encoded(pictures.landscape(1600, 1200), "JPEG")).json["jobId"]
    files = {"README": str(ROOT / "README.md"), "HOOK": (ROOT / "static/js/use-status.js").as_uri()}
    page = [node, "readme.mjs", darkroom.url, darkroom.token, job]
    done = subprocess.run(page, cwd=tmp_path, env=os.environ | files, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    percents = [line["percent"] for line in lines]
    assert percents == sorted(percents)
    assert lines[-1] == {"percent": 100, "label": "complete"}
