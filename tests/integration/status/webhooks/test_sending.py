"""`webhookUrl`: an address that comes with one upload, and the secret of its session."""

from typing import Any

import pytest
from django.conf import LazySettings

from status.webhooks import session_secret
from tests.support.api import Api
from uploads.models import Upload

pytestmark = pytest.mark.django_db
URL = "https://receiver.example.com/hook"


def test_the_answer_has_the_secret_and_the_record_has_not(api: Api) -> None:
    answer = api.send(webhookUrl=URL).json()
    assert answer["webhookSecret"] == session_secret(api.session.pk)
    upload = Upload.objects.get(pk=answer["jobId"])
    assert upload.webhook_url == URL
    told = api.get(f"/api/status/{upload.pk}").content + api.get(f"/api/jobs/{upload.pk}").content
    assert b"whsec_" not in told
    assert b"receiver.example.com" not in told


def test_without_an_address_there_is_no_secret(api: Api) -> None:
    assert "webhookSecret" not in api.send().json()


def test_the_same_upload_again_has_the_same_secret(api: Api) -> None:
    first, second = api.send(key="one", webhookUrl=URL), api.send(key="one", webhookUrl=URL)
    assert second["Idempotent-Replayed"] == "true"
    assert first.json()["webhookSecret"] == second.json()["webhookSecret"]


def test_each_session_has_a_secret_of_its_own(api: Api) -> None:
    mine, yours = api.send(webhookUrl=URL).json(), Api().send(webhookUrl=URL).json()
    assert mine["webhookSecret"] != yours["webhookSecret"]
    opened: Any = api.send(token=None, webhookUrl=URL).json()
    assert opened["webhookSecret"] not in {mine["webhookSecret"], yours["webhookSecret"]}


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://receiver.example.com/", "begins with https://"),
        ("https://127.0.0.1/", "public internet"),
        ("https://metadata.internal/", "public internet"),
        ("https://me:secret@receiver.example.com/", "user name or a password"),
        ("https://receiver.example.com/" + "x" * 2000, "not a URL"),
    ],
)
def test_an_address_that_can_be_no_receiver_is_refused_in_words(
    api: Api, settings: LazySettings, url: str, words: str
) -> None:
    settings.WEBHOOK_ALLOW_PRIVATE = False
    response = api.send(webhookUrl=url)
    assert (response.status_code, response.json()["error"]["code"]) == (400, "INVALID_PARAMETER")
    assert words in response.json()["error"]["message"]
    assert not Upload.objects.exists()
