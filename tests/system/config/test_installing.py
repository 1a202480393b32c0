"""`make up` on a machine that is not ours: which Python is taken, and an environment that does not fit is made anew."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.any_database

CONFIG = Path(__file__).parents[3] / "config"
PATIENCE = 120

SHIM = "#!/bin/sh\necho 'pyenv: command not found' >&2\nexit 127\n"


def claims(version: str, lacking: str = "") -> str:
    """A command that answers as this Python would when it is asked for its version and what it lacks."""
    return f"#!/bin/sh\necho '{version} {lacking}'\n"


def find(folder: Path, commands: dict[str, str], *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the script with only these commands on the PATH, beside what every shell script has."""
    for name, text in commands.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(0o755)
    for tool in ("sh", "tr"):
        (folder / "bin").mkdir(exist_ok=True)
        if not (folder / "bin" / tool).exists():
            (folder / "bin" / tool).symlink_to(shutil.which(tool) or tool)
    path = f"{folder / 'first'}:{folder / 'bin'}"
    return subprocess.run(
        ["/bin/sh", CONFIG / "find-python.sh", *words],
        env={"PATH": path, "HOME": str(folder)} | environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )


@pytest.mark.parametrize(
    ("commands", "chosen"),
    [
        ({"bin/python3.11": claims("3.11"), "bin/python3.13": claims("3.13")}, "bin/python3.13"),
        ({"bin/python3.14": claims("3.14"), "bin/python3": claims("3.12")}, "bin/python3.14"),
        ({"bin/python3": claims("3.12")}, "bin/python3"),
        ({"first/python3.13": SHIM, "bin/python3.13": claims("3.13")}, "bin/python3.13"),
        ({"first/python3.13": SHIM, "bin/python3.11": claims("3.11")}, "bin/python3.11"),
        (
            {"bin/python3.15": claims("3.15"), "bin/python3": claims("3.15"), "bin/python3.12": claims("3.12")},
            "bin/python3.12",
        ),
    ],
)
def test_the_newest_that_works_is_chosen(tmp_path: Path, commands: dict[str, str], chosen: str) -> None:
    ended = find(tmp_path, commands)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, f"{tmp_path / chosen}\n", "")


def test_one_that_cannot_make_environments_is_passed_over_and_its_package_is_named(tmp_path: Path) -> None:
    ended = find(tmp_path, {"bin/python3.12": claims("3.12", "ensurepip"), "bin/python3.11": claims("3.11")})
    assert (ended.returncode, ended.stdout) == (0, f"{tmp_path / 'bin/python3.11'}\n")
    assert "install python3.12-venv" in ended.stderr


@pytest.mark.parametrize(
    ("commands", "words"),
    [
        ({}, "needs Python 3.11, 3.12, 3.13 or 3.14"),
        ({"bin/python3": claims("3.9")}, "python3 is Python 3.9."),
        ({"bin/python3.13": claims("3.13", "ensurepip")}, "install python3.13-venv"),
        ({"bin/python3.13": claims("3.13", "sqlite3")}, "was built without sqlite3"),
        ({"bin/python3.13": SHIM}, "PYTHON=/path/to/python3"),
    ],
)
def test_where_there_is_none_it_says_what_to_install(tmp_path: Path, commands: dict[str, str], words: str) -> None:
    ended = find(tmp_path, commands)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert words in ended.stderr


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (claims("3.9"), "is Python 3.9; Darkroom needs"),
        (claims("3.15"), "is Python 3.15; Darkroom needs"),
        (claims("3.12", "ensurepip"), "install python3.12-venv"),
        (SHIM, "which does not run"),
    ],
)
def test_the_one_that_was_asked_for_is_taken_or_refused_in_words(tmp_path: Path, text: str, words: str) -> None:
    others = {"bin/python3.13": claims("3.13")}
    taken = find(tmp_path, others | {"bin/mine": claims("3.11")}, PYTHON="mine")
    assert (taken.returncode, taken.stdout) == (0, f"{tmp_path / 'bin/mine'}\n")
    refused = find(tmp_path, others | {"bin/mine": text}, PYTHON=str(tmp_path / "bin/mine"))
    assert (refused.returncode, refused.stdout) == (1, "")
    assert words in refused.stderr


def test_all_of_them_are_found_also_those_that_only_pyenv_knows(tmp_path: Path) -> None:
    commands = {
        "bin/python3.11": claims("3.11"),
        "first/python3.12": SHIM,
        ".pyenv/versions/3.12.1/bin/python3.12": claims("3.12"),
        ".pyenv/versions/3.9.18/bin/python3": claims("3.9"),
    }
    ended = find(tmp_path, commands, "--all")
    places = {"3.12": ".pyenv/versions/3.12.1/bin/python3.12", "3.11": "bin/python3.11"}
    assert ended.stdout.splitlines() == [f"{version} {tmp_path / place}" for version, place in places.items()]


def install(folder: Path, file: str = "requirements.txt", **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", CONFIG / "install.sh", ".venv", file, f".venv/{file}"],
        cwd=folder,
        env=os.environ | {"PYTHON": sys.executable} | environment,
        capture_output=True,
        text=True,
        timeout=250,
    )


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a space in its name, and an environment with nothing in it."""
    folder = tmp_path_factory.mktemp("my pictures")
    (folder / "requirements.txt").touch()
    done = install(folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"Darkroom runs on Python {sys.version.split()[0]}" in done.stdout
    return folder


def test_what_is_installed_is_not_installed_again(installed: Path) -> None:
    again = install(installed)
    assert (again.returncode, again.stdout, again.stderr) == (0, "", "")


def test_what_cannot_be_installed_ends_in_words_and_is_tried_again(installed: Path) -> None:
    (installed / "more.txt").write_text(f"darkroom-has-no-such-package==1 --hash=sha256:{'0' * 64}\n")
    for _ in range(2):
        done = install(installed, "more.txt", PIP_NO_INDEX="1")
        assert done.returncode == 1
        assert "They could not be installed" in done.stderr
    assert not (installed / ".venv/more.txt").exists()


def test_an_environment_that_fits_no_more_is_made_anew(installed: Path, tmp_path: Path) -> None:
    """After the folder was moved, and after its Python was removed."""
    moved = tmp_path / "moved"
    shutil.copytree(installed, moved, symlinks=True)
    done = install(moved)
    assert (done.returncode, done.stderr) == (0, "")
    assert ".venv was made in another folder, or not to its end: making it anew." in done.stdout
    assert str(moved / ".venv") in (moved / ".venv/bin/pip").read_text()
    assert install(moved).stdout == ""
    python = moved / ".venv/bin/python"
    python.unlink()
    python.symlink_to(moved / "no/python")
    done = install(moved)
    assert (done.returncode, done.stderr) == (0, "")
    assert ".venv was made with a Python that is gone: making it anew." in done.stdout
    assert install(moved).stdout == ""


def test_what_is_left_of_an_environment_is_made_anew(tmp_path: Path) -> None:
    """As after a Ctrl-C while one was removed."""
    (tmp_path / "requirements.txt").touch()
    (tmp_path / ".venv/lib").mkdir(parents=True)
    done = install(tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert ".venv was made in another folder, or not to its end: making it anew." in done.stdout


def test_a_folder_of_that_name_that_is_no_environment_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").touch()
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv/dear").touch()
    done = install(tmp_path)
    assert done.returncode == 1
    assert "is no virtual environment: move it away" in done.stderr
    assert (tmp_path / ".venv/dear").exists()
