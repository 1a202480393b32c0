from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import LazySettings
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
def _static_files() -> Iterator[None]:
    """Collected, and looked at once: each test's client builds the middleware, and with it WhiteNoise, anew."""
    collect_static_files()
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


@pytest.fixture
def api(client: object, settings: LazySettings, tmp_path: Path) -> Api:
    """A browser's session, and a storage of its own."""
    settings.MEDIA_ROOT = tmp_path / "media"
    return Api()
