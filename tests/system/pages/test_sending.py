"""From a file to a job: the first page."""

import re
from io import BytesIO

import pytest
from PIL import Image
from playwright.sync_api import Page, Route, expect

from tests.support import pictures
from tests.support.installation import Installation, wait_for
from tests.support.standstill import standstill
from tests.system.pages.conftest import MOST_BYTES, MOST_MEGAPIXELS
from tests.system.pages.visitor import File, Visitor

pytestmark = pytest.mark.any_database

VAST = File("vast.png", pictures.png_that_claims(4000, 4000), "image/png")


def test_a_picture_is_sent_watched_seen_and_downloaded(visitor: Visitor, large_photo: File) -> None:
    visitor.send(large_photo)
    expect(visitor.part("name")).to_have_text(large_photo.name)
    visitor.expect_completed()
    assert visitor.progress == sorted(visitor.progress)
    assert set(visitor.progress) <= {0, *visitor.told}, "the page shows what the server has said, and no more"
    assert visitor.headlines[0] == "One moment"
    assert visitor.headlines[-1] == "Developed"
    assert _colours(visitor.part("preview").screenshot()) > 1000
    with visitor.page.expect_download() as download:
        visitor.part("download").click()
    with Image.open(download.value.path()) as picture:
        picture.load()
        assert picture.width >= 1024
        assert picture.width / picture.height == pytest.approx(4 / 3, abs=0.01)


def _colours(image: bytes) -> int:
    with Image.open(BytesIO(image)) as seen:
        return len(seen.convert("RGB").getcolors(2**24) or [])


def test_several_pictures_are_dropped_at_once(visitor: Visitor, photo: File) -> None:
    names = [f"{number}.jpg" for number in ("one", "two", "three")]
    visitor.open()
    visitor.drop(*(photo._replace(name=name) for name in names))
    for name in names:
        expect(visitor.row(name)).to_contain_text("Ready")
        expect(visitor.row(name).locator("img")).to_be_visible()
    assert {job["status"] for job in visitor.jobs} == {"completed"}
    assert len(visitor.jobs) == 3
    visitor.row("two.jpg").get_by_role("link", name="Open").click()
    visitor.expect_completed()
    expect(visitor.part("name")).to_have_text("two.jpg")


def test_one_that_is_refused_does_not_hold_up_the_others(visitor: Visitor, photo: File) -> None:
    visitor.open()
    visitor.choose(File("notes.jpg", b"Dear diary"), photo, File("nothing.jpg", b""))
    expect(visitor.row(photo.name)).to_contain_text("Ready")
    expect(visitor.row("notes.jpg")).to_contain_text("Please send a JPEG, PNG, WebP, GIF, AVIF or HEIC picture.")
    expect(visitor.row("nothing.jpg")).to_contain_text("This file is empty.")


@pytest.mark.parametrize(
    ("file", "sentence"),
    [
        (
            File("huge.jpg", b"\xff\xd8\xff" + bytes(MOST_BYTES)),
            r"This file is too large: 2\.1 MB, and the limit is 2 MB\.",
        ),
        (File("song.jpg", b"ID3 la la la la"), r"Please send a JPEG, PNG, WebP, GIF, AVIF or HEIC picture\."),
        (
            File("film.heic", b"\0\0\0\x18ftypisom" + bytes(64), "image/heic"),
            r"Please send a JPEG, PNG, WebP, GIF, AVIF or HEIC picture\.",
        ),
        (File("empty.png", b"", "image/png"), r"This file is empty\."),
        (VAST, rf"This picture is too large: 4000 × 4000 pixels, of {MOST_MEGAPIXELS} million at most\."),
    ],
    ids=["too large", "no picture", "film", "empty", "too many pixels"],
)
def test_what_cannot_be_taken_is_said_before_it_is_sent(visitor: Visitor, file: File, sentence: str) -> None:
    visitor.open()
    visitor.choose(file)
    row = visitor.row(file.name)
    expect(row).to_contain_text(re.compile(sentence))
    expect(row.get_by_role("button", name="Try again")).to_be_hidden()
    assert not [request for request in visitor.requests if request.startswith("POST")]
    row.get_by_role("button", name="Remove").click()
    expect(row).to_have_count(0)
    expect(visitor.part("pick")).to_be_focused()


