"""The scripts of tests/clients run as they are, without a token, where OPEN_DIALECTS lets them."""

import re
import shutil
import subprocess
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import pictures
from tests.support.installation import PATIENCE, Installation, installation
from tests.support.required import cannot

pytestmark = pytest.mark.any_database

ROOT = Path(__file__).parents[4]
SIMPLE, FLOW = (ROOT / "tests/clients" / f"test-progress-{name}.sh" for name in ("simple", "flow"))


@pytest.fixture(scope="module")
def darkroom(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    folder = tmp_path_factory.mktemp("installation")
    with installation(folder, SWEEP_SECONDS="1", OPEN_DIALECTS="messages,builds") as running:
        yield running


@pytest.fixture(params=["none", "a photo"])
def picture(request: pytest.FixtureRequest, tmp_path: Path) -> list[str]:
    """What follows the address in the command: a script brings a small picture itself."""
    if request.param == "none":
        return []
    photo = tmp_path / "a photo.jpg"
    photo.write_bytes(pictures.encoded(pictures.landscape(1600, 1200), "JPEG"))
    return [str(photo)]


def run(script: Path, *words: str) -> subprocess.CompletedProcess[str]:
    shutil.which("curl") or cannot("This needs curl, which is not installed.")
    return subprocess.run([script, *words], capture_output=True, text=True, timeout=PATIENCE)


def test_the_simple_one_prints_every_message_once_to_the_end(darkroom: Installation, picture: list[str]) -> None:
    done = run(SIMPLE, darkroom.url, *picture)
    assert done.returncode == 0, done.stderr + done.stdout
    lines = done.stdout.splitlines()
    assert [line for line in lines if line[0] != " "][-1] == "100% completed done"
    messages = [line.strip() for line in lines if line[0] == " "]
    assert messages[0] == "Your picture has arrived."
    assert messages[-1] == "Your picture is ready."
    assert len(messages) == len(set(messages))


def test_the_flow_follows_every_event_and_opens_the_preview(darkroom: Installation, picture: list[str]) -> None:
    done = run(FLOW, darkroom.url, *picture)
    assert done.returncode == 0, done.stderr + done.stdout
    events = re.findall(r"^  (\d+) (\w+)$", done.stdout, re.MULTILINE)
    assert [int(number) for number, _ in events] == list(range(1, len(events) + 1))
    assert (events[0][1], events[-1][1]) == ("plan_started", "deploy_completed")
    assert "100% completed" in done.stdout
    told = re.search(r"^The preview has (\d+) bytes: http", done.stdout, re.MULTILINE)
    assert told
    assert int(told[1]) > 100


@pytest.mark.parametrize("script", [SIMPLE, FLOW], ids=lambda script: script.stem)
def test_a_picture_that_is_none_ends_them_with_the_sentence(
    darkroom: Installation, script: Path, tmp_path: Path
) -> None:
    (tmp_path / "letter.txt").write_text("Dear Sir or Madam")
    done = run(script, darkroom.url, str(tmp_path / "letter.txt"))
    assert done.returncode != 0
    assert "UNSUPPORTED_TYPE" in done.stdout + done.stderr


@pytest.mark.parametrize("script", [SIMPLE, FLOW], ids=lambda script: script.stem)
def test_the_readme_has_them_as_they_are(script: Path) -> None:
    assert textwrap.indent(script.read_text(), "    ") in (ROOT / "status/README.md").read_text()
