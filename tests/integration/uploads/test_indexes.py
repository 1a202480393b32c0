"""What a job that runs costs its table."""

from datetime import timedelta

import pytest
from django.db import connection

from tests.support.factories import SessionFactory, UploadFactory
from uploads.stages import StepName

LEASE = timedelta(minutes=1)


@pytest.mark.django_db(transaction=True)
def test_no_index_hears_of_progress() -> None:
    """Jobs that share a page leave room on it for each other's updates, so that these are HOT updates.

    One good attempt is enough: a transaction in any other database of the server, such as that of a test running in
    parallel, can keep PostgreSQL from removing dead rows, which then take up the room.
    """
    if connection.vendor != "postgresql":
        pytest.skip("SQLite writes a row in its place")
    assert any(_share_of_hot_updates() > 0.9 for _ in range(6))


def _share_of_hot_updates() -> float:
    uploads = UploadFactory.create_batch(100, session=SessionFactory.create())
    for upload in uploads:
        assert upload.claim(StepName.VALIDATE, LEASE, "run")
    before, hot_before = _updates()
    for progress in range(11, 20):
        for upload in uploads:
            upload.advance(progress, fence=upload.fence)
            assert upload.renew(upload.fence, LEASE)
    after, hot_after = _updates()
    assert after - before == 2 * 9 * len(uploads)
    return (hot_after - hot_before) / (after - before)


def _updates() -> tuple[int, int]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_stat_force_next_flush()")
        cursor.execute("SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'uploads_upload'")
        ((updates, hot),) = cursor.fetchall()
    return updates, hot
