"""Exceptions that signals raise come anywhere: also in the middle of a transaction's beginning."""

import os
import signal
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from celery.exceptions import SoftTimeLimitExceeded
from django.conf import settings
from django.db import connection

from tests.support.api import Api
from uploads.errors import LeaseLost
from uploads.models import Upload
from uploads.stages import StepName
from workflows import runner

pytestmark = pytest.mark.django_db(transaction=True)


@contextmanager
def interrupted_at_the_next_begin(error: type[BaseException]) -> Iterator[None]:
    """As when a time limit's signal comes while BEGIN waits for another writer."""

    def raise_it(*_: object) -> None:
        raise error

    def execute(execute: Any, sql: str, *more: Any) -> Any:
        answer = execute(sql, *more)
        if sql.startswith("BEGIN"):
            os.kill(os.getpid(), signal.SIGUSR2)
        return answer

    before = signal.signal(signal.SIGUSR2, raise_it)
    try:
        with connection.execute_wrapper(execute):
            yield
    finally:
        signal.signal(signal.SIGUSR2, before)


@pytest.mark.skipif("sqlite" not in settings.DATABASES["default"]["ENGINE"], reason="others begin with a statement")
@pytest.mark.parametrize("error", [SoftTimeLimitExceeded, SystemExit])
def test_a_time_limit_in_the_middle_of_begin_leaves_no_lock_behind(api: Api, error: type[BaseException]) -> None:
    upload = api.accepted()
    with interrupted_at_the_next_begin(error), pytest.raises(error):
        runner.run(StepName.VALIDATE, str(upload.pk), "task")
    other = sqlite3.connect(connection.settings_dict["NAME"], timeout=0)
    other.execute("BEGIN IMMEDIATE")
    other.close()
    assert runner.run(StepName.VALIDATE, str(upload.pk), "task")


def test_nobody_renews_the_lease_of_a_step_that_is_being_committed(api: Api) -> None:
    upload = api.accepted()
    keepers: list[str] = []

    def execute(execute: Any, sql: str, *more: Any) -> Any:
        if "uploads_step" in sql and "UPDATE" in sql and Upload.objects.get(pk=upload.pk).stage == "generating":
            keepers.extend(thread.name for thread in threading.enumerate() if thread.name.startswith("lease of"))
            committed.append(True)
        return execute(sql, *more)

    committed: list[bool] = []
    with connection.execute_wrapper(execute):
        runner.run(StepName.VALIDATE, str(upload.pk), "task")
    assert committed
    assert not keepers


@pytest.mark.parametrize("late", ["advance", "renew", "hand_back"])
def test_a_fence_is_void_once_its_step_is_committed(api: Api, late: str) -> None:
    upload = api.accepted()
    fence = upload.claim(StepName.VALIDATE, settings.STEP_LEASE, "task")
    assert fence
    upload.complete_step(fence=fence, output={"work": "x"})
    if late == "renew":
        assert not upload.renew(fence, settings.STEP_LEASE)
    elif late == "hand_back":
        with pytest.raises(LeaseLost):
            upload.hand_back(fence=fence)
    else:
        with pytest.raises(LeaseLost):
            Upload.objects.get(pk=upload.pk).advance(35, fence=fence)
