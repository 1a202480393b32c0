"""What is kept, and for how long. Time passes by shifting rows."""

from collections.abc import Callable
from datetime import timedelta
from io import StringIO
from pathlib import Path
from uuid import UUID

import pytest
import time_machine
from celery.signals import worker_shutting_down
from django.conf import LazySettings
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.core.management import call_command
from django.db.models import F
from django.db.models.signals import pre_delete
from django.utils import timezone
from uuid_utils.compat import uuid7

from status.tasks import stopping
from tests.support.api import Api, develop, stored_files
from tests.support.factories import SessionFactory, UploadFactory
from uploads import retention
from uploads.errors import CodedError, NotAllowed
from uploads.models import Event, Result, Session, Step, Upload
from uploads.retention import Retained
from uploads.stages import StepName
from uploads.storage import SignedFileSystemStorage
from workflows import runner, tasks

pytestmark = pytest.mark.django_db
DAY = timedelta(days=1)


def shift(upload: Upload, by: timedelta) -> None:
    columns = ("completed_at", "deleted_at", "created_at")
    Upload.objects.filter(pk=upload.pk).update(**{column: F(column) - by for column in columns})


def files_of(upload: Upload) -> list[str]:
    return [name for name in stored_files() if name.startswith(str(upload.pk))]


def test_files_go_after_the_retention_and_the_status_stays(api: Api) -> None:
    old, young = api.finished(), api.finished()
    version = old.version
    shift(old, 30 * DAY + timedelta(minutes=61))
    shift(young, 29 * DAY)
    assert retention.retain() == Retained(expired=1)
    assert files_of(old) == []
    assert len(files_of(young)) == 6
    assert api.get(f"/api/results/{old.result.pk}").status_code == 410
    assert api.get(f"/api/results/{young.result.pk}").status_code == 200
    told = api.get(f"/api/status/{old.pk}")
    assert (told.status_code, told["ETag"]) == (200, f'"{version + 1}"')
    assert retention.retain() == Retained()


def test_rows_go_after_twice_the_retention(api: Api) -> None:
    upload = api.finished()
    shift(upload, 61 * DAY)
    assert retention.retain() == Retained(expired=1, rows=1)
    assert api.get(f"/api/status/{upload.pk}").status_code == 404
    assert [model.objects.count() for model in (Upload, Step, Event, Result)] == [0, 0, 0, 0]


def test_unfinished_jobs_are_kept_whatever_their_age(api: Api) -> None:
    upload = api.accepted()
    shift(upload, 400 * DAY)
    assert retention.retain() == Retained()
    assert files_of(upload)


def test_a_failed_job_without_files_is_not_retried(api: Api) -> None:
    upload = api.accepted()
    upload.cancel()
    shift(upload, 31 * DAY)
    retention.retain()
    response = api.post(f"/api/jobs/{upload.pk}/retry")
    assert (response.status_code, response.json()["error"]["code"]) == (409, "NOT_RETRYABLE")


def test_what_is_deleted_goes_once_no_worker_can_be_writing(api: Api, settings: LazySettings) -> None:
    upload = api.finished()
    upload.discard()
    assert retention.retain() == Retained()
    assert files_of(upload)
    shift(upload, settings.STEP_TIMEOUT + 2 * settings.STEP_LEASE + timedelta(seconds=1))
    assert retention.retain() == Retained(deleted=1)
    assert (files_of(upload), Upload.objects.count()) == ([], 0)


def test_files_without_an_upload_go_after_a_day(api: Api) -> None:
    kept = api.accepted()
    with time_machine.travel(timezone.now() - DAY - timedelta(minutes=1)):
        lost = _uuid7_now()
    fresh = _uuid7_now()
    strangers = [
        "other/readme.txt",
        # Ids of version 4, whose first bits are no time: one would be of long ago, the other of a year too far.
        "017e1516-28ae-4ad2-a567-0e02b2c3d479/readme.txt",
        "f47ac10b-58cc-4372-a567-0e02b2c3d479/readme.txt",
        f"{str(lost).upper()}/readme.txt",
    ]
    for name in (f"{lost}/original.jpg", f"{lost}/store/3/full.jpg", f"{fresh}/original.jpg", *strangers):
        default_storage.save(name, ContentFile(b"x"))
    assert retention.retain() == Retained(lost=1)
    assert stored_files() == sorted([f"{kept.pk}/original.jpg", f"{fresh}/original.jpg", *strangers])


def _uuid7_now() -> UUID:
    """time_machine does not reach the library that makes our ids."""
    milliseconds = int(timezone.now().timestamp() * 1000)
    return UUID(int=(milliseconds << 80) | (uuid7().int & ((1 << 80) - 1)))


