"""A process loads the clients of what is configured, and no others: each costs its start and its memory."""

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.any_database


@pytest.mark.parametrize(
    ("client", "setting", "value"),
    [("posthog", "POSTHOG_API_KEY", "phc_test"), ("redis", "CACHE_URL", "redis://127.0.0.1:1/0")],
)
@pytest.mark.parametrize("configured", [True, False])
def test_a_client_is_only_imported_where_it_is_configured(
    client: str, setting: str, value: str, configured: bool
) -> None:
    code = f"""
import django, sys
django.setup()
from django.core.cache import cache
import config.urls, status.tasks, workflows.tasks
try:
    cache.get("anything")
except Exception as error:
    assert "redis" in type(error).__module__, error
print({client!r} in sys.modules)
"""
    environment = os.environ | {setting: value if configured else ""}
    if not configured:
        del environment[setting]
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(configured)
