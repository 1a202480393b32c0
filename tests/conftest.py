from pathlib import Path

import pytest
from django.conf import LazySettings
from django.core.management import call_command

from tests.support.api import Api

pytest_plugins = [
    "tests.support.posthog_fixtures",
    "tests.support.provider_fixtures",
    "tests.support.webhook_fixtures",
]


@pytest.fixture(scope="session", autouse=True)
def _static_files() -> None:
    call_command("collectstatic", interactive=False, verbosity=0)


@pytest.fixture
def api(client: object, settings: LazySettings, tmp_path: Path) -> Api:
    """A browser's session, and a storage of its own."""
    settings.MEDIA_ROOT = tmp_path / "media"
    return Api()
