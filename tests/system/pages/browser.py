"""The real browser that the tests look through: this machine's Chromium."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


class NoChromium(Exception):
    """There is no Chromium here. Run tests/browser/install.sh, or name one in CHROMIUM."""

    def __str__(self) -> str:
        return str(self.__doc__)


@contextmanager
def chromium() -> Iterator[Browser]:
    """Started anew, with nothing that an earlier one kept.

    Playwright runs an event loop in the thread that it is started in, and Django refuses the ORM there: what
    is inside the block speaks to Darkroom over HTTP only.
    """
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path(playwright.chromium.executable_path), args=FLAGS)
        try:
            yield browser
        finally:
            browser.close()


def path(of_playwright: str) -> str:
    """As install.sh looks for it: what CHROMIUM names, else the system's, else the one that Playwright installed."""
    named = os.environ.get("CHROMIUM")
    for name in [named] if named else [*NAMES, of_playwright]:
        if found := shutil.which(name):
            return found
    raise NoChromium
