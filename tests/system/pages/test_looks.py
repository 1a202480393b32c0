"""Choosing a look before sending, and trying another one on the page of the result."""

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from tests.support.standstill import standstill
from tests.system.pages.visitor import File, Visitor

pytestmark = pytest.mark.any_database

NO_STORAGE = """
for (const name of ['localStorage', 'indexedDB'])
  Object.defineProperty(window, name, { get() { throw new DOMException('blocked', 'SecurityError'); } });
"""


def look_of(visitor: Visitor, job: str = "") -> str:
    return str(visitor.ask("GET", f"/api/jobs/{job or visitor.job}").json["promptVersion"])


def test_a_look_is_chosen_with_the_keyboard_sent_and_remembered(visitor: Visitor, photo: File) -> None:
    visitor.open()
    first = visitor.page.get_by_role("radio", name="Ink & wash", exact=True)
    expect(first).to_be_checked()
    expect(visitor.page.get_by_role("group", name="Choose a look")).to_be_visible()
    first.focus()
    visitor.page.keyboard.press("ArrowRight")
    chosen = visitor.page.get_by_role("radio", name="Watercolour", exact=True)
    expect(chosen).to_be_checked()
    expect(chosen).to_be_focused()
    expect(chosen).to_have_accessible_description("Loose, wet colours that run into each other")
    assert visitor.moved == 0
    visitor.choose(photo)
    visitor.page.wait_for_url("**/jobs/*")
    assert look_of(visitor) == "v2"
    visitor.open()
    expect(chosen).to_be_checked()
    another = visitor.another_tab()
    another.open()
    expect(another.page.get_by_role("radio", name="Watercolour", exact=True)).to_be_checked()


def test_a_picture_has_the_look_that_was_chosen_when_it_was_added(visitor: Visitor, photo: File) -> None:
    visitor.open()
    visitor.page.get_by_text("Screen print").click()
    with standstill(visitor.darkroom):
        visitor.drop(photo._replace(name="one.jpg"), photo._replace(name="two.jpg"))
        visitor.page.get_by_text("Ink & wash").click()
        visitor.drop(photo._replace(name="three.jpg"))
        expect(visitor.row("Waiting in line")).to_have_count(3)
        looks = {}
        for job in visitor.jobs:
            told = visitor.ask("GET", job["urls"]["job"]).json
            looks[told["originalName"]] = told["promptVersion"]
            visitor.ask("POST", job["urls"]["cancel"])
    assert looks == {"one.jpg": "v3", "two.jpg": "v3", "three.jpg": "v1"}


def test_without_storage_the_default_is_chosen_and_may_be_changed(visitor: Visitor) -> None:
    visitor.page.add_init_script(NO_STORAGE)
    visitor.open()
    expect(visitor.page.get_by_role("radio", name="Ink & wash", exact=True)).to_be_checked()
    visitor.page.get_by_text("Screen print").click()
    expect(visitor.page.get_by_role("radio", name="Screen print", exact=True)).to_be_checked()
    visitor.page.reload()
    expect(visitor.page.get_by_role("radio", name="Ink & wash", exact=True)).to_be_checked()


def test_what_was_remembered_moves_nothing_and_must_be_on_offer(visitor: Visitor) -> None:
    visitor.open()
    visitor.page.evaluate("localStorage.setItem('darkroom.look', 'v3')")
    visitor.page.reload()
    expect(visitor.page.get_by_role("radio", name="Screen print", exact=True)).to_be_checked()
    visitor.page.wait_for_load_state("networkidle")
    assert visitor.moved == 0
    visitor.page.evaluate("localStorage.setItem('darkroom.look', 'v99')")
    visitor.page.reload()
    expect(visitor.page.get_by_role("radio", name="Ink & wash", exact=True)).to_be_checked()


