"""When it goes wrong, the page says what, and what to do next."""

import re

import pytest
from playwright.sync_api import Route, expect

from tests.support.installation import Installation
from tests.support.standstill import half_drawn
from tests.system.pages.operator import fail, try_again
from tests.system.pages.visitor import File, Visitor

pytestmark = pytest.mark.any_database


def test_a_failed_job_goes_on_from_where_it_was(darkroom: Installation, visitor: Visitor, large_photo: File) -> None:
    with half_drawn(darkroom, lambda: visitor.send(large_photo), visitor.status) as job:
        fail(darkroom, job, "GENERATOR_UNAVAILABLE")
        visitor.expect_state("failed")
        reached = visitor.progress[-1]
        assert reached > 30
        expect(visitor.part("detail")).to_have_text(
            "The image service could not be reached. Try again in a few minutes; finished steps are kept."
        )
        expect(visitor.page.locator("#stages [data-standing=failed]")).to_contain_text("Develop")
        visitor.page.get_by_role("button", name="Try again").click()
        visitor.expect_state("pending", "processing")
        expect(visitor.part("headline")).to_be_focused()
    visitor.expect_completed()
    assert visitor.status()["run"] == 2
    assert visitor.progress == sorted(visitor.progress)


def test_a_step_that_is_tried_again_says_when(darkroom: Installation, visitor: Visitor, large_photo: File) -> None:
    with half_drawn(darkroom, lambda: visitor.send(large_photo), visitor.status) as job:
        try_again(darkroom, job, "GENERATOR_BUSY", seconds=40)
        expect(visitor.part("detail")).to_have_text(
            re.compile(r"^That step didn’t work\. Trying again in [1-4]\d seconds\.$")
        )
        expect(visitor.part("headline")).to_have_text("Developing")
        visitor.page.reload()
        expect(visitor.part("detail")).to_contain_text("Trying again in")
        visitor.page.get_by_role("button", name="Stop").click()
        visitor.expect_state("cancelled")


def test_a_picture_that_the_model_declines_cannot_be_tried_again(
    darkroom: Installation, visitor: Visitor, large_photo: File
) -> None:
    with half_drawn(darkroom, lambda: visitor.send(large_photo), visitor.status) as job:
        fail(darkroom, job, "CONTENT_BLOCKED")
        visitor.expect_state("failed")
        expect(visitor.part("detail")).to_contain_text("It would be declined again. Please send another photo.")
        expect(visitor.part("retry")).to_be_hidden()
        expect(visitor.page.get_by_role("link", name="Send a picture")).to_be_visible()


def test_a_picture_whose_time_is_over_says_so(visitor: Visitor, photo: File) -> None:
    visitor.send(photo)
    visitor.expect_completed()
    gone = {"success": False, "error": {"code": "EXPIRED", "message": "Gone.", "retryable": False}}
    visitor.page.route("**/api/results/*", lambda route: route.fulfill(status=410, json=gone))
    visitor.page.reload()
    visitor.expect_state("expired")
    expect(visitor.part("detail")).to_contain_text("You can send the photo again.")
    expect(visitor.part("download")).to_be_hidden()
    expect(visitor.page.get_by_role("link", name="Send a picture")).to_be_visible()
    assert "status of 410" in visitor.console.pop()


def test_a_job_that_takes_longer_than_was_thought_says_so(
    darkroom: Installation, visitor: Visitor, large_photo: File
) -> None:
    def late(route: Route) -> None:
        said = route.fetch(headers=route.request.headers | {"if-none-match": ""})
        route.fulfill(response=said, json=said.json() | {"estimatedRemainingSeconds": 0})

    with half_drawn(darkroom, lambda: visitor.send(large_photo), visitor.status):
        visitor.page.route("**/api/status/*", late)
        visitor.page.reload()
        expect(visitor.part("detail")).to_have_text("Taking a little longer than usual")
        visitor.page.unroute_all(behavior="ignoreErrors")


def test_a_minute_without_a_connection_costs_a_few_tries_and_nothing_that_was_known(
    darkroom: Installation, visitor: Visitor, large_photo: File
) -> None:
    visitor.page.clock.install()
    with half_drawn(darkroom, lambda: visitor.send(large_photo), visitor.status):
        reached = visitor.status()["progress"]
        visitor.expect_progress(reached)
        visitor.context.set_offline(True)
        expect(visitor.part("connection")).to_contain_text("No connection.")
        before = visitor.polls
        for _ in range(12):
            visitor.page.clock.run_for(5000)
            visitor.passes()
        assert 1 <= visitor.polls - before <= 12
        visitor.expect_progress(reached)
        expect(visitor.part("headline")).to_have_text("Developing")
        visitor.context.set_offline(False)
        expect(visitor.part("connection")).to_be_empty()
    visitor.expect_completed()
    assert visitor.progress == sorted(visitor.progress)
    visitor.console.clear()
