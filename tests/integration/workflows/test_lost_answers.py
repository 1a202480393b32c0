"""The database is lost while a picture is accepted: what nobody knows the end of is left to retention."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import psycopg
import pytest
import time_machine
from django.conf import LazySettings
from django.db import connection
from django.utils import timezone

from tests.support.api import Api, stored_files
from tests.support.database import database_url
from uploads import retention
from uploads.models import Upload

pytestmark = pytest.mark.django_db(transaction=True)
Execute = Callable[[str, Any, bool, dict[str, Any]], Any]


def server_process() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return int(cursor.fetchone()[0])


def losing_the_database_at(words: str) -> Callable[[Execute, str, Any, bool, dict[str, Any]], Any]:
    """The server ends the connection just before the first statement that has these words."""
    process = server_process()

    def wrapper(execute: Execute, sql: str, params: Any, many: bool, context: dict[str, Any]) -> Any:
        if words in sql:
            with psycopg.connect(database_url(), autocommit=True) as other:
                other.execute("SELECT pg_terminate_backend(%s, 60000)", [process])
        return execute(sql, params, many, context)

    return wrapper


def test_a_picture_whose_row_may_be_there_is_not_taken_away(api: Api, settings: LazySettings) -> None:
    if connection.vendor != "postgresql":
        pytest.skip("SQLite is no server that could be lost")
    kept = api.accepted()
    with connection.execute_wrapper(losing_the_database_at('INSERT INTO "uploads_event"')):
        answer = api.send()
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "UNAVAILABLE")
    connection.close()
    assert Upload.objects.get() == kept
    assert len(stored_files()) == 2
    assert retention.retain().lost == 0, "it may be on its way yet"
    with time_machine.travel(timezone.now() + timedelta(hours=25)):
        assert retention.retain().lost == 1
    assert stored_files() == [kept.original.name]
