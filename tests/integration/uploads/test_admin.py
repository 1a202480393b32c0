"""The admin, as an operator sees it."""

import html
import re
from collections.abc import Callable
from io import BytesIO
from typing import Any
from urllib.parse import unquote

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.db import OperationalError, connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from PIL import Image

from tests.support import pictures
from tests.support.api import Api
from uploads import admin as uploads_admin
from uploads.errors import CodedError
from uploads.models import Upload
from uploads.storage import in_link

pytestmark = pytest.mark.django_db
LIST = "/admin/uploads/upload/"


@pytest.fixture
def admin() -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("operator"))
    return client


def page(admin: Client, path: str) -> str:
    response = admin.get(path)
    assert response.status_code == 200
    return response.content.decode()


def test_the_list_shows_picture_stage_bar_attempt_and_age(api: Api, admin: Client) -> None:
    api.finished(name="wedding.jpg")
    shown = page(admin, LIST)
    assert "wedding.jpg" in shown
    assert 'class="darkroom-thumbnail" src="http://127.0.0.1:8000/media/' in shown
    assert 'max="100" value="100"' in shown
    for heading in ("Stage", "Progress", "Attempt", "Age"):
        assert heading in shown


def test_the_list_takes_as_many_statements_for_fifty_as_for_one(api: Api, admin: Client) -> None:
    api.finished()
    page(admin, LIST)
    with CaptureQueriesContext(connection) as one:
        page(admin, LIST)
    for _ in range(5):
        api.finished()
    with CaptureQueriesContext(connection) as more:
        page(admin, LIST)
    assert len(more) == len(one)


def test_search_takes_an_id_a_source_and_a_session(api: Api, admin: Client) -> None:
    upload = api.accepted(name="wanted.jpg", source="order-7")
    Api().accepted(name="other.jpg")
    for words in (upload.pk, "order-7", api.session.pk):
        shown = page(admin, f"{LIST}?q={words}")
        assert ">wanted.jpg<" in shown
        assert ">other.jpg<" not in shown


def test_a_record_shows_steps_and_events_in_order_and_the_detail_of_an_error(api: Api, admin: Client) -> None:
    upload = api.finished()
    shown = page(admin, f"{LIST}{upload.pk}/change/")
    order = [shown.index(f">{name}<") for name in ("validate", "generate", "store", "watermark")]
    assert order == sorted(order)
    messages = list(upload.events.order_by("seq").values_list("message", flat=True))
    places = [shown.index(message) for message in messages]
    assert places == sorted(places)
    assert f"/admin/status/webhookdelivery/?q={upload.pk}" in shown
    Upload.objects.filter(pk=upload.pk).update(error_detail="for admins only")
    assert "for admins only" in page(admin, f"{LIST}{upload.pk}/change/")


def shown_files(shown: str) -> dict[str, str]:
    """The addresses of all pictures that the page shows or links to, by the names of their files."""
    links = re.findall(r'"http://127\.0\.0\.1:8000(/media/[^"]+)"', html.unescape(shown))
    return {in_link(unquote(link.removeprefix("/media/")))[0]: link for link in links}


def test_no_page_leads_to_the_file_as_it_was_sent(api: Api, admin: Client) -> None:
    upload = api.finished(pictures.with_everything("JPEG"))
    for path in ("", "uploads/upload/", f"uploads/upload/{upload.pk}/change/", "uploads/session/", "admin/logentry/"):
        shown = page(admin, f"/admin/{path}")
        assert str(upload.original.name) not in {*shown_files(shown)}
        assert str(upload.original.name) not in shown
    work = upload.steps.get(name="validate").output["work"]
    files = shown_files(page(admin, f"{LIST}{upload.pk}/change/"))
    assert {work, upload.result.preview.name} <= {*files}
    for link in files.values():
        data = b"".join(admin.get(link))
        assert pictures.GPS_POSITION not in data
        with Image.open(BytesIO(data)) as picture:
            assert not picture.getexif()
            assert picture.size == pictures.quarters().size


