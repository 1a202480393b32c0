"""The groups that the migrations make: who may look, and who may act."""

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.test import Client

from tests.api import Api

pytestmark = pytest.mark.django_db
LIST = "/admin/uploads/upload/"


def member(group: str) -> Client:
    user = User.objects.create_user(group, is_staff=True)
    user.groups.add(Group.objects.get(name=group))
    client = Client()
    client.force_login(user)
    return client


def cancel(client: Client, upload: str) -> None:
    client.post(LIST, {"action": "cancel", "_selected_action": upload, "confirmed": "yes"})


@pytest.mark.parametrize("group", ["viewer", "operator"])
def test_both_see_all_there_is_to_see(api: Api, group: str) -> None:
    upload, client = api.finished(), member(group)
    pages = [LIST, f"{LIST}{upload.pk}/change/", "/admin/uploads/session/", "/admin/figures/", "/admin/"]
    assert [client.get(page).status_code for page in pages] == [200] * 5
    record = client.get(f"{LIST}{upload.pk}/change/").content.decode()
    assert "step.completed" in record
    assert "local-ink-1" in record
    assert client.get("/admin/auth/user/").status_code == 403


@pytest.mark.parametrize(("group", "status"), [("viewer", "pending"), ("operator", "failed")])
def test_only_operators_act(api: Api, group: str, status: str) -> None:
    upload = api.accepted()
    cancel(member(group), str(upload.pk))
    upload.refresh_from_db()
    assert upload.status == status


def test_no_permission_is_there_twice() -> None:
    names = list(Permission.objects.values_list("content_type__app_label", "codename"))
    assert len(names) == len(set(names))
    assert Group.objects.get(name="viewer").permissions.filter(codename="view_upload").count() == 1
