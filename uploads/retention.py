"""Nothing is kept for ever: files go after RETENTION_DAYS, rows after twice that, what is deleted or lost soon.

What is over is over by the clock (`Upload.has_expired`), so that nobody is promised a file that a round is just
removing; and a row goes after its files. Killed at any point, the next round finishes it.
"""

import logging
import threading
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from itertools import islice
from time import monotonic
from typing import NamedTuple
from uuid import UUID

from django.conf import settings
from django.core.files.storage import default_storage
from django.db import IntegrityError
from django.db.models import Exists, F, OuterRef, ProtectedError, Q, QuerySet
from django.utils import timezone

from uploads.models import Result, Session, Step, Upload
from uploads.stages import Stage, StepName
from uploads.storage import pictures

logger = logging.getLogger(__name__)

BATCH = 500
SECONDS = 600.0
LOST_AFTER = timedelta(hours=24)
AFTER_THE_LAST_RETRY = timedelta(hours=1)
"""From the end of a job's time to that of its files: a retry that was let in at the last moment is seen by then."""
ROUNDS_MISSED = timedelta(hours=6)
"""Of jobs that ended longer before, void attempts' files stay until the others go, too."""
FENCES = 2 * len(StepName)
"""Of a job whose every step was done at the first attempt: one for the claim and one for its end."""


class Retained(NamedTuple):
    """How many of each are gone."""

    expired: int = 0
    rows: int = 0
    deleted: int = 0
    lost: int = 0
    """Folders of uploads that are not there."""
    void: int = 0
    """Folders of attempts that came to nothing."""
    sessions: int = 0
    """That had no upload left."""


def retain(seconds: float = SECONDS, stopping: threading.Event | None = None) -> Retained:
    """Until there is no more to do; after about `seconds`, or once it is to stop, the rest is left to the next round.

    Each part has its share of the time, so that none waits for ever for another.
    """
    until = monotonic() + seconds

    def part(work: Callable[[Callable[[], bool]], int], share: int) -> int:
        now = monotonic()
        end = now + (until - now) / share
        return work(lambda: monotonic() >= end or (stopping is not None and stopping.is_set()))

    parts = (_expire, _remove_rows, _remove_deleted, _remove_lost, _remove_void, _remove_sessions)
    return Retained(*(part(work, len(parts) - place) for place, work in enumerate(parts)))


def _expire(over: Callable[[], bool]) -> int:
    before = timezone.now() - timedelta(days=settings.RETENTION_DAYS) - AFTER_THE_LAST_RETRY
    ended = Upload.objects.filter(completed_at__lt=before, files_purged_at=None).order_by("completed_at", "pk")
    count = 0
    for upload_id in _each(ended, over):
        if _remove_files(str(upload_id)):
            # The results are gone for a poller, too: another version.
            count += ended.filter(pk=upload_id).update(files_purged_at=timezone.now(), version=F("version") + 1)
    return count


def _remove_rows(over: Callable[[], bool]) -> int:
    before = timezone.now() - timedelta(days=2 * settings.RETENTION_DAYS)
    purged = Upload.objects.filter(completed_at__lt=before, files_purged_at__isnull=False)
    return _remove(purged.order_by("completed_at", "pk"), over)


def _remove_deleted(over: Callable[[], bool]) -> int:
    """Once no step that was running then can still be writing."""
    safe = timezone.now() - settings.STEP_TIMEOUT - 2 * settings.STEP_LEASE
    deleted = Upload.objects.filter(deleted_at__lt=safe, completed_at__isnull=False)
    return _remove(deleted.order_by("deleted_at", "pk"), over)


def _remove(uploads: QuerySet[Upload], over: Callable[[], bool]) -> int:
    count = 0
    for ids in _batches(uploads, over):
        gone = [upload_id for upload_id in ids if not over() and _remove_files(str(upload_id))]
        Upload.objects.filter(pk__in=gone).delete()
        count += len(gone)
    return count


