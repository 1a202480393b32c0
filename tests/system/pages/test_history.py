"""What has happened to a job, for those who want to know more."""

from decimal import ROUND_HALF_UP, Decimal

import pytest
from playwright.sync_api import expect

from tests.support import pictures
from tests.support.installation import Installation
from tests.support.standstill import half_drawn
from tests.system.pages.visitor import File, Visitor

pytestmark = pytest.mark.any_database


def test_the_log_is_read_on_demand_and_goes_on_with_the_job(
    darkroom: Installation, visitor: Visitor, large_photo: File
) -> None:
    with half_drawn(darkroom, lambda: visitor.send(large_photo), visitor.status) as job:
        visitor.expect_progress(visitor.status()["progress"])
        assert not [request for request in visitor.requests if request.endswith("/events")]
        visitor.page.get_by_text("Activity").click()
        expect(visitor.part("events").get_by_role("listitem")).to_have_count(visitor.status()["eventCount"])
        expect(visitor.part("events").get_by_role("listitem").first).to_contain_text("Your picture has arrived.")
    visitor.expect_completed()
    told = [event["message"] for event in visitor.ask("GET", f"/api/status/{job}/events?limit=500").json["events"]]
    shown = visitor.part("events").locator("li span")
    expect(shown).to_have_count(len(told))
    assert shown.all_text_contents() == told


def test_why_a_job_failed_is_said_once(visitor: Visitor) -> None:
    whole = pictures.encoded(pictures.landscape(), "JPEG")
    job = visitor.send(File("torn.jpg", whole[: len(whole) // 2]))
    visitor.expect_state("failed")
    visitor.page.get_by_text("Activity").click()
    *before, step, end = visitor.ask("GET", f"/api/status/{job}/events").json["events"]
    assert (step["type"], end["type"]) == ("step.failed", "job.failed")
    assert step["message"] == end["message"]
    shown = visitor.part("events").locator("li span")
    expect(shown).to_have_count(len(before) + 1)
    assert shown.all_text_contents() == [event["message"] for event in [*before, step]]


def test_each_stage_says_how_long_it_took(visitor: Visitor, photo: File) -> None:
    job = visitor.send(photo)
    visitor.expect_completed()
    times = visitor.page.locator("#stages .took")
    for index, step in enumerate(visitor.ask("GET", f"/api/jobs/{job}").json["steps"]):
        seconds = Decimal(step["durationMs"]) / 1000
        rounded = seconds.quantize(Decimal("0.1" if seconds < 10 else "1"), ROUND_HALF_UP)
        expect(times.nth(index)).to_have_text(f"{float(rounded):g}s")
