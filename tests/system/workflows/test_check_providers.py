"""`make check-providers`: what each provider answered, in words."""

from io import StringIO
from typing import Any

import pytest
from django.conf import LazySettings
from django.core.management import CommandError, call_command

from tests.support import gemini as server
from tests.support.bucket import SECRET, Bucket, in_trouble, refusing
from tests.support.gemini import KEY, Act, Gemini


def checked() -> tuple[bool, str]:
    out = StringIO()
    try:
        call_command("check_providers", stdout=out)
    except CommandError:
        return False, out.getvalue()
    return True, out.getvalue()


@pytest.fixture
def disk(settings: LazySettings, tmp_path: Any) -> None:
    settings.MEDIA_ROOT = tmp_path / "media"


def test_all_is_well(gemini: Gemini, bucket: Bucket) -> None:
    well, told = checked()
    assert well, told
    assert f"Gemini: gemini-of-the-tests at {gemini.url}, prompt v1" in told
    assert "A picture of 320 × 400 came" in told
    assert "cost $0.078140, tokens: 700 prompt, 1290 image, 30 text, 100 thoughts" in told
    assert f"Storage: bucket {bucket.name} at {bucket.url}" in told
    for step in ("write", "write the same name again", "read", "read through a signed link", "list", "delete"):
        assert f"\n  {step}" in told
    assert bucket.names() == []
    assert KEY not in told
    assert SECRET not in told


def test_without_keys_nothing_is_bought(disk: None, settings: LazySettings) -> None:
    well, told = checked()
    assert well, told
    assert "there is no GEMINI_API_KEY" in told
    assert f"folder {settings.MEDIA_ROOT}" in told


@pytest.mark.parametrize(
    ("act", "words"),
    [
        (server.bad_key(), "Look at GEMINI_API_KEY and GEMINI_MODEL"),
        (server.refusing(404, "NOT_FOUND"), "Look at GEMINI_API_KEY and GEMINI_MODEL"),
        (server.busy("3s"), "The quota of the key is used up for now"),
        (server.refusing(500, "INTERNAL"), "A failure on the other side"),
        (server.resetting, "The connection broke"),
        (server.blocked_prompt(), "The sample was declined"),
        (server.only_words(), "is GEMINI_MODEL one that draws?"),
        (server.drawing(b"no picture"), "A picture came that cannot be used"),
    ],
)
def test_what_is_wrong_with_the_model_is_said(disk: None, gemini: Gemini, act: Act, words: str) -> None:
    gemini.then(act)
    well, told = checked()
    assert not well
    assert words in told
    assert KEY not in told


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("NoSuchBucket", "There is no such bucket"),
        ("AccessDenied", "it needs to read, write, list and delete"),
        ("InvalidAccessKeyId", "does not know S3_ACCESS_KEY_ID"),
        ("SignatureDoesNotMatch", "is not the one that belongs to"),
    ],
)
def test_what_is_wrong_with_the_bucket_is_said(bucket: Bucket, settings: LazySettings, code: str, words: str) -> None:
    with in_trouble(refusing(403, code)) as url:
        bucket.use(settings, url)
        well, told = checked()
    assert not well
    assert code in told
    assert words in told


def test_a_bucket_that_is_public_is_found_out(bucket: Bucket) -> None:
    bucket.client.put_bucket_acl(Bucket=bucket.name, ACL="public-read")
    everybody = '{"Statement": [{"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": "*"}]}'
    bucket.client.put_bucket_policy(Bucket=bucket.name, Policy=everybody)
    well, told = checked()
    assert not well
    assert "the bucket is public, and must not be" in told
