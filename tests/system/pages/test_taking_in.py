"""The ways by which pictures come into the first page, and what can go wrong on theirs."""

import base64

import pytest
from playwright.sync_api import Route, expect

from tests.support import pictures
from tests.system.pages.visitor import File, Visitor

pytestmark = pytest.mark.any_database

PASTE = """
({ name, type, data }) => {
  const transfer = new DataTransfer();
  transfer.items.add(new File([Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0))], name, { type }));
  document.body.dispatchEvent(new ClipboardEvent('paste', { clipboardData: transfer, bubbles: true }));
}
"""


def test_a_picture_is_pasted(visitor: Visitor, photo: File) -> None:
    visitor.open()
    pasted = {"name": photo.name, "type": photo.type, "data": base64.b64encode(photo.content).decode()}
    visitor.page.evaluate(PASTE, pasted)
    visitor.page.wait_for_url("**/jobs/*")
    expect(visitor.part("name")).to_have_text(photo.name)


def test_text_that_is_pasted_is_no_picture(visitor: Visitor) -> None:
    visitor.open()
    visitor.page.evaluate(
        """() => {
            const clipboardData = new DataTransfer();
            clipboardData.setData('text/plain', 'Dear diary');
            document.body.dispatchEvent(new ClipboardEvent('paste', { clipboardData, bubbles: true }));
        }"""
    )
    visitor.passes()
    expect(visitor.part("sending").get_by_role("listitem")).to_have_count(0)


def test_a_phone_takes_a_photo_with_its_camera(visitor: Visitor, photo: File) -> None:
    """The browser opens the camera for an input that says `capture`; only where there is a touch screen."""
    camera = visitor.part("camera")
    visitor.open()
    expect(visitor.page.get_by_text("Take a photo")).to_be_hidden()
    chromium = visitor.context.new_cdp_session(visitor.page)
    chromium.send("Emulation.setTouchEmulationEnabled", {"enabled": True})
    expect(visitor.page.get_by_text("Take a photo")).to_be_visible()
    expect(camera).to_have_attribute("capture", "environment")
    expect(camera).to_have_attribute("accept", "image/*")
    camera.set_input_files([photo.payload])
    visitor.page.wait_for_url("**/jobs/*")


def test_a_picture_that_this_browser_cannot_show_is_sent_all_the_same(visitor: Visitor) -> None:
    """HEIC, from most phones: no preview here, until Darkroom's own is there."""
    heic = File("phone.heic", pictures.encoded(pictures.landscape(), "HEIC"), "image/heic")
    visitor.open()
    visitor.choose(heic, File("other.jpg", pictures.encoded(pictures.landscape(), "JPEG")))
    row = visitor.row(heic.name)
    expect(row.locator("img")).to_be_hidden()
    expect(row).to_contain_text("Ready")
    visitor.open()
    expect(visitor.row(heic.name).locator("img")).to_be_visible()  # the thumbnail of the result
    visitor.row(heic.name).get_by_role("link", name="Open").click()
    visitor.expect_completed()
    expect(visitor.part("preview")).to_be_visible()
    expect(visitor.part("original")).to_be_hidden()
    expect(visitor.part("compare")).to_be_hidden()


def test_a_connection_that_drops_while_sending_leads_to_one_job_under_the_same_key(
    visitor: Visitor, photo: File
) -> None:
    keys: list[str | None] = []

    def drop_the_first_two(route: Route) -> None:
        keys.append(route.request.header_value("Idempotency-Key"))
        if len(keys) <= 2:
            route.abort("connectionreset")
        else:
            route.continue_()

    visitor.page.route("**/api/uploads", drop_the_first_two)
    visitor.send(photo)
    assert len(keys) == 3
    assert len(set(keys)) == 1
    assert [job["jobId"] for job in visitor.jobs] == [visitor.job]
    visitor.console.clear()


def test_twenty_at_once_are_twenty_jobs(visitor: Visitor) -> None:
    data = pictures.encoded(pictures.landscape(160, 120), "JPEG")
    names = [f"picture {number:02}.jpg" for number in range(20)]
    visitor.open()
    visitor.choose(*(File(name, data) for name in names))
    for name in names:
        expect(visitor.row(name)).to_contain_text("Ready")
    assert len(visitor.jobs) == 20
    assert {job["status"] for job in visitor.jobs} == {"completed"}
    sent = [request for request in visitor.requests if request == "POST /api/uploads"]
    assert len(sent) == 20
    visitor.open()
    expect(visitor.row("Ready")).to_have_count(12)
    visitor.page.get_by_role("button", name="Show more").click()
    expect(visitor.row("Ready")).to_have_count(20)
    expect(visitor.page.get_by_role("button", name="Show more")).to_be_hidden()
    expect(visitor.part("pictures").get_by_role("link", name="Open").nth(12)).to_be_focused()
    listed = visitor.part("pictures").locator(".name").all_text_contents()
    assert sorted(listed) == names
    assert [job["urls"]["page"] for job in visitor.jobs] == [
        link.get_attribute("href") for link in visitor.part("pictures").get_by_role("link").all()
    ]
