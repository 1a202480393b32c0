"""The hook in somebody else's page: one script tag, any number of jobs."""

import json
from collections.abc import Callable

import pytest
from playwright.sync_api import Route, expect

from tests.support.installation import Installation, wait_for
from tests.support.standstill import half_drawn, standstill
from tests.system.pages.visitor import File, Visitor

pytestmark = pytest.mark.any_database

PAGE = """<!doctype html><html lang="en"><title>A shop</title>
<script type="module" src="/static/js/upload-status.js"></script><body>{body}</body></html>"""
HUNDREDS = 300

# Counts what is under way at once: timers that are set and not over, and requests without an answer.
COUNTER = """
window.most = { timers: 0, requests: 0 };
const timers = new Set();
const { setTimeout: later, clearTimeout: never, fetch: ask } = window;
window.setTimeout = (run, wait, ...rest) => {
  const id = later((...given) => { timers.delete(id); run(...given); }, wait, ...rest);
  timers.add(id);
  window.most.timers = Math.max(window.most.timers, timers.size);
  return id;
};
window.clearTimeout = (id) => { timers.delete(id); never(id); };
let requests = 0;
window.fetch = async (...request) => {
  requests += 1;
  window.most.requests = Math.max(window.most.requests, requests);
  try { return await ask(...request); } finally { requests -= 1; }
};
"""


def shop(visitor: Visitor, body: str) -> None:
    visitor.page.route("**/shop", lambda route: route.fulfill(body=PAGE.format(body=body), content_type="text/html"))
    visitor.open("/shop")


def test_one_script_tag_and_a_div_show_a_job_to_its_end(
    darkroom: Installation, visitor: Visitor, large_photo: File
) -> None:
    with half_drawn(darkroom, lambda: visitor.send(large_photo), visitor.status) as job:
        reached = visitor.status(job)["progress"]
        shop(visitor, f'<div id="mine" data-upload-status="{job}"></div>')
        expect(visitor.part("mine")).to_have_text("Developing")
        assert visitor.part("mine").locator("progress").evaluate("bar => bar.value") == reached
    expect(visitor.part("mine")).to_have_text("Ready")
    expect(visitor.part("mine")).to_have_attribute("data-status", "completed")


def test_a_job_of_another_session_needs_its_token(
    darkroom: Installation, newcomer: Callable[[], Visitor], visitor: Visitor, photo: File
) -> None:
    job = visitor.send(photo)
    visitor.expect_completed()
    stranger = newcomer()
    shop(stranger, f'<p data-upload-status="{job}" data-token="{visitor.token}"></p>')
    expect(stranger.page.locator("p")).to_have_text("Ready")
    shop(stranger, f'<p data-upload-status="{job}"></p>')
    expect(stranger.page.locator("p")).to_contain_text("X-Session-Token")
    assert "status of 401" in stranger.console.pop()


def test_a_page_in_another_language_puts_its_own_words(visitor: Visitor) -> None:
    shop(visitor, "<p></p>")
    visitor.page.evaluate(
        """async () => {
            const { uploadStatus } = await import('/static/js/upload-status.js');
            const words = { loading: 'Moment', UNAUTHORIZED: 'Nicht erlaubt' };
            uploadStatus(document.querySelector('p'), { jobId: 'none', words });
        }"""
    )
    expect(visitor.page.locator("p")).to_have_text("Nicht erlaubt")
    assert "status of 401" in visitor.console.pop()


def test_elements_that_come_are_watched_and_those_that_go_are_not(
    darkroom: Installation, visitor: Visitor, photo: File
) -> None:
    with standstill(darkroom):
        job = visitor.send(photo)
        shop(visitor, "<main></main>")
        visitor.page.evaluate("job => { document.querySelector('main').dataset.uploadStatus = job }", job)
        expect(visitor.page.locator("main")).to_have_text("Waiting in line")
        visitor.page.evaluate("document.querySelector('main').remove()")
        wait_for(visitor.has_all_answers)
        asked = visitor.polls
        clock = visitor.another_tab()
        clock.open(f"/jobs/{job}")
        wait_for(lambda: clock.passes() and clock.polls >= 3)
        assert visitor.polls == asked


def test_hundreds_share_one_timer_and_do_not_stampede(visitor: Visitor) -> None:
    """Each gets its answers all the same, and a page that was hidden does not make up for it at once."""
    asked: list[str] = []

    def answer(route: Route) -> None:
        asked.append(route.request.url)
        job = {"status": "processing", "stage": "generating", "progress": 40, "isTerminal": False, "run": 1}
        route.fulfill(body=json.dumps(job), content_type="application/json")

    visitor.page.add_init_script(COUNTER)
    visitor.page.route("**/api/status/*", answer)
    shop(visitor, "".join(f'<div data-upload-status="job-{number}"></div>' for number in range(HUNDREDS)))
    wait_for(lambda: visitor.page.get_by_text("Developing").count() == HUNDREDS)
    wait_for(lambda: visitor.passes() and len(asked) >= 2 * HUNDREDS)
    assert len(set(asked)) == HUNDREDS
    most = visitor.page.evaluate("window.most")
    assert most["requests"] <= 4
    assert most["timers"] == 1
