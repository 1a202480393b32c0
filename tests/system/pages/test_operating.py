"""The admin, at the width of a small screen and with a mouse."""

from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from tests.support.installation import Installation
from tests.support.standstill import half_drawn
from tests.system.pages.operator import fail, log_in, with_account
from tests.system.pages.visitor import File, Visitor

pytestmark = pytest.mark.any_database


@pytest.fixture
def operator(newcomer: Callable[[], Visitor]) -> Visitor:
    operator = newcomer()
    with_account(operator.darkroom)
    log_in(operator)
    return operator


def test_a_job_is_cancelled_from_its_own_page(
    darkroom: Installation, operator: Visitor, visitor: Visitor, large_photo: File
) -> None:
    with half_drawn(darkroom, lambda: visitor.send(large_photo), visitor.status) as job:
        operator.open(f"/admin/uploads/upload/{job}/change/")
        operator.page.get_by_role("button", name="Cancel …").click()
        expect(operator.page.get_by_role("heading", name="Cancel?")).to_be_visible()
        expect(operator.page.get_by_text(job)).to_be_visible()
        operator.page.get_by_role("link", name="No, go back").click()
        operator.page.get_by_role("button", name="Cancel …").click()
        operator.page.get_by_role("button", name="Yes, cancel").click()
        expect(operator.page.get_by_text("Cancel: 1 done.")).to_be_visible()
        assert operator.page.url.endswith(f"/admin/uploads/upload/{job}/change/")
        expect(operator.page.get_by_role("button", name="Cancel …")).to_have_count(0)
        expect(operator.page.get_by_role("button", name="Retry …")).to_be_visible()
        visitor.expect_state("cancelled")
        expect(visitor.part("detail")).to_contain_text("This one was stopped.")


def test_the_list_shows_all_of_its_columns(
    darkroom: Installation, operator: Visitor, visitor: Visitor, large_photo: File
) -> None:
    finished = large_photo._replace(name="a-connection-to-the-lake.jpg")
    visitor.send(finished)
    visitor.expect_completed()
    with half_drawn(darkroom, lambda: visitor.send(finished), visitor.status) as job:
        fail(darkroom, job, "GENERATOR_UNAVAILABLE")
    operator.page.set_viewport_size({"width": 1280, "height": 800})
    operator.open("/admin/uploads/upload/?age=hour")
    expect(operator.page.get_by_text("GENERATOR_UNAVAILABLE").first).to_be_visible()
    sticks_out = "document.querySelector('.results').scrollWidth - document.querySelector('.results').clientWidth"
    assert operator.page.evaluate(sticks_out) <= 0


# Words of a drawing that are cut by its edge.
CUT = """
() => [...document.querySelectorAll('.darkroom-plots svg')].flatMap((drawing) => {
  const { left, right } = drawing.getBoundingClientRect();
  return [...drawing.querySelectorAll('text')].filter((word) => {
    const box = word.getBoundingClientRect();
    return box.left < left - 0.5 || box.right > right + 0.5;
  }).map((word) => word.textContent);
})
"""


def test_the_words_of_the_figures_are_whole(operator: Visitor, visitor: Visitor, photo: File) -> None:
    visitor.send(photo)
    visitor.expect_completed()
    for window in ("1h", "24h", "7d"):
        operator.open(f"/admin/figures/?window={window}")
        expect(operator.page.locator(".darkroom-plots svg text").first).to_be_visible()
        assert operator.page.evaluate(CUT) == [], window
