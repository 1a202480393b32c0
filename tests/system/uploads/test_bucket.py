"""Pictures in a bucket: the same jobs, the same links, and what a bucket in trouble comes to."""

import threading
import tracemalloc
import urllib.request
from datetime import timedelta
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

import pytest
from django.conf import LazySettings
from django.core.files.base import ContentFile, File
from django.core.files.storage import default_storage
from django.db.models import F
from PIL import Image
from uuid_utils.compat import uuid7

from tests.support.api import Api, develop
from tests.support.bucket import SECRET, Act, Bucket, in_trouble, passing_on, refusing
from tests.support.gemini import Gemini, drawing, no_call_is_under_way
from tests.support.installation import wait_for
from uploads import retention
from uploads.models import Upload
from uploads.stages import StepName
from uploads.storage import SignedFileSystemStorage, pictures
from workflows import runner

pytestmark = pytest.mark.django_db
MEBIBYTE = 1024 * 1024


def fetched(url: str) -> tuple[bytes, Any]:
    with urllib.request.urlopen(url, timeout=60) as response:  # noqa: S310 - this machine's own
        return response.read(), response.headers


def wait(event: threading.Event) -> None:
    event.wait(300)


def due(upload: Upload) -> None:
    Upload.objects.filter(pk=upload.pk).update(due_at=upload.created_at)


def test_a_whole_job_lies_in_the_bucket(api: Api, bucket: Bucket, settings: LazySettings) -> None:
    upload = api.finished()
    assert (upload.status, upload.error_detail) == ("completed", "")
    steps = {key.removeprefix(f"{upload.pk}/").split("/")[0] for key in bucket.names()}
    assert steps == {"original.jpg", "validate", "generate", "store", "watermark"}
    assert not Path(settings.MEDIA_ROOT).exists(), "something lies on the disk"


def test_links_are_signed_expire_and_show_what_they_should(api: Api, bucket: Bucket) -> None:
    upload = api.finished()
    upload.unlock()
    result = api.get(f"/api/results/{upload.result.pk}").json()
    for name, kind in (("previewUrl", "image/webp"), ("thumbnailUrl", "image/webp"), ("fullUrl", "image/jpeg")):
        link = urlsplit(result[name])
        query = parse_qs(link.query)
        assert f"{link.scheme}://{link.netloc}" == bucket.url
        assert query["X-Amz-Expires"] == ["3600"]
        assert query["X-Amz-Algorithm"] == ["AWS4-HMAC-SHA256"]
        assert SECRET not in result[name]
        body, headers = fetched(result[name])
        assert headers["Content-Type"] == kind
        assert headers["Content-Disposition"].startswith(f'inline; filename="darkroom-{upload.pk}-')
        with Image.open(BytesIO(body)) as image:
            assert image.width > 0
    for name in ("downloadUrl", "fullDownloadUrl"):
        _, headers = fetched(result[name])
        assert headers["Content-Disposition"].startswith(f'attachment; filename="darkroom-{upload.pk}-')


def test_what_a_sender_calls_a_file_says_nothing_about_it(api: Api, bucket: Bucket) -> None:
    upload = api.accepted(name="page.html")
    assert bucket.head(str(upload.original.name))["ContentType"] == "image/jpeg"


def test_pages_may_show_pictures_of_the_bucket_and_of_nobody_else(api: Api, bucket: Bucket) -> None:
    policy = api.get("/", token=None)["Content-Security-Policy"]
    assert f"img-src 'self' blob: {bucket.url};" in policy


def test_links_to_the_local_disk_open_nothing(api: Api, bucket: Bucket, settings: LazySettings) -> None:
    upload = api.accepted()
    link = SignedFileSystemStorage().url(upload.original.name)
    assert api.get(link.removeprefix(settings.PUBLIC_URL), token=None).status_code == 404


def test_a_file_that_is_there_is_not_replaced(bucket: Bucket) -> None:
    first, second = (default_storage.save("a/b", ContentFile(data)) for data in (b"1", b"2"))
    assert first == "a/b" != second
    for name, data in ((first, b"1"), (second, b"2")):
        with default_storage.open(name) as file:
            assert file.read() == data


