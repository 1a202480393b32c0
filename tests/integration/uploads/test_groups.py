"""The groups that the migrations make: who may look, and who may act."""

from importlib import import_module

import pytest
from django.apps import apps
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group, Permission, User
from django.test import Client

from tests.support.api import Api
from uploads.models import Upload

pytestmark = pytest.mark.django_db
LIST = "/admin/uploads/upload/"


@pytest.fixture(autouse=True)
def _groups(db: None) -> None:
    """By the migration again: a test with real transactions, which may run before on this database, empties it."""
    import_module("uploads.migrations.0003_groups").create(apps, None)


def member(group: str) -> Client:
    user = User.objects.create_user(group, is_staff=True)
    user.groups.add(Group.objects.get(name=group))
    client = Client()
    client.force_login(user)
    return client


@pytest.mark.parametrize("group", ["viewer", "operator"])
def test_both_see_all_there_is_to_see(api: Api, group: str) -> None:
    upload, client = api.finished(), member(group)
    pages = [LIST, f"{LIST}{upload.pk}/change/", "/admin/uploads/session/", "/admin/figures/", "/admin/"]
    assert [client.get(page).status_code for page in pages] == [200] * 5
    record = client.get(f"{LIST}{upload.pk}/change/").content.decode()
    assert "step.completed" in record
    assert "local-ink-1" in record
    assert client.get("/admin/auth/user/").status_code == 403


@pytest.mark.parametrize(("group", "may"), [("viewer", False), ("operator", True)])
@pytest.mark.parametrize("action", ["retry", "cancel", "unlock", "discard"])
@pytest.mark.parametrize("record", [{}, {"record": "yes"}], ids=["list", "record"])
def test_only_operators_act(api: Api, group: str, may: bool, action: str, record: dict[str, str]) -> None:
    upload = api.finished() if action == "unlock" else api.accepted()
    if action == "retry":
        upload.cancel()
    before = Upload.objects.values("version", "result__unlocked_at").get(pk=upload.pk)
    member(group).post(LIST, {"action": action, "_selected_action": str(upload.pk), "confirmed": "yes", **record})
    assert (Upload.objects.values("version", "result__unlocked_at").get(pk=upload.pk) != before) is may
    assert LogEntry.objects.exists() is may


@pytest.mark.parametrize("group", ["viewer", "operator"])
def test_both_read_the_log_and_neither_writes_in_it(api: Api, group: str) -> None:
    upload, operator = api.accepted(), member("operator")
    operator.post(LIST, {"action": "cancel", "_selected_action": str(upload.pk), "confirmed": "yes"})
    client, entry = operator if group == "operator" else member(group), LogEntry.objects.get()
    record = f"/admin/admin/logentry/{entry.pk}/"
    assert str(upload.pk) in client.get(f"{record}change/").content.decode()
    for path in (f"{record}change/", f"{record}delete/", "/admin/admin/logentry/add/"):
        assert client.post(path, {"post": "yes"}).status_code == 403
    client.post("/admin/admin/logentry/", {"action": "delete_selected", "_selected_action": entry.pk, "post": "yes"})
    assert LogEntry.objects.get() == entry


def test_no_permission_is_there_twice() -> None:
    names = list(Permission.objects.values_list("content_type__app_label", "codename"))
    assert len(names) == len(set(names))
    assert Group.objects.get(name="viewer").permissions.filter(codename="view_upload").count() == 1