def test_another_look_is_one_tap_apart_and_each_is_one_job(visitor: Visitor, photo: File) -> None:
    first = visitor.send(photo)
    visitor.expect_completed()
    others = visitor.part("another")
    expect(others.get_by_role("button", name="Watercolour")).to_be_visible()
    expect(others.get_by_role("button", name="Screen print")).to_be_visible()
    expect(others.get_by_role("button", name="Ink & wash")).to_be_hidden()
    assert visitor.moved == 0
    sent = sum(request == "POST /api/uploads" for request in visitor.requests)

    others.get_by_role("button", name="Watercolour").click()
    visitor.page.wait_for_url(re.compile(rf"/jobs/(?!{first})"))
    second = visitor.job
    visitor.expect_completed()
    expect(visitor.part("name")).to_have_text(f"{photo.name} – Watercolour")
    expect(visitor.part("compare")).to_be_visible()
    assert look_of(visitor) == "v2"
    assert sum(request == "POST /api/uploads" for request in visitor.requests) == sent, "it is not sent again"

    others.get_by_role("button", name="Ink & wash").click()
    visitor.page.wait_for_url(f"**/jobs/{first}")
    visitor.expect_completed()
    others.get_by_role("button", name="Watercolour").click()
    visitor.page.wait_for_url(f"**/jobs/{second}")
    assert len(visitor.jobs) == 2, "to go back and forth starts nothing"


def test_two_taps_are_one_job_and_a_refusal_is_said_in_words(visitor: Visitor, photo: File) -> None:
    first = visitor.send(photo)
    visitor.expect_completed()
    visitor.page.route("**/again", lambda route: route.fulfill(status=429, json=FULL), times=1)
    button = visitor.part("another").get_by_role("button", name="Screen print")
    button.click()
    expect(visitor.part("wrong")).to_have_text("The darkroom is full at the moment. Please try again in a few minutes.")
    visitor.console.clear()
    button.dblclick()
    visitor.page.wait_for_url(re.compile(rf"/jobs/(?!{first})"))
    visitor.expect_completed()
    assert len(visitor.jobs) == 2


FULL = {"success": False, "error": {"code": "QUEUE_FULL", "message": "Full.", "retryable": True}}


def test_a_picture_whose_first_job_is_deleted_goes_on(visitor: Visitor, photo: File) -> None:
    first = visitor.send(photo)
    visitor.expect_completed()
    visitor.part("another").get_by_role("button", name="Watercolour").click()
    visitor.page.wait_for_url(re.compile(rf"/jobs/(?!{first})"))
    visitor.expect_completed()
    second = visitor.job
    visitor.open(f"/jobs/{first}")
    visitor.part("delete").click()
    visitor.part("sure").get_by_role("button", name="Delete").click()
    visitor.page.wait_for_url("**/")
    visitor.open(f"/jobs/{second}")
    visitor.expect_completed()
    visitor.part("another").get_by_role("button", name="Ink & wash").click()
    visitor.page.wait_for_url(re.compile(rf"/jobs/(?!{second})"))
    visitor.expect_completed()
    assert visitor.job != first
    assert look_of(visitor) == "v1"


@pytest.mark.parametrize("width", [320, 360, 720, 1280])
def test_in_either_direction_nothing_sticks_out_and_no_name_is_cut(newcomer: Callable[[], Visitor], width: int) -> None:
    visitor = newcomer()
    visitor.page.set_viewport_size({"width": width, "height": 800})
    visitor.open()
    for direction in ("ltr", "rtl"):
        visitor.page.evaluate("direction => { document.documentElement.dir = direction; }", direction)
        assert visitor.overflow <= 0
        assert visitor.page.evaluate(BROKEN) == []


# Words of a look's name that stand on more lines than one.
BROKEN = """
() => [...document.querySelectorAll('#looks .named')].flatMap(({ firstChild }) =>
  [...firstChild.data.matchAll(/\\S+/g)].filter(({ 0: word, index }) => {
    const range = document.createRange();
    range.setStart(firstChild, index);
    range.setEnd(firstChild, index + word.length);
    return range.getClientRects().length > 1;
  }).map(([word]) => word))
"""