def _remove_lost(over: Callable[[], bool]) -> int:
    """Files without a row: a crash between storing and accepting, or between removing files and their row."""
    if not Upload.objects.exists():
        # More likely the wrong database, or a new one, than a day without any upload.
        return 0
    count = 0
    candidates = _old_folders()
    while not over() and (names := list(islice(candidates, BATCH))):
        known = {str(pk) for pk in Upload.objects.filter(pk__in=names).values_list("pk", flat=True)}
        for name in set(names) - known:
            if over():
                break
            if _remove_files(name):
                logger.warning("%s: files without an upload, removed", name)
                count += 1
    return count


def _remove_void(over: Callable[[], bool]) -> int:
    """What attempts have left behind that did not come to their end, once their job has ended for a day."""
    until = timezone.now() - LOST_AFTER
    ended = Upload.objects.filter(completed_at__range=(until - ROUNDS_MISSED, until), files_purged_at=None)
    with_more = ended.filter(Q(stage=Stage.FAILED) | Q(fence__gt=FENCES)).order_by("completed_at", "pk")
    count = 0
    for ids in _batches(with_more, over):
        for upload in Upload.objects.filter(pk__in=ids):
            if over():
                break
            count += sum(_remove_files(folder) for folder in _void_folders(upload))
    return count


def _void_folders(upload: Upload) -> Iterator[str]:
    """Of fences that the row has left behind: whoever has one that is newer may be writing."""
    named = set(Result.objects.filter(upload=upload).values_list("full", "preview", "thumbnail"))
    kept = {name for names in named for name in names}
    for output in Step.objects.filter(upload=upload).values_list("output", flat=True):
        kept |= {value for value in output.values() if isinstance(value, str)}
    for step in StepName:
        for fence in _folders_in(f"{upload.pk}/{step}"):
            folder = f"{upload.pk}/{step}/{fence}"
            old = fence.isdecimal() and int(fence) <= upload.fence
            if old and not any(name.startswith(f"{folder}/") for name in kept):
                yield folder


def _folders_in(folder: str) -> list[str]:
    try:
        return default_storage.listdir(folder)[0]
    except FileNotFoundError:
        return []
    except OSError as error:
        logger.warning("%s: could not be listed: %s", folder, error)
        return []


def _remove_sessions(over: Callable[[], bool]) -> int:
    """As old as a row may become, and without any. Whoever still holds such a token is given a new one."""
    before = timezone.now() - timedelta(days=2 * settings.RETENTION_DAYS)
    empty = ~Exists(Upload.objects.filter(session=OuterRef("pk")))
    old = Session.objects.filter(empty, pk__lt=first_id_at(before)).order_by("pk")
    count = 0
    while not over() and (ids := list(old.values_list("pk", flat=True)[:BATCH])):
        try:
            count += Session.objects.filter(empty, pk__in=ids).delete()[0]
        except (ProtectedError, IntegrityError):
            # One was used again at this very moment, and none is gone: the next round sees to the others.
            logger.info("sessions: some are used again, and wait for the next round")
            break
    return count


def _remove_files(folder: str) -> bool:
    """One that cannot be removed must not keep all the others."""
    try:
        pictures().delete_folder(folder)
    except OSError as error:
        logger.warning("%s: its files could not be removed, and stay until the next round: %s", folder, error)
        return False
    return True


def _each(uploads: QuerySet[Upload], over: Callable[[], bool]) -> Iterator[UUID]:
    for ids in _batches(uploads, over):
        for upload_id in ids:
            if over():
                return
            yield upload_id


def _batches(uploads: QuerySet[Upload], over: Callable[[], bool]) -> Iterator[list[UUID]]:
    """What is still there after its turn is passed over."""
    kept = 0
    while not over() and (ids := list(uploads.values_list("pk", flat=True)[kept : kept + BATCH])):
        yield ids
        kept += uploads.filter(pk__in=ids).count()


def _old_folders() -> Iterator[str]:
    """Of uploads that were begun long ago: their ids tell when. Whatever is called otherwise is not ours."""
    before = first_id_at(timezone.now() - LOST_AFTER)
    for name in pictures().folders():
        try:
            upload_id = UUID(name)
        except ValueError:
            continue
        if upload_id.version == 7 and str(upload_id) == name and upload_id < before:
            yield name


def first_id_at(moment: datetime) -> UUID:
    """No upload that was accepted from then on has a smaller id: a UUIDv7 begins with its milliseconds (RFC 9562)."""
    return UUID(int=int(moment.timestamp() * 1000) << 80)
