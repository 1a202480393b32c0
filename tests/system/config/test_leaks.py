"""The plugin that watches all tests for secrets does see them."""

import logging
import subprocess
import sys
from pathlib import Path

import pytest

from tests.leaks import TOKEN, Leaks
from tests.support.installation import PATIENCE

pytestmark = pytest.mark.any_database


@pytest.mark.parametrize("said", [f"token {TOKEN}abc", "whsec_MfKQ9r8GKYqrTwjU", "key only-for-tests-xxxx"])
def test_a_secret_in_a_log_line_is_seen(said: str) -> None:
    leaks = Leaks()
    leaks.emit(logging.LogRecord("any", logging.INFO, "", 1, "it is %s", (said,), None))
    leaks.publish(body=(["an id"], {}), headers={"x": said})
    leaks.execute(lambda *_: None, "INSERT INTO event", [1, said], False, {})
    assert {found.split(":")[0].split(" ")[0] for found in leaks.found} == {"log", "broker", "database"}


def test_what_is_no_secret_is_none() -> None:
    leaks = Leaks()
    leaks.emit(logging.LogRecord("any", logging.INFO, "", 1, "a token was sent, with a whsec_", (), None))
    assert not leaks.found


LEAKS = """
import logging
import pytest
from uploads.models import Session

@pytest.mark.django_db
def test_that_leaks():
    logging.getLogger("any").warning("opened %s", Session.objects.open()[1])
"""


def test_a_test_that_leaks_fails(tmp_path: Path) -> None:
    (tmp_path / "test_leaking.py").write_text(LEAKS)
    words = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", "pyproject.toml", "--rootdir", "."]
    ended = subprocess.run(
        [sys.executable, *words, tmp_path / "test_leaking.py"], capture_output=True, text=True, timeout=PATIENCE
    )
    assert ended.returncode == 1, ended.stdout
    assert "secrets got out" in ended.stdout
