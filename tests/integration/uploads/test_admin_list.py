"""The admin's list, however long it is: it finds what it says, and reads no more than it must."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from tests.support.api import Api
from tests.support.factories import UploadFactory
from uploads import changelist
from uploads.models import Session, Upload
from uploads.retention import first_id_at
from uploads.stages import Stage, StepName

pytestmark = pytest.mark.django_db
LIST = "/admin/uploads/upload/"


@pytest.fixture
def admin() -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("operator"))
    return client


def page(admin: Client, query: str) -> str:
    response = admin.get(f"{LIST}?{query}")
    assert response.status_code == 200
    return response.content.decode()


def named(name: str, **columns: object) -> Upload:
    upload: Upload = UploadFactory.create(original_name=f"{name}.jpg", **columns)
    return upload


@pytest.fixture
def everything(api: Api) -> None:
    """One upload of each kind, called by what it is."""
    named("pending")
    named("cancelled").cancel()
    named("generating").update_stage(Stage.GENERATING, 40)
    named("completed").update_stage(Stage.COMPLETE)
    api.finished(name="drawn.jpg")
    deleted = named("deleted")
    deleted.update_stage(Stage.COMPLETE)
    deleted.discard()
    named("claimed").claim(StepName.VALIDATE, timedelta(hours=1), "run")
    stuck = named("stuck")
    stuck.update_stage(Stage.STORING, 80)
    Upload.objects.filter(pk=stuck.pk).update(updated_at=timezone.now() - timedelta(hours=1))
    named("old", id=first_id_at(timezone.now() - timedelta(days=40))).update_stage(Stage.COMPLETE)


FOUND: dict[str, set[str]] = {
    "status=pending": {"pending"},
    "status=processing": {"generating", "claimed", "stuck"},
    "status=completed": {"completed", "drawn", "deleted", "old"},
    "status=failed": {"cancelled"},
    "stage=generating": {"generating"},
    "error_code=CANCELED": {"cancelled"},
    "error_code=STEP_TIMEOUT": set(),
    "state=waiting": {"pending", "generating", "stuck"},
    "state=leased": {"claimed"},
    "state=stuck": {"stuck"},
    "state=retrying": set(),
    "state=deleted": {"deleted"},
    "model=local-ink-1": {"drawn"},
    "age=older": {"old"},
    "age=hour&status=completed": {"completed", "drawn", "deleted"},
    "q=ompl": {"completed"},
    "q=%00": {"pending", "cancelled", "generating", "completed", "drawn", "deleted", "claimed", "stuck", "old"},
}


def test_filters_and_search_find_what_they_say(everything: None, admin: Client, subtests: pytest.Subtests) -> None:
    names = [upload.original_name.removesuffix(".jpg") for upload in Upload.objects.all()]
    for query, expected in FOUND.items():
        with subtests.test(query):
            shown = page(admin, query)
            assert {name for name in names if f">{name}.jpg<" in shown} == expected


def test_search_takes_an_id_a_session_a_result_and_a_source(api: Api, admin: Client) -> None:
    upload = api.finished(name="wanted.jpg", source="order-7")
    Api().accepted(name="other-order-7.jpg")
    for words in (upload.pk, api.session.pk, upload.result.pk, "order-7"):
        shown = page(admin, f"q={words}")
        assert ">wanted.jpg<" in shown
        assert ">other-order-7.jpg<" not in shown


def test_counting_stops_and_says_so(admin: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changelist, "COUNTED", 2)
    UploadFactory.create_batch(2)
    assert "2 uploads" in page(admin, "")
    assert "there are more" not in page(admin, "")
    UploadFactory.create()
    assert "The first 2 uploads; there are more" in page(admin, "")


@pytest.mark.parametrize("query", ["q=needle", "status=completed", "model=local-ink-1"])
def test_what_no_index_answers_looks_at_the_newest_only(
    api: Api, admin: Client, monkeypatch: pytest.MonkeyPatch, query: str
) -> None:
    monkeypatch.setattr(changelist, "RECENT", 2)
    api.finished(name="needle-old.jpg")
    api.finished(name="needle-new.jpg")
    assert ">needle-old.jpg<" in page(admin, query)
    UploadFactory.create()
    shown = page(admin, query)
    assert ">needle-new.jpg<" in shown
    assert ">needle-old.jpg<" not in shown


QUERIES = [
    "",
    "status=processing",
    "status=completed",
    "status=failed",
    "state=stuck",
    "model=local-ink-1",
    "q=holiday",
]


def test_the_list_takes_as_many_statements_for_many_as_for_one(
    api: Api, admin: Client, subtests: pytest.Subtests
) -> None:
    def make() -> None:
        api.finished()
        UploadFactory.create().cancel()
        UploadFactory.create().update_stage(Stage.GENERATING, 40)

    def statements(query: str) -> int:
        with CaptureQueriesContext(connection) as asked:
            page(admin, query)
        return len(asked)

    make()
    page(admin, "")
    one = {query: statements(query) for query in QUERIES}
    for _ in range(3):
        make()
    for query in QUERIES:
        with subtests.test(query):
            assert statements(query) == one[query] <= 9


def plans(admin: Client, query: str) -> Callable[[str], bool]:
    """Whether an index is read by the statement with which the list finds the rows that it shows."""
    page(admin, query)
    with CaptureQueriesContext(connection) as asked:
        page(admin, query)
    explain = "EXPLAIN QUERY PLAN " if connection.vendor == "sqlite" else "EXPLAIN "
    lines: list[str] = []
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SET enable_seqscan = off")  # with so few rows it would read them all
        for statement in asked.captured_queries:
            if '"uploads_upload"."original_name"' in statement["sql"].partition(" FROM ")[0]:
                cursor.execute(explain + statement["sql"].replace("%", "%%"), None)
                lines += [str(row[-1]) for row in cursor.fetchall()]
        if connection.vendor == "postgresql":
            cursor.execute("RESET enable_seqscan")
    return lambda index: any(f" {index}" in line for line in lines)


INDEXES = {
    "status=pending": "upload_waiting",
    "status=processing": "upload_due",
    "stage=generating": "upload_due",
    "state=stuck": "upload_due",
    "state=deleted": "upload_deleted",
    "status=failed": "upload_failed",
    "error_code=CANCELED": "upload_failed",
    "q=order-7": "upload_source",
}


def test_each_filter_reads_the_index_that_is_made_for_it(admin: Client, subtests: pytest.Subtests) -> None:
    session = Session.objects.open()[0]
    UploadFactory.create_batch(300, session=session, source="order-8")
    UploadFactory.create(session=session, source="order-7").cancel()
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE" if connection.vendor == "postgresql" else "SELECT 1")
    for query, index in INDEXES.items():
        with subtests.test(query):
            assert plans(admin, query)(index)