def test_a_large_file_goes_in_parts_and_takes_no_more_memory_than_one(bucket: Bucket, tmp_path: Path) -> None:
    large = tmp_path / "large"
    with large.open("wb") as file:
        file.truncate(64 * MEBIBYTE)
    default_storage.exists("to load what is loaded once")
    tracemalloc.start()
    try:
        with large.open("rb") as file:
            default_storage.save("any/large", File(file))
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        with default_storage.open("any/large") as stored:
            size = sum(len(chunk) for chunk in stored.chunks())
        _, peak_of_reading = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert size == 64 * MEBIBYTE
    assert bucket.head("any/large")["ETag"].endswith('-8"'), "it was not sent in 8 parts"
    assert peak < 24 * MEBIBYTE
    assert peak_of_reading < 24 * MEBIBYTE


@pytest.mark.parametrize(
    "act",
    [refusing(403, "AccessDenied"), refusing(503, "SlowDown"), refusing(404, "NoSuchBucket"), None],
    ids=["refuses", "too busy", "no such bucket", "nobody there"],
)
def test_a_picture_that_cannot_be_stored_is_not_accepted(
    api: Api, bucket: Bucket, settings: LazySettings, act: Any
) -> None:
    with in_trouble(act or refusing(500, "")) as url:
        bucket.use(settings, url if act else "http://127.0.0.1:9")
        answer = api.send()
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "STORAGE_UNAVAILABLE")
    assert answer.json()["error"]["message"] == "The picture could not be stored or fetched."
    assert answer["Retry-After"] == "30"
    assert (Upload.objects.count(), bucket.names()) == (0, [])


