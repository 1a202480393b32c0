"""GET /api/looks: what is on offer, in words, samples and money."""

from decimal import Decimal
from io import BytesIO

import pytest
from django.conf import LazySettings
from django.contrib.staticfiles import finders
from PIL import Image

from tests.support.api import Api
from workflows.generators import PROMPT_VERSIONS
from workflows.looks import LOOKS

pytestmark = pytest.mark.django_db


def test_every_prompt_that_is_shipped_is_a_look_on_offer(api: Api, django_assert_num_queries: object) -> None:
    with django_assert_num_queries(0):  # type: ignore[operator]
        response = api.get("/api/looks", token=None)
    looks = response.json()["looks"]
    assert [look["promptVersion"] for look in looks] == list(PROMPT_VERSIONS)
    assert [look["name"] for look in looks] == ["Ink & wash", "Watercolour", "Screen print"]
    assert all(look["description"] for look in looks)
    assert [look["costUsd"] for look in looks] == [0, 0, 0]
    assert [look["isDefault"] for look in looks] == [True, False, False]


def test_a_paid_model_offers_the_same_looks_at_its_price(api: Api, settings: LazySettings) -> None:
    settings.GENERATOR, settings.GENERATE_COST_USD, settings.PROMPT_VERSION = "gemini", Decimal("0.0789"), "v2"
    looks = api.get("/api/looks", token=None).json()["looks"]
    assert [look["costUsd"] for look in looks] == [0.0789] * 3
    assert [look["promptVersion"] for look in looks if look["isDefault"]] == ["v2"]


def test_the_samples_are_small_pictures_at_addresses_that_open(api: Api, settings: LazySettings) -> None:
    addresses = [look["sampleUrl"] for look in api.get("/api/looks", token=None).json()["looks"]]
    assert len(set(addresses)) == len(addresses)
    for address in addresses:
        response = api.client.get(address.removeprefix(settings.PUBLIC_URL))
        assert (response.status_code, response["Content-Type"]) == (200, "image/webp")
        data = response.getvalue()
        assert len(data) <= 15_000
        with Image.open(BytesIO(data)) as image:
            assert image.size == (384, 256)
    assert all(finders.find(look.sample) for look in LOOKS)