@pytest.mark.parametrize(
    ("file", "status", "sentence"),
    [
        (VAST, 422, f"This picture is too large: 4000 × 4000 pixels, of {MOST_MEGAPIXELS} million at most."),
        (File("huge.jpg", b"\xff\xd8\xff" + bytes(2 * MOST_BYTES)), 413, "This file is too large"),
    ],
    ids=["too many pixels", "too large"],
)
def test_what_the_server_refuses_is_said_in_words(visitor: Visitor, file: File, status: int, sentence: str) -> None:
    visitor.page.route(visitor.darkroom.url + "/", _without_a_limit_of_its_own)
    visitor.open()
    visitor.choose(file)
    row = visitor.row(file.name)
    expect(row).to_contain_text(sentence)
    expect(row.get_by_role("button", name="Try again")).to_be_hidden()
    assert re.search(rf"status of {status} .*/api/uploads$", visitor.console.pop())


def _without_a_limit_of_its_own(route: Route) -> None:
    """The page as it was loaded before the server's limits were lowered."""
    answer = route.fetch()
    page = re.sub(r'data-max-(\w+)="\d+"', r'data-max-\1="1000000000"', answer.text())
    route.fulfill(response=answer, body=page)


def test_an_answer_that_is_lost_on_the_way_leads_to_one_job(visitor: Visitor, photo: File) -> None:
    tries: list[str | None] = []

    def lose_the_first(route: Route) -> None:
        tries.append(route.request.header_value("Idempotency-Key"))
        if len(tries) == 1:
            assert route.fetch().status == 202
            route.abort("connectionreset")
        else:
            route.continue_()

    visitor.page.route("**/api/uploads", lose_the_first)
    visitor.send(photo)
    assert len(tries) == 2
    assert len(set(tries)) == 1
    assert [job["jobId"] for job in visitor.jobs] == [visitor.job]
    assert "net::ERR_CONNECTION_RESET" in visitor.console.pop()


def test_a_picture_chosen_without_a_connection_goes_when_there_is_one(visitor: Visitor, photo: File) -> None:
    visitor.open()
    visitor.context.set_offline(True)
    visitor.choose(photo)
    expect(visitor.row(photo.name)).to_contain_text("The connection was lost. Trying again in")
    visitor.context.set_offline(False)
    visitor.page.wait_for_url("**/jobs/*")
    assert [job["jobId"] for job in visitor.jobs] == [visitor.job]
    assert all("net::ERR_INTERNET_DISCONNECTED" in visitor.console.pop() for _ in list(visitor.console))


def test_sending_can_be_called_off_and_taken_up_again(visitor: Visitor, photo: File) -> None:
    visitor.open()
    visitor.context.set_offline(True)
    visitor.choose(photo)
    row = visitor.row(photo.name)
    expect(row).to_contain_text("The connection was lost.")
    row.get_by_role("button", name="Cancel").click()
    expect(row).to_contain_text("Not sent")
    expect(visitor.part("announcer")).to_have_text(f"{photo.name}: Not sent")
    expect(row.get_by_role("button", name="Try again")).to_be_focused()
    visitor.context.set_offline(False)
    row.get_by_role("button", name="Try again").click()
    visitor.page.wait_for_url("**/jobs/*")
    assert [job["jobId"] for job in visitor.jobs] == [visitor.job]
    visitor.console.clear()


def test_what_is_called_off_after_it_has_arrived_is_stopped_and_says_so(
    darkroom: Installation, visitor: Visitor, photo: File
) -> None:
    def lose_the_answer(route: Route) -> None:
        assert route.fetch().status == 202
        route.abort("connectionreset")

    visitor.open()
    visitor.page.route("**/api/uploads", lose_the_answer)
    with standstill(darkroom):
        visitor.choose(photo, photo._replace(name="other.jpg"))
        row = visitor.row(photo.name)
        expect(row).to_contain_text("Trying again in")
        row.get_by_role("button", name="Cancel").click()
        expect(row).to_contain_text("It had already arrived, and was stopped.")
        expect(visitor.part("announcer")).to_contain_text(photo.name)
        expect(row.get_by_role("button", name="Try again")).to_be_focused()
        (stopped,) = [job for job in visitor.jobs if job["isTerminal"]]
        assert stopped["error"]["code"] == "CANCELED"
        assert row.get_by_role("link", name="Open").get_attribute("href") == stopped["urls"]["page"]
        visitor.page.unroute_all(behavior="ignoreErrors")
        row.get_by_role("button", name="Try again").click()
        expect(row).to_contain_text("Waiting in line")
    expect(row).to_contain_text("Ready")
    assert sorted(job["status"] for job in visitor.jobs) == ["completed", "completed", "failed"]
    visitor.console.clear()


# As the network has it when all of a picture is out, and its answer not yet in.
ALL_OUT = """
const send = XMLHttpRequest.prototype.send;
XMLHttpRequest.prototype.send = function (body) {
  send.call(this, body);
  const all = { lengthComputable: true, loaded: 1, total: 1 };
  for (const kind of ['progress', 'load']) this.upload.dispatchEvent(new ProgressEvent(kind, all));
};
"""