def test_a_round_that_was_killed_is_finished_by_the_next(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    upload = api.finished()
    shift(upload, 31 * DAY)
    original = SignedFileSystemStorage.delete
    deleted: list[str] = []

    def killed(storage: SignedFileSystemStorage, name: str) -> None:
        if len(deleted) == 2:
            raise KeyboardInterrupt
        deleted.append(name)
        original(storage, name)

    with monkeypatch.context() as patch:
        patch.setattr(SignedFileSystemStorage, "delete", killed)
        with pytest.raises(KeyboardInterrupt):
            retention.retain()
    assert len(files_of(upload)) == 4
    assert api.get(f"/api/results/{upload.result.pk}").status_code == 410, "nobody is promised what is half gone"
    assert retention.retain() == Retained(expired=1)
    assert files_of(upload) == []


def test_the_command_goes_on_until_nothing_is_left(api: Api, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(retention, "BATCH", 1)
    for _ in range(3):
        upload = api.accepted()
        upload.cancel()
        shift(upload, 61 * DAY)
    out = StringIO()
    call_command("retain", stdout=out)
    assert Upload.objects.count() == 0
    assert out.getvalue() == ("expired 3, rows 3, deleted 0, files without an upload 0, void attempts 0, sessions 0\n")


def test_empty_folders_go_and_the_command_ends(api: Api, settings: LazySettings) -> None:
    api.accepted()
    with time_machine.travel(timezone.now() - DAY - timedelta(minutes=1)):
        empty, nested = _uuid7_now(), _uuid7_now()
    (settings.MEDIA_ROOT / str(empty)).mkdir(parents=True)
    (settings.MEDIA_ROOT / str(nested) / "store" / "5").mkdir(parents=True)
    assert retention.retain() == Retained(lost=2)
    assert retention.retain() == Retained()
    assert len(list(settings.MEDIA_ROOT.iterdir())) == 1
    call_command("retain", stdout=StringIO())


def test_files_that_cannot_be_removed_keep_no_others(
    api: Api, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(retention, "BATCH", 1)
    with time_machine.travel(timezone.now() - DAY - timedelta(minutes=1)):
        lost = [_uuid7_now() for _ in range(2)]
    for name in lost:
        default_storage.save(f"{name}/original.jpg", ContentFile(b"x"))
    expired, purged, deleted = ([api.accepted() for _ in range(2)] for _ in range(3))
    for upload in [*expired, *purged, *deleted]:
        upload.cancel()
    for upload in expired:
        shift(upload, 31 * DAY)
    for upload in purged:
        Upload.objects.filter(pk=upload.pk).update(files_purged_at=timezone.now())
        shift(upload, 61 * DAY)
    for upload in deleted:
        upload.discard()
        shift(upload, DAY)
    stuck = {str(name) for name in (expired[0].pk, purged[0].pk, deleted[0].pk, lost[0])}
    with monkeypatch.context() as patch:
        _keep(patch, stuck)
        assert retention.retain() == Retained(expired=1, rows=1, deleted=1, lost=1)
        assert {name.split("/")[0] for name in stored_files()} == stuck
        caplog.clear()
        call_command("retain", stdout=StringIO())
        assert sorted(record.getMessage().split(":")[0] for record in caplog.records) == sorted(stuck)
    assert retention.retain() == Retained(expired=1, rows=1, deleted=1, lost=1)
    assert stored_files() == []


def _keep(patch: pytest.MonkeyPatch, folders: set[str]) -> None:
    """As on a disk that has gone bad in places."""
    original = SignedFileSystemStorage.delete

    def delete(storage: SignedFileSystemStorage, name: str) -> None:
        if name.split("/", maxsplit=1)[0] in folders:
            raise PermissionError(name)
        original(storage, name)

    patch.setattr(SignedFileSystemStorage, "delete", delete)


def test_when_its_time_is_over_the_rest_is_left_to_the_next_round(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr("uploads.retention.monotonic", lambda: clock[0])
    _before_each(monkeypatch, lambda _: clock.__setitem__(0, clock[0] + 100))
    for _ in range(6):
        upload = api.accepted()
        upload.cancel()
        shift(upload, 31 * DAY)
    for _ in range(2):
        upload = api.accepted()
        upload.discard()
        shift(upload, DAY)
    assert retention.retain(0) == Retained()
    assert retention.retain() == Retained(expired=1, deleted=2), "each part has its share"
    assert retention.retain(10_000) == Retained(expired=5)


def test_a_worker_that_stops_does_not_wait_for_all_of_it(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(2):
        upload = api.accepted()
        upload.cancel()
        shift(upload, 31 * DAY)
    _before_each(monkeypatch, lambda _: worker_shutting_down.send(sender=None))
    try:
        tasks.retain()
    finally:
        stopping.clear()
    assert Upload.objects.filter(files_purged_at=None).count() == 1


def test_there_is_one_round_at_a_time(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    upload = api.finished()
    shift(upload, 31 * DAY)
    removed: list[str] = []

    def meanwhile(folder: str) -> None:
        removed.append(folder)
        tasks.retain()

    _before_each(monkeypatch, meanwhile)
    tasks.retain()
    assert removed == [str(upload.pk)]
    assert files_of(upload) == []


def _before_each(monkeypatch: pytest.MonkeyPatch, act: Callable[[str], object]) -> None:
    original = SignedFileSystemStorage.delete_folder

    def delete_folder(storage: SignedFileSystemStorage, folder: str) -> None:
        if "/" not in folder:
            act(folder)
        original(storage, folder)

    monkeypatch.setattr(SignedFileSystemStorage, "delete_folder", delete_folder)


def test_no_sweep_waits_for_a_round(settings: LazySettings) -> None:
    schedule = settings.CELERY_BEAT_SCHEDULE
    assert schedule["retain"]["options"]["queue"] != schedule["sweep"]["options"]["queue"]


def test_a_job_whose_time_is_over_is_not_tried_again_although_its_files_are_there_yet(api: Api) -> None:
    upload = api.accepted()
    upload.fail(CodedError("INTERNAL"))
    shift(upload, 30 * DAY + timedelta(minutes=1))
    assert retention.retain() == Retained(), "one that was tried again just before would need its files"
    assert files_of(upload)
    assert api.get(f"/api/status/{upload.pk}").json()["error"]["retryable"] is False
    with pytest.raises(NotAllowed, match="NOT_RETRYABLE"):
        upload.retry()


def test_void_attempts_leave_nothing_a_day_after_the_end(api: Api) -> None:
    upload = api.accepted()
    runner.run(StepName.VALIDATE, str(upload.pk), "test")
    upload.claim(StepName.GENERATE, timedelta(0), "killed")
    default_storage.save(f"{upload.pk}/generate/{upload.fence}/raw", ContentFile(b"half"))
    develop(upload)
    default_storage.save(f"{upload.pk}/store/{upload.fence + 1}/full.jpg", ContentFile(b"of a run that begins"))
    default_storage.save(f"{upload.pk}/generate/model.raw", ContentFile(b"paid for"))
    kept = [name for name in files_of(upload) if not name.endswith("/3/raw")]
    assert len(kept) == len(files_of(upload)) - 1
    assert retention.retain() == Retained()
    shift(upload, DAY + timedelta(minutes=1))
    assert retention.retain() == Retained(void=1)
    assert files_of(upload) == kept
    assert api.get(f"/api/results/{upload.result.pk}").status_code == 200
    assert retention.retain() == Retained()


def test_a_failed_job_keeps_what_a_retry_needs(api: Api) -> None:
    upload = api.accepted()
    runner.run(StepName.VALIDATE, str(upload.pk), "test")
    upload.cancel()
    shift(upload, DAY + timedelta(minutes=1))
    before = files_of(upload)
    assert retention.retain() == Retained()
    assert files_of(upload) == before
    upload.retry()
    develop(upload)
    assert upload.status == "completed"


def test_without_any_upload_no_file_is_taken_for_lost(api: Api) -> None:
    """As when a new database is put in front of the old pictures."""
    with time_machine.travel(timezone.now() - DAY - timedelta(minutes=1)):
        name = f"{_uuid7_now()}/original.jpg"
    default_storage.save(name, ContentFile(b"x"))
    assert retention.retain() == Retained()
    assert stored_files() == [name]


def test_sessions_go_once_they_are_old_and_have_no_upload(api: Api) -> None:
    with time_machine.travel(timezone.now() - 60 * DAY - timedelta(minutes=1)):
        empty, used = (Session.objects.create(id=_uuid7_now()) for _ in range(2))
    Upload.objects.filter(pk=api.accepted().pk).update(session=used)
    assert retention.retain() == Retained(sessions=1)
    assert set(Session.objects.all()) == {used, api.session}
    assert empty not in Session.objects.all()


def test_what_is_deleted_is_not_tried_again(api: Api) -> None:
    upload = api.accepted()
    upload.fail(CodedError("INTERNAL"))
    upload.discard()
    with pytest.raises(NotAllowed, match="NOT_RETRYABLE"):
        upload.retry()


def test_a_job_that_has_not_ended_is_not_removed(api: Api) -> None:
    upload = api.accepted()
    Upload.objects.filter(pk=upload.pk).update(deleted_at=timezone.now() - DAY)
    assert retention.retain() == Retained()
    assert files_of(upload)


@pytest.mark.django_db(transaction=True)
def test_a_session_that_is_used_again_at_this_very_moment_stays() -> None:
    with time_machine.travel(timezone.now() - 61 * DAY):
        session = SessionFactory.create(id=_uuid7_now())

    def is_used_again(**_: object) -> None:
        UploadFactory.create(session=session)

    pre_delete.connect(is_used_again, sender=Session)
    try:
        assert retention.retain() == Retained()
    finally:
        pre_delete.disconnect(is_used_again, sender=Session)
    assert Session.objects.filter(pk=session.pk).exists()
    assert retention.retain() == Retained(sessions=1)
