"""Finding the browser itself."""

import shutil
from pathlib import Path

import pytest

from tests.system.pages.browser import NoChromium, path

pytestmark = pytest.mark.any_database


def test_without_a_chromium_it_is_said_how_to_get_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CHROMIUM", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NoChromium, match=r"Run tests/browser/install\.sh"):
        path(str(tmp_path / "chrome"))


def test_the_one_that_is_named_is_taken_or_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    named = shutil.which("sh")
    monkeypatch.setenv("CHROMIUM", str(named))
    assert path("") == named
    monkeypatch.setenv("CHROMIUM", str(tmp_path / "chrome"))
    with pytest.raises(NoChromium):
        path(str(named))
