import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.conf import LazySettings
from django.test import override_settings
from whitenoise import WhiteNoise

from config.prepare import collect_static_files
from tests.support.api import Api

pytest_plugins = [
    "tests.support.posthog_fixtures",
    "tests.support.provider_fixtures",
    "tests.support.terminal",
    "tests.support.webhook_fixtures",
]


@pytest.fixture(scope="session", autouse=True)
def _static_files(pytestconfig: pytest.Config) -> Iterator[None]:
    """Collected once for all runs until one changes, and looked at once: each test's client builds WhiteNoise anew."""
    folder = pytestconfig.rootpath / ".pytest_cache" / "static"
    folder.mkdir(parents=True, exist_ok=True)
    with override_settings(STATIC_ROOT=folder), (folder.parent / "static.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        collect_static_files()
        fcntl.flock(lock, fcntl.LOCK_UN)
        with _looked_at_once():
            yield


@contextmanager
def _looked_at_once() -> Iterator[None]:
    found: dict[tuple[str, str], dict[str, Any]] = {}
    look = WhiteNoise.update_files_dictionary

    def look_once(self: Any, root: str, prefix: str) -> None:
        if (root, prefix) not in found:
            look(self, root, prefix)
            found[root, prefix] = self.files
        self.files |= found[root, prefix]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(WhiteNoise, "update_files_dictionary", look_once)
        yield


@pytest.fixture(scope="session", autouse=True)
def _passwords() -> Iterator[None]:
    """Hashed quickly: Django's own hasher, which is slow on purpose, would be a tenth of a second of each login."""
    with override_settings(PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"]):
        yield


@pytest.fixture
def api(client: object, settings: LazySettings, tmp_path: Path) -> Api:
    """A browser's session, and a storage of its own."""
    settings.MEDIA_ROOT = tmp_path / "media"
    return Api()