def test_a_bucket_that_is_slow_is_given_up(
    api: Api, bucket: Bucket, settings: LazySettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("uploads.bucket.PATIENCE", 0.5)
    never = threading.Event()
    with in_trouble(lambda _: wait(never)) as url:
        bucket.use(settings, url)
        try:
            assert api.send().status_code == 503
        finally:
            never.set()


@pytest.mark.parametrize("step", list(StepName))
def test_a_bucket_that_vanishes_in_mid_job_is_waited_for(api: Api, bucket: Bucket, step: StepName) -> None:
    upload = api.accepted()
    for before in list(StepName)[: list(StepName).index(step)]:
        runner.run(before, str(upload.pk), "test")
    kept = bucket.vanish()
    for _ in range(4):
        due(upload)
        runner.run(step, str(upload.pk), "test")
    upload.refresh_from_db()
    assert (upload.status, upload.step, upload.attempt) == ("processing", step, 0)
    assert "NoSuchBucket" in upload.error_detail
    assert "NoSuchBucket" not in api.get(f"/api/status/{upload.pk}/events").content.decode()
    bucket.come_back(kept)
    due(upload)
    develop(upload)
    assert upload.status == "completed"


def test_a_file_that_is_missing_in_mid_job_fails_in_the_end(api: Api, bucket: Bucket) -> None:
    upload = api.accepted()
    bucket.client.delete_object(Bucket=bucket.name, Key=upload.original.name)
    for _ in range(3):
        due(upload)
        runner.run(StepName.VALIDATE, str(upload.pk), "test")
    upload.refresh_from_db()
    assert (upload.status, upload.error_code) == ("failed", "STORAGE_UNAVAILABLE")
    assert upload.error_detail == f"{upload.original.name} is not there"


def test_an_answer_that_breaks_off_is_no_file(bucket: Bucket, settings: LazySettings) -> None:
    def break_off(handler: Any) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        handler.wfile.write(b"half")

    with in_trouble(break_off) as url:
        bucket.use(settings, url)
        with pytest.raises(OSError, match="could not read a/b"):
            default_storage.open("a/b")


def test_files_go_from_the_bucket_when_their_time_is_over(api: Api, bucket: Bucket) -> None:
    old, young = api.finished(), api.accepted()
    lost = UUID(int=(1_600_000_000_000 << 80) | (uuid7().int & ((1 << 80) - 1)))
    for name in (f"{lost}/original.jpg", f"{lost}/validate/1/work.png", "not-ours/at-all"):
        default_storage.save(name, ContentFile(b"any"))
    Upload.objects.filter(pk=old.pk).update(completed_at=F("completed_at") - timedelta(days=31))
    assert retention.retain() == retention.Retained(expired=1, lost=1)
    assert sorted(key.split("/")[0] for key in bucket.names()) == sorted([str(young.pk), "not-ours"])
    assert retention.retain() == retention.Retained()


def test_more_names_than_one_answer_tells_are_all_listed(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("uploads.bucket.PAGE", 3)
    names = [f"{number:04}" for number in range(10)]
    for name in names:
        default_storage.save(f"{name}/a/b", ContentFile(b"any"))
    for number in range(7):
        default_storage.save(f"0000/a/{number}", ContentFile(b"any"))
    assert list(pictures().folders()) == names
    pictures().delete_folder("0000")
    assert list(pictures().folders()) == names[1:]


@pytest.mark.django_db(transaction=True)
def test_a_picture_that_was_paid_for_is_kept_once_the_bucket_is_back(
    api: Api, bucket: Bucket, gemini: Gemini, settings: LazySettings
) -> None:
    """It goes away while the model draws."""
    asked = threading.Event()

    def refuse(handler: Any) -> None:
        refusing(403, "AccessDenied")(handler)
        asked.set()

    def come_back() -> None:
        asked.wait(300)
        bucket.use(settings)

    upload = api.accepted()
    runner.run(StepName.VALIDATE, str(upload.pk), "test")
    with in_trouble(refuse) as url:

        def go_away_and_draw(handler: Any) -> None:
            bucket.use(settings, url)
            drawing()(handler)

        gemini.then(go_away_and_draw)
        back = threading.Thread(target=come_back)
        back.start()
        runner.run(StepName.GENERATE, str(upload.pk), "test")
        back.join()
    upload.refresh_from_db()
    assert (upload.stage, upload.attempt, len(gemini.requests)) == ("storing", 0, 1)
    assert upload.cost_usd > 0
    develop(upload)
    assert upload.status == "completed"


def refusing_to_write(bucket: Bucket, names: str) -> Act:
    """Passes on all else."""

    def act(handler: Any) -> None:
        if handler.command != "GET" and names in handler.path:
            refusing(403, "AccessDenied")(handler)
        else:
            passing_on(bucket.url)(handler)

    return act


@pytest.mark.django_db(transaction=True)
def test_nothing_is_bought_while_nothing_can_be_stored(
    api: Api, bucket: Bucket, gemini: Gemini, settings: LazySettings
) -> None:
    upload = api.accepted()
    runner.run(StepName.VALIDATE, str(upload.pk), "test")
    with in_trouble(refusing_to_write(bucket, "/generate/")) as url:
        bucket.use(settings, url)
        runner.run(StepName.GENERATE, str(upload.pk), "test")
    upload.refresh_from_db()
    assert (upload.status, upload.attempt) == ("processing", 0)
    assert "AccessDenied" in upload.error_detail or "403" in upload.error_detail
    assert gemini.requests == []


@pytest.mark.django_db(transaction=True)
def test_a_picture_that_cannot_be_kept_costs_an_attempt_so_that_buying_it_has_an_end(
    api: Api, bucket: Bucket, gemini: Gemini, settings: LazySettings
) -> None:
    upload = api.accepted()
    runner.run(StepName.VALIDATE, str(upload.pk), "test")
    settings.STEP_TIMEOUT = timedelta(seconds=10)
    with in_trouble(refusing_to_write(bucket, ".raw")) as url:
        bucket.use(settings, url)
        runner.run(StepName.GENERATE, str(upload.pk), "test")
        wait_for(no_call_is_under_way)
    upload.refresh_from_db()
    assert (upload.status, upload.attempt, len(gemini.requests)) == ("processing", 1, 1)
    assert upload.provider_calls.get().status == "settled"
    assert upload.cost_usd == upload.provider_calls.get().cost_usd > 0
