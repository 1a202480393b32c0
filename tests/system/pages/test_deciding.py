"""What a person may decide about a job: stop it, try it again, delete it."""

import pytest
from playwright.sync_api import expect

from tests.support import pictures
from tests.support.installation import Installation, wait_for
from tests.support.standstill import standstill
from tests.system.pages.visitor import File, Visitor

pytestmark = pytest.mark.any_database


def test_a_stopped_job_can_be_tried_again(darkroom: Installation, visitor: Visitor, photo: File) -> None:
    with standstill(darkroom):
        job = visitor.send(photo)
        visitor.expect_state("pending")
        visitor.page.get_by_role("button", name="Stop").click()
        visitor.expect_state("cancelled")
        expect(visitor.part("headline")).to_have_text("Stopped")
        expect(visitor.part("headline")).to_be_focused()
        expect(visitor.part("detail")).to_have_text("This one was stopped. You can start it again.")
        assert visitor.status()["error"]["code"] == "CANCELED"
    visitor.page.get_by_role("button", name="Try again").click()
    visitor.expect_completed()
    assert (visitor.job, visitor.status()["run"]) == (job, 2)
    assert visitor.progress == sorted(visitor.progress)


def test_a_stop_that_comes_too_late_is_said_and_the_page_moves_on(
    darkroom: Installation, visitor: Visitor, photo: File
) -> None:
    with standstill(darkroom):
        visitor.send(photo)
        visitor.expect_state("pending")
        visitor.look_away()  # so that it does not find out before
        wait_for(visitor.has_all_answers)
        assert visitor.ask("POST", f"/api/jobs/{visitor.job}/cancel").status == 202
        visitor.page.get_by_role("button", name="Stop").click()
        visitor.look_back()
        visitor.expect_state("cancelled")
    assert "status of 409" in visitor.console.pop()


def test_a_picture_that_turns_out_damaged_fails_in_words(visitor: Visitor) -> None:
    whole = pictures.encoded(pictures.landscape(), "JPEG")
    visitor.send(File("torn.jpg", whole[: len(whole) // 2]))
    visitor.expect_state("failed")
    expect(visitor.part("headline")).to_have_text("Did not come out")
    expect(visitor.part("detail")).to_contain_text("This picture is damaged or incomplete and cannot be read.")
    expect(visitor.part("detail")).to_contain_text("Please send another photo")
    expect(visitor.page.locator("#stages [data-standing=failed]")).to_contain_text("Check")
    expect(visitor.part("retry")).to_be_hidden()
    expect(visitor.page.get_by_role("link", name="Send a picture")).to_be_visible()
    assert visitor.progress[-1] == visitor.status()["progress"]


def test_a_deleted_picture_is_gone_everywhere(visitor: Visitor, photo: File) -> None:
    job = visitor.send(photo)
    visitor.expect_completed()
    visitor.page.get_by_role("button", name="Delete").click()
    visitor.page.get_by_role("button", name="Keep it").click()
    assert visitor.ask("GET", f"/api/status/{job}").status == 200
    visitor.page.get_by_role("button", name="Delete").click()
    visitor.part("sure").get_by_role("button", name="Delete").click()
    visitor.page.wait_for_url(visitor.darkroom.url + "/")
    expect(visitor.part("album")).to_be_hidden()
    for place in ("own-note", "announcer"):
        expect(visitor.part(place)).to_have_text("Picture deleted.")
    assert visitor.ask("GET", f"/api/status/{job}").status == 404
    visitor.page.reload()
    visitor.page.wait_for_load_state("networkidle")
    expect(visitor.part("own-note")).to_be_empty()
    visitor.open(f"/jobs/{job}")
    visitor.expect_state("missing")
    expect(visitor.part("original")).to_be_hidden()
    assert "status of 404" in visitor.console.pop()
