"""Processes that serve refuse a database that is behind the code, in words."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.any_database

COMMANDS = {
    "web": ["-c", "import config.wsgi"],
    "worker": ["-m", "celery", "--app", "config", "worker", "--pool", "solo"],
    "beat": ["-m", "celery", "--app", "config", "beat", "--pidfile="],
}


def run(words: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"DATA_DIR": str(folder), "DATABASE_URL": f"sqlite:///{folder / 'empty.sqlite3'}"}
    return subprocess.run([sys.executable, *words], env=environment, capture_output=True, text=True, timeout=100)


@pytest.mark.parametrize("words", COMMANDS.values(), ids=COMMANDS.keys())
def test_without_its_migrations_a_process_does_not_start(words: list[str], tmp_path: Path) -> None:
    ended = run(words, tmp_path)
    assert ended.returncode != 0
    assert "run `python manage.py migrate` first" in ended.stderr
    assert "uploads.0001_the_record" in ended.stderr


def test_with_them_it_does(tmp_path: Path) -> None:
    assert run(["manage.py", "migrate"], tmp_path).returncode == 0
    assert run(COMMANDS["web"], tmp_path).returncode == 0


def test_without_a_secret_nothing_starts_and_the_sentence_says_what_to_do(tmp_path: Path) -> None:
    environment = os.environ | {"DATA_DIR": str(tmp_path), "SECRET_KEY": ""}
    ended = subprocess.run(
        [sys.executable, "manage.py", "check"], env=environment, capture_output=True, text=True, timeout=100
    )
    assert ended.returncode != 0
    assert "SECRET_KEY is not set" in ended.stderr
    assert "`make up`" in ended.stderr


def test_a_models_name_that_the_record_has_no_room_for_is_refused_before_anything_is_bought(tmp_path: Path) -> None:
    environment = os.environ | {"DATA_DIR": str(tmp_path), "GEMINI_MODEL": "m" * 65}
    ended = subprocess.run(
        [sys.executable, "manage.py", "check"], env=environment, capture_output=True, text=True, timeout=100
    )
    assert ended.returncode != 0
    assert "it may have 64 characters at most" in ended.stderr
