"""What an operator sees of paid calls."""

from decimal import Decimal

import pytest
from django.conf import LazySettings
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from tests.integration.workflows.generators.test_gemini import again, generate
from tests.support import gemini as server
from tests.support.api import Api
from tests.support.gemini import KEY, Gemini

pytestmark = pytest.mark.django_db(transaction=True)
CALLS = reverse("admin:uploads_providercall_changelist")


@pytest.fixture
def admin() -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("operator"))
    return client


def shown(admin: Client, address: str = CALLS) -> str:
    response = admin.get(address)
    assert response.status_code == 200
    return response.content.decode()


def test_calls_are_listed_with_their_cost(api: Api, gemini: Gemini, admin: Client, settings: LazySettings) -> None:
    settings.DAILY_BUDGET_USD = Decimal(1)
    upload = api.finished()
    page = shown(admin)
    assert "0.078140" in page
    assert f"{upload.pk}</a>" in page
    assert "$0.0781 spent" in page
    assert "$0.9219 of $1.0000 is left" in page
    call = upload.provider_calls.get()
    record = shown(admin, reverse("admin:uploads_providercall_change", args=[call.pk]))
    assert "gemini-of-the-tests" in record


def test_a_refusal_is_told_in_words_until_it_is_mended(api: Api, gemini: Gemini, admin: Client) -> None:
    gemini.then(server.bad_key())
    upload = api.accepted()
    generate(upload)
    page = shown(admin)
    assert "The provider refuses us: 400 INVALID_ARGUMENT" in page
    assert "API key not valid" in page
    assert KEY not in page
    record = shown(admin, reverse("admin:uploads_upload_change", args=[upload.pk]))
    assert "API key not valid" in record
    again(upload)
    assert upload.stage == "storing"
    assert "The provider refuses us" not in shown(admin)


def test_without_a_budget_the_page_says_so(gemini: Gemini, admin: Client) -> None:
    assert "There is no daily budget" in shown(admin)
