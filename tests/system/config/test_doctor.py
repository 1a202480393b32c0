"""`manage.py doctor`: in words, what to mend; and an exit code for scripts."""

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.installation import PATIENCE

pytestmark = pytest.mark.any_database


def run(folder: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    fresh = {"DATA_DIR": str(folder), "DATABASE_URL": f"sqlite:///{folder / 'darkroom.sqlite3'}"}
    return subprocess.run(
        [sys.executable, *words],
        env=os.environ | fresh | environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )


def doctor(folder: Path, **environment: str) -> tuple[int, str]:
    ended = run(folder, "manage.py", "doctor", **environment)
    assert "Traceback" not in ended.stderr, ended.stderr
    return ended.returncode, ended.stdout


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a Darkroom that has been set up, and whose sweeper was there just now."""
    folder = tmp_path_factory.mktemp("healthy")
    for words in (["manage.py", "migrate"], ["manage.py", "collectstatic", "--no-input"]):
        assert run(folder, *words).returncode == 0
    sweep = "import django; django.setup(); from workflows.recovery import sweep; sweep()"
    assert run(folder, "-c", sweep).returncode == 0
    return folder


def test_a_healthy_one_has_nothing_to_mend(healthy: Path) -> None:
    code, said = doctor(healthy, SWEEP_SECONDS="600")
    assert (code, said.splitlines()[-1]) == (0, "All is well."), said
    assert not (healthy / "media" / "doctor").exists()


def test_an_empty_folder_has_all_to_be_done(tmp_path: Path) -> None:
    code, said = doctor(tmp_path)
    assert code == 1
    assert "mend  migrations: Run `python manage.py migrate`" in said
    assert "mend  static files: Run `python manage.py collectstatic" in said
    assert "fine  broker" in said


def test_a_component_that_is_away_is_named_with_what_to_look_at(healthy: Path) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        port = nobody.getsockname()[1]
        code, said = doctor(
            healthy,
            CELERY_BROKER_URL=f"redis://127.0.0.1:{port}/0",
            DATABASE_URL=f"postgres://me@127.0.0.1:{port}/x",
            CACHE_URL=f"redis://127.0.0.1:{port}/1",
        )
    assert code == 1
    assert "mend  database: Look at DATABASE_URL" in said
    assert "mend  broker: Look at CELERY_BROKER_URL" in said
    assert re.search("mend  cache, by use: .*look at CACHE_URL", said)
    assert "fine  storage" in said


@pytest.mark.parametrize(
    ("setting", "value", "words"),
    [
        ("PUBLIC_URL", "http://darkroom.example", "in the clear"),
        ("PUBLIC_URL", "https://darkroom.example", "set TRUSTED_PROXIES=1"),
        ("PUBLIC_URL", "https://darkroom.example/photos", "Leave out what follows the host"),
        ("DISK_RESERVE_BYTES", str(10**18), "DISK_RESERVE_BYTES is free"),
    ],
)
def test_what_is_configured_wrongly_is_said_in_words(healthy: Path, setting: str, value: str, words: str) -> None:
    code, said = doctor(healthy, SWEEP_SECONDS="600", **{setting: value})
    assert (code, words in said) == (1, True), said


@pytest.mark.parametrize(
    ("setting", "value", "words"),
    [
        ("UPLOAD_MAX_BYTES", "20 MB", "UPLOAD_MAX_BYTES is 20 MB; it must be a number of at least 1."),
        ("STEP_MAX_ATTEMPTS", "2.5", "STEP_MAX_ATTEMPTS is 2.5; it must be a whole number."),
        ("STEP_LEASE_SECONDS", "-3", "STEP_LEASE_SECONDS is -3; it must be a number of at least 1."),
        ("STEP_LEASE_SECONDS", "nan", "STEP_LEASE_SECONDS is nan; it must be a number of at least 1."),
        ("WORKER_MEMORY_BYTES", "1000", "WORKER_MEMORY_BYTES is 1000; it must be a number of at least 671088640."),
        ("GENERATOR", "magic", "GENERATOR is magic; it may be local or gemini."),
        ("CACHE_URL", "nothing://x", "Invalid cache schema nothing"),
    ],
)
def test_a_value_that_cannot_be_is_one_sentence(tmp_path: Path, setting: str, value: str, words: str) -> None:
    ended = run(tmp_path, "manage.py", "doctor", **{setting: value})
    assert (ended.returncode, ended.stderr) == (1, f"mend  configuration: {words}\n")


@pytest.mark.parametrize(
    ("url", "reason"), [("sqlite:///nowhere/at/all", "unable to open"), ("postgres://127.0.0.1:1/none", "refused")]
)
def test_a_database_that_is_away_is_one_sentence_to_every_command(tmp_path: Path, url: str, reason: str) -> None:
    ended = run(tmp_path, "manage.py", "migrate", DATABASE_URL=url)
    assert ended.returncode == 1
    assert re.fullmatch(rf"mend  database: Look at DATABASE_URL, .*{reason}.*\n", ended.stderr)


def test_an_empty_value_is_the_default(healthy: Path) -> None:
    code, said = doctor(healthy, SWEEP_SECONDS="600", UPLOAD_MAX_BYTES="", STEP_LEASE_SECONDS=" ")
    assert code == 0, said


def test_on_the_internet_it_tells_what_one_machine_does_not_need(healthy: Path) -> None:
    public = {"PUBLIC_URL": "https://darkroom.example", "TRUSTED_PROXIES": "1", "SECRET_KEY": os.urandom(40).hex()}
    code, said = doctor(healthy, SWEEP_SECONDS="600", **public)
    assert code == 0, said
    assert "note  Throttles are counted in each web process" in said
    assert "note  SENTRY_DSN is not set" in said
