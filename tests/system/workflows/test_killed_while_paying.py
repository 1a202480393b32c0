"""A worker that is killed in the middle of a paid call."""

import os
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest
from django.conf import settings

from tests.support.api import Api, develop, stored_files
from tests.support.database import database_url
from tests.support.gemini import KEY, Gemini
from uploads.models import ProviderCall, Upload
from workflows import recovery

pytestmark = pytest.mark.django_db(transaction=True)


def killed_at(point: str, upload: Upload, server: Gemini) -> None:
    environment = {"DATABASE_URL": database_url(), "DATA_DIR": str(Path(settings.MEDIA_ROOT).parent)}
    environment |= {"GENERATOR": "gemini", "GEMINI_API_KEY": KEY, "GEMINI_BASE_URL": server.url}
    environment["GEMINI_MODEL"] = settings.GEMINI_MODEL
    words = [sys.executable, "-m", "tests.system.workflows.victim", str(upload.pk), point]
    assert subprocess.run(words, env=os.environ | environment, check=False).returncode == -9
    # As if the lease were over.
    Upload.objects.filter(pk=upload.pk).update(lease_until=upload.created_at)
    recovery.sweep()
    assert not ProviderCall.objects.filter(upload=upload, status="unknown").exists(), "its time is not over"


@pytest.mark.parametrize(
    ("point", "requests", "statuses"),
    [
        ("answered", 2, ["unknown", "settled"]),
        ("kept", 1, ["unknown"]),
        ("settled", 1, ["settled"]),
    ],
)
def test_a_killed_worker_costs_one_more_call_at_most_and_none_once_the_picture_is_kept(
    api: Api, gemini: Gemini, point: str, requests: int, statuses: list[str]
) -> None:
    upload = api.accepted()
    killed_at(point, upload, gemini)
    develop(upload)
    assert (upload.status, upload.progress) == ("completed", 100)
    assert len(gemini.requests) == requests
    calls = list(upload.provider_calls.order_by("pk"))
    assert [call.status for call in calls] == statuses
    for call in calls:
        expected = call.reserved_usd if call.status == "unknown" else Decimal("0.078140")
        assert call.cost_usd == expected
    assert upload.cost_usd == sum(call.cost_usd for call in calls)
    assert len([name for name in stored_files() if "/generate/" in name]) == 1