@pytest.mark.parametrize("arrives", [True, False], ids=["it had arrived", "it had not"])
def test_while_the_answer_is_waited_for_calling_off_tells_what_has_become_of_it(
    darkroom: Installation, visitor: Visitor, photo: File, arrives: bool
) -> None:
    def never_answer(route: Route) -> None:
        if arrives:
            assert route.fetch().status == 202

    visitor.page.add_init_script(ALL_OUT)
    visitor.page.route("**/api/uploads", never_answer)
    visitor.open()
    with standstill(darkroom):
        visitor.choose(photo)
        row = visitor.row(photo.name)
        expect(row).to_contain_text("Sent. Waiting for confirmation")
        wait_for(lambda: visitor.passes() and len(visitor.jobs) == int(arrives))
        row.get_by_role("button", name="Cancel").click()
        expect(row).to_contain_text("It had already arrived, and was stopped." if arrives else "Not sent")
        assert [job["status"] for job in visitor.jobs] == ["failed"] * arrives


def test_the_wait_before_another_try_is_counted_down(visitor: Visitor, photo: File) -> None:
    busy = {"success": False, "error": {"code": "UNAVAILABLE", "message": "Busy.", "retryable": True}}
    visitor.page.clock.install()
    visitor.page.route(
        "**/api/uploads", lambda route: route.fulfill(status=503, json=busy, headers={"Retry-After": "60"})
    )
    visitor.open()
    visitor.choose(photo)
    row = visitor.row(photo.name)
    expect(row).to_contain_text("The darkroom is busy. Trying again in")
    visitor.page.clock.run_for(20_000)
    expect(row).to_contain_text(re.compile(r"Trying again in [23]\d seconds"))
    assert "status of 503" in visitor.console.pop()


def test_a_token_that_opens_nothing_any_more_is_replaced(visitor: Visitor, photo: File) -> None:
    visitor.send(photo)
    first, token = visitor.job, visitor.token
    assert visitor.ask("DELETE", "/api/sessions/current").status == 204
    visitor.send(photo)
    assert visitor.token != token
    assert [job["jobId"] for job in visitor.jobs] == [visitor.job]
    assert visitor.job != first
    assert all("status of 401" in visitor.console.pop() for _ in list(visitor.console))


def test_all_of_it_by_keyboard_alone(visitor: Visitor, photo: File) -> None:
    visitor.open()
    with visitor.page.expect_file_chooser() as chooser:
        _tab_to(visitor.page, "pick")
        visitor.page.keyboard.press("Enter")
    chooser.value.set_files([photo.payload])
    visitor.page.wait_for_url("**/jobs/*")
    visitor.expect_completed()
    expect(visitor.part("compare")).to_be_visible()
    _tab_to(visitor.page, "compare")
    visitor.page.keyboard.press("End")
    expect(visitor.part("compare")).to_have_value("100")
    _tab_to(visitor.page, "download")
    with visitor.page.expect_download():
        visitor.page.keyboard.press("Enter")


def test_a_picture_from_before_is_opened_and_deleted_by_keyboard_alone(visitor: Visitor, photo: File) -> None:
    job = visitor.send(photo)
    visitor.expect_completed()
    visitor.open()
    expect(visitor.row("Ready")).to_be_visible()
    _tab_until(visitor.page, "document.activeElement.dataset.do === 'open'")
    visitor.page.keyboard.press("Enter")
    visitor.page.wait_for_url(f"**/jobs/{job}")
    visitor.expect_completed()
    _tab_to(visitor.page, "delete")
    visitor.page.keyboard.press("Enter")
    expect(visitor.part("sure")).to_be_visible()
    visitor.page.keyboard.press("Escape")
    assert visitor.page.evaluate("document.activeElement.id") == "delete"
    visitor.page.keyboard.press("Enter")
    _tab_until(visitor.page, "document.activeElement.value === 'delete'")
    visitor.page.keyboard.press("Enter")
    visitor.page.wait_for_url(visitor.darkroom.url + "/")
    assert visitor.ask("GET", f"/api/status/{job}").status == 404
    _tab_to(visitor.page, "forget")
    visitor.page.keyboard.press("Enter")
    _tab_until(visitor.page, "document.activeElement.value === 'forget'")
    visitor.page.keyboard.press("Enter")
    expect(visitor.part("own-note")).to_contain_text("This browser has been forgotten")
    assert visitor.page.evaluate("document.activeElement.id") == "pick"


def _tab_to(page: Page, name: str) -> None:
    _tab_until(page, f"document.activeElement.id === '{name}'")


def _tab_until(page: Page, there: str) -> None:
    for _ in range(12):
        page.keyboard.press("Tab")
        if page.evaluate(there):
            return
    raise AssertionError(f"the keyboard does not come to where {there}")