def test_before_a_picture_is_checked_none_is_shown(api: Api, admin: Client) -> None:
    torn = pictures.encoded(pictures.landscape(), "JPEG")
    waiting, refused = api.accepted(), api.finished(torn[: len(torn) // 2])
    assert refused.error_code == "UNREADABLE_IMAGE"
    for upload in (waiting, refused):
        shown = page(admin, f"{LIST}{upload.pk}/change/")
        assert shown_files(shown) == {}
        assert "Not checked yet." in shown
        assert not re.findall(r'<input type="text" name="(?!q")', shown), "there is nothing to fill in"


def test_records_are_read_only(api: Api, admin: Client) -> None:
    upload = api.accepted()
    before = Upload.objects.values().get(pk=upload.pk)
    assert admin.post(f"{LIST}{upload.pk}/change/", {"stage": "complete"}).status_code == 403
    assert admin.get(f"{LIST}add/").status_code == 403
    assert admin.post(f"{LIST}{upload.pk}/delete/", {"post": "yes"}).status_code == 403
    assert Upload.objects.values().get(pk=upload.pk) == before


def test_no_token_hash_is_shown(api: Api, admin: Client) -> None:
    shown = page(admin, f"/admin/uploads/session/{api.session.pk}/change/") + page(admin, "/admin/uploads/session/")
    assert str(api.session.token_hash) not in shown


def test_nobody_else_gets_in(api: Api) -> None:
    assert Client().get(LIST).status_code == 302


def act(admin: Client, action: str, *uploads: Upload, **more: str) -> str:
    data = {"action": action, "_selected_action": [str(upload.pk) for upload in uploads], **more}
    response = admin.post(LIST, data, follow=True)
    assert response.status_code == 200
    return html.unescape(response.content.decode())


def test_an_action_asks_first(api: Api, admin: Client) -> None:
    upload = api.accepted(name="asked.jpg")
    asked = act(admin, "cancel", upload)
    assert "Cancel?" in asked
    assert "asked.jpg" in asked
    upload.refresh_from_db()
    assert upload.status == "pending"


def test_actions_follow_the_rules_of_the_record_and_are_written_down(api: Api, admin: Client) -> None:
    running, finished = api.accepted(), api.finished()
    told = act(admin, "cancel", running, finished, confirmed="yes")
    assert "Cancel: 1 done." in told
    assert "already finished" in told
    running.refresh_from_db()
    finished.refresh_from_db()
    assert (running.error_code, finished.status) == ("CANCELED", "completed")
    assert [(entry.object_id, entry.change_message) for entry in LogEntry.objects.all()] == [
        (str(running.pk), "Cancel")
    ]
    act(admin, "retry", running, confirmed="yes")
    running.refresh_from_db()
    assert running.run == 2
    act(admin, "unlock", finished, confirmed="yes")
    assert api.get(f"/api/results/{finished.result.pk}").json()["fullUrl"]
    assert "no result yet" in act(admin, "unlock", running, confirmed="yes")
    act(admin, "discard", finished, confirmed="yes")
    assert api.get(f"/api/status/{finished.pk}").status_code == 404


def test_what_was_done_is_written_down_also_when_the_next_one_cannot_be_done(api: Api) -> None:
    """Each with its own entry: neither an act without one, nor one without its act."""
    second, first = api.accepted(), api.accepted()
    boss = User.objects.create_superuser("boss")
    client = Client(raise_request_exception=False)
    client.force_login(boss)

    def lose_the_database(execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
        if 'INSERT INTO "django_admin_log"' in sql and str(second.pk) in map(str, params):
            raise OperationalError("gone")
        return execute(sql, params, many, context)

    with connection.execute_wrapper(lose_the_database):
        chosen = [str(first.pk), str(second.pk)]
        answer = client.post(LIST, {"action": "cancel", "_selected_action": chosen, "confirmed": "yes"})
    assert answer.status_code == 503
    first.refresh_from_db()
    second.refresh_from_db()
    assert (first.error_code, second.error_code) == ("CANCELED", "")
    assert [entry.object_id for entry in LogEntry.objects.all()] == [str(first.pk)]


def test_what_was_so_already_is_not_written_down_again(api: Api, admin: Client) -> None:
    upload = api.finished()
    for action in ("unlock", "discard"):
        assert "1 done." in act(admin, action, upload, confirmed="yes")
        assert "nothing to do for 1." in act(admin, action, upload, confirmed="yes")
    Upload.objects.all().delete()
    assert "nothing to do for 0." in act(admin, "discard", upload, confirmed="yes")
    written = LogEntry.objects.order_by("pk").values_list("change_message", flat=True)
    assert list(written) == ["Unlock the full picture", "Delete"]


def test_a_record_offers_no_retry_that_would_be_refused(api: Api, admin: Client) -> None:
    upload = api.accepted()
    upload.fail(CodedError("CONTENT_BLOCKED"))
    assert offered(page(admin, f"{LIST}{upload.pk}/change/")) == ["discard"]


def test_the_question_names_each_upload_and_its_id(api: Api, admin: Client) -> None:
    twins = [api.accepted(name="twin.jpg") for _ in range(2)]
    asked = act(admin, "cancel", *twins)
    assert asked.count("twin.jpg") == 2
    assert all(f"<code>{twin.pk}</code>" in asked for twin in twins)


def offered(shown: str) -> list[str]:
    return re.findall(r'name="action" value="(\w+)"', shown)


def test_a_record_offers_what_may_be_done_with_it_and_is_come_back_to(api: Api, admin: Client) -> None:
    upload = api.accepted()
    record = f"{LIST}{upload.pk}/change/"
    assert offered(page(admin, record)) == ["cancel", "discard"]
    asked = act(admin, "cancel", upload, record="yes")
    assert "Cancel?" in asked
    assert f'href="{record}"' in asked
    answer = admin.post(
        LIST, {"action": "cancel", "_selected_action": str(upload.pk), "record": "yes", "confirmed": "yes"}
    )
    assert (answer.status_code, answer["Location"]) == (302, record)
    shown = page(admin, record)
    assert "Cancel: 1 done." in shown
    assert offered(shown) == ["retry", "discard"]
    assert LogEntry.objects.get().object_id == str(upload.pk)
    finished = api.finished()
    assert offered(page(admin, f"{LIST}{finished.pk}/change/")) == ["unlock", "discard"]
    finished.unlock()
    finished.discard()
    assert offered(page(admin, f"{LIST}{finished.pk}/change/")) == []


def test_a_record_offers_nothing_to_who_may_only_look(api: Api) -> None:
    upload = api.accepted()
    assert offered(page(viewing(), f"{LIST}{upload.pk}/change/")) == []


def viewing() -> Client:
    viewer = User.objects.create_user("viewer", is_staff=True)
    viewer.user_permissions.add(Permission.objects.get(codename="view_upload"))
    client = Client()
    client.force_login(viewer)
    return client


LOG = "/admin/admin/logentry/"


def test_the_audit_log_outlives_what_it_tells_of(api: Api, admin: Client) -> None:
    upload, other = api.accepted(), api.accepted()
    act(admin, "cancel", upload, confirmed="yes")
    act(admin, "cancel", other, confirmed="yes")
    gone = str(upload.pk)
    upload.delete()
    shown = page(admin, f"{LOG}?q={gone}")
    assert gone in shown
    assert str(other.pk) not in shown
    entry = LogEntry.objects.get(object_id=gone)
    details = page(admin, f"{LOG}{entry.pk}/change/")
    for words in (gone, "operator", "Cancel", "upload", f"{entry.action_time:%Y-%m-%d %H:%M}"):
        assert words in shown
        assert words in details
    assert admin.post(f"{LOG}{entry.pk}/change/", {}).status_code == 403
    assert admin.post(f"{LOG}{entry.pk}/delete/", {"post": "yes"}).status_code == 403
    assert admin.get(f"{LOG}add/").status_code == 403


def test_who_may_see_uploads_sees_what_was_done_to_them_and_nothing_else(api: Api, admin: Client) -> None:
    upload = api.accepted()
    act(admin, "cancel", upload, confirmed="yes")
    admin.post("/admin/auth/group/add/", {"name": "secret plans"})
    assert "secret plans" in page(admin, f"{LOG}{LogEntry.objects.latest('pk').pk}/change/")
    client = viewing()
    shown = page(client, LOG)
    assert str(upload.pk) in shown
    assert "group" not in shown.partition("<main")[2]
    assert "logentry" in page(client, "/admin/")
    assert client.get(f"{LOG}{LogEntry.objects.latest('pk').pk}/change/").status_code == 302
    stranger = User.objects.create_user("stranger", is_staff=True)
    client.force_login(stranger)
    assert client.get(LOG).status_code == 403


def test_one_action_takes_a_bounded_number_and_says_so(
    api: Api, admin: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads_admin, "MOST_AT_ONCE", 2)
    oldest, *_ = uploads = [api.accepted() for _ in range(3)]
    asked = act(admin, "cancel", *uploads, select_across="1")
    assert "These 2 uploads" in asked
    assert "one action takes the newest 2 of them" in asked
    assert str(oldest.pk) not in asked
    assert "Cancel: 2 done." in act(admin, "cancel", *uploads, confirmed="yes")
    oldest.refresh_from_db()
    assert oldest.status == "pending"


def test_a_log_without_end_is_shown_to_a_bound(api: Api, admin: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads_admin, "MOST_EVENTS", 3)
    upload = api.accepted()
    for number in range(5):
        upload.log("info", f"Note {number}.")
    shown = page(admin, f"{LIST}{upload.pk}/change/")
    assert [number for number in range(5) if f"Note {number}." in shown] == [2, 3, 4]


def test_a_record_takes_as_many_statements_for_many_events_as_for_one(api: Api, admin: Client) -> None:
    upload = api.accepted()
    page(admin, f"{LIST}{upload.pk}/change/")
    with CaptureQueriesContext(connection) as few:
        page(admin, f"{LIST}{upload.pk}/change/")
    for number in range(10):
        upload.log("info", f"Note {number}.")
    with CaptureQueriesContext(connection) as more:
        page(admin, f"{LIST}{upload.pk}/change/")
    assert len(more) == len(few)


def test_who_may_only_look_has_no_actions(api: Api) -> None:
    upload = api.accepted()
    client = viewing()
    assert 'name="action"' not in page(client, LIST)
    act(client, "cancel", upload, confirmed="yes")
    upload.refresh_from_db()
    assert upload.status == "pending"
