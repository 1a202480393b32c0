"""The log of webhook deliveries: how a message fared is in sight on a laptop and on a phone, whatever was answered."""

from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from tests.support.installation import Installation
from tests.system.pages.operator import log_in, manage, with_account
from tests.system.pages.visitor import Visitor

pytestmark = pytest.mark.any_database

MADE = """
from status.models import WebhookDelivery, WebhookEndpoint
from status.posting import Answer

endpoint = WebhookEndpoint.objects.create(url="https://hooks.a-customer.example.com/darkroom/" + "event" * 30)
words = "The host leads to 10.0.0.1, which is not an address on the public internet: not connected."
answers = [Answer(200, "", "ok", 20), Answer(500, "It answered 500.", "x" * 900, 90), Answer(None, words)]
for number, answer in enumerate(answers):
    message = {"message_id": f"evt_01a20c36135e776aaa17b66ad970725d_{number}", "type": "job.stage_changed"}
    message |= {"body": '{"data":"' + "y" * 1500 + '"}', "attempts": 1, "tries_left": 0}
    made = WebhookDelivery.objects.create(endpoint=endpoint, **message)
    made.refresh_from_db()
    made.record(answer)
"""


@pytest.mark.parametrize("width", [1280, 390])
def test_how_a_message_fared_is_in_sight(darkroom: Installation, newcomer: Callable[[], Visitor], width: int) -> None:
    with_account(darkroom)
    made = manage(darkroom, "shell", "-c", MADE)
    assert made.returncode == 0, made.stderr
    operator = newcomer()
    log_in(operator)
    operator.page.set_viewport_size({"width": width, "height": 800})
    operator.open("/admin/status/webhookdelivery/")
    seen = operator.page.locator("#changelist .results").bounding_box()
    told = operator.page.locator("#result_list .field-answered").first.bounding_box()
    assert seen
    assert told
    assert told["x"] + told["width"] <= seen["x"] + seen["width"] + 1
    assert operator.overflow <= 0
    operator.page.locator("#result_list").get_by_role("link", name="dead").last.click()
    expect(operator.page.locator(".field-answer pre")).to_be_visible()
    assert operator.overflow <= 0
    receiver = operator.page.locator(".field-receiver .readonly").bounding_box()
    column = operator.page.locator("#content-main").bounding_box()
    assert receiver
    assert column
    assert receiver["x"] + receiver["width"] <= column["x"] + column["width"]
