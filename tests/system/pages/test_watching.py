"""The page of a job, whatever happens between it and the server."""

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Route, expect

from tests.support.installation import Installation, wait_for
from tests.support.standstill import half_drawn, standstill
from tests.system.pages.visitor import File, Visitor

pytestmark = pytest.mark.any_database


def test_a_reload_in_the_middle_goes_on_from_where_it_was(
    darkroom: Installation, visitor: Visitor, large_photo: File
) -> None:
    with half_drawn(darkroom, lambda: visitor.send(large_photo), visitor.status):
        reached = visitor.status()["progress"]
        visitor.expect_progress(reached)
        before = visitor.progress
        visitor.page.reload()
        visitor.expect_progress(reached)
        expect(visitor.part("headline")).to_have_text("Developing")
        expect(visitor.part("name")).to_have_text(large_photo.name)
        expect(visitor.part("original")).to_be_visible()
        assert before == sorted(before)
    visitor.expect_completed()
    assert visitor.progress == sorted(visitor.progress)


def test_a_job_opens_again_from_its_address_in_another_tab(visitor: Visitor, photo: File) -> None:
    visitor.send(photo)
    address = visitor.page.url
    visitor.page.close()
    later = visitor.another_tab()
    later.page.goto(address)
    later.expect_completed()
    assert later.progress == sorted(later.progress)
    later.part("download").wait_for()
    assert later.console == []


def test_two_tabs_say_the_same(darkroom: Installation, visitor: Visitor, large_photo: File) -> None:
    second = visitor.another_tab()
    with half_drawn(darkroom, lambda: visitor.send(large_photo), visitor.status) as job:
        reached = visitor.status()["progress"]
        second.open(f"/jobs/{job}")
        for tab in (visitor, second):
            tab.expect_progress(reached)
    for tab in (visitor, second):
        tab.expect_completed()
        assert tab.progress == sorted(tab.progress)
    assert second.console == []


def test_another_browser_is_told_that_it_cannot_open_the_job(
    newcomer: Callable[[], Visitor], visitor: Visitor, photo: File
) -> None:
    job = visitor.send(photo)
    stranger = newcomer()
    stranger.open(f"/jobs/{job}")
    stranger.expect_state("unauthorized")
    expect(stranger.part("detail")).to_contain_text("A picture opens only in the browser that sent it")
    expect(stranger.part("stages")).to_be_hidden()
    expect(stranger.page.get_by_role("link", name="Send a picture")).to_be_visible()
    assert stranger.polls == 0
    assert stranger.console == []
    stranger.send(photo)
    stranger.open(f"/jobs/{job}")
    stranger.expect_state("missing")
    expect(stranger.part("detail")).to_contain_text("This picture was deleted, or sent from another browser")
    assert stranger.polls > 0
    assert "status of 404" in stranger.console.pop()


def test_without_a_connection_the_last_known_stays_and_it_goes_on_by_itself(
    darkroom: Installation, visitor: Visitor, large_photo: File
) -> None:
    with half_drawn(darkroom, lambda: visitor.send(large_photo), visitor.status):
        reached = visitor.status()["progress"]
        visitor.expect_progress(reached)
        visitor.context.set_offline(True)
        expect(visitor.part("connection")).to_contain_text("No connection.")
        expect(visitor.part("headline")).to_have_text("Developing")
        visitor.expect_progress(reached)
        visitor.context.set_offline(False)
        expect(visitor.part("connection")).to_be_empty()
    visitor.expect_completed()
    assert visitor.progress == sorted(visitor.progress)
    assert all("net::ERR_INTERNET_DISCONNECTED" in visitor.console.pop() for _ in list(visitor.console))


def test_a_restarted_server_is_waited_for(darkroom: Installation, visitor: Visitor, large_photo: File) -> None:
    with half_drawn(darkroom, lambda: visitor.send(large_photo), visitor.status):
        reached = visitor.status()["progress"]
        visitor.expect_progress(reached)
        # `make up` holds still as well, or the server might be back before the page has missed it.
        darkroom._supervisor.suspend()
        try:
            for process in darkroom.processes("granian"):
                process.kill()
            expect(visitor.part("connection")).to_contain_text("No connection.")
        finally:
            darkroom._supervisor.resume()
        expect(visitor.part("connection")).to_be_empty()
        visitor.expect_progress(reached)
    visitor.expect_completed()
    assert visitor.progress == sorted(visitor.progress)
    assert all("net::ERR_" in visitor.console.pop() for _ in list(visitor.console))


def test_a_hidden_list_asks_for_nothing_and_catches_up_when_it_is_seen_again(
    darkroom: Installation, visitor: Visitor, photo: File
) -> None:
    with standstill(darkroom):
        visitor.open()
        visitor.choose(photo, photo._replace(name="second.jpg"))
        expect(visitor.row("Waiting in line")).to_have_count(2)
        wait_for(visitor.has_all_answers)
        clock = visitor.another_tab()
        clock.open(f"/jobs/{visitor.jobs[0]['jobId']}")
        visitor.look_away()
        asked, ticks = len(visitor.requests), clock.polls
        wait_for(lambda: clock.passes() and clock.polls >= ticks + 2)
        assert visitor.requests[asked:] == []
    clock.expect_completed()
    assert visitor.requests[asked:] == []
    visitor.look_back()
    expect(visitor.row("Ready")).to_have_count(2)


def test_what_is_over_is_asked_for_once_and_not_again(visitor: Visitor, photo: File) -> None:
    visitor.send(photo)
    visitor.expect_completed()
    polls = visitor.polls
    visitor.page.reload()
    visitor.expect_completed()
    visitor.look_away()
    visitor.look_back()
    wait_for(visitor.has_all_answers)
    assert visitor.polls == polls + 1


def test_a_hidden_tab_says_in_its_title_how_far_it_is_and_asks_seldom(
    darkroom: Installation, visitor: Visitor, large_photo: File
) -> None:
    visitor.page.clock.install()
    with half_drawn(darkroom, lambda: visitor.send(large_photo), visitor.status):
        visitor.expect_progress(visitor.status()["progress"])
        wait_for(visitor.has_all_answers)
        visitor.look_away()
        asked = visitor.polls
        visitor.page.clock.run_for(20_000)
        wait_for(visitor.has_all_answers)
        assert visitor.polls == asked
    wait_for(lambda: visitor.status()["isTerminal"])
    expect(visitor.page).to_have_title(re.compile(r"^\d+% · Developing – Darkroom$"))
    visitor.page.clock.run_for(15_000)
    expect(visitor.page).to_have_title("Developed – Darkroom")
    assert visitor.polls == asked + 1
    assert "blob:" not in icon(visitor)


def test_the_tab_says_how_far_it_is(darkroom: Installation, visitor: Visitor, large_photo: File) -> None:
    with half_drawn(darkroom, lambda: visitor.send(large_photo), visitor.status):
        reached = visitor.status()["progress"]
        expect(visitor.page).to_have_title(f"{reached}% · Developing – Darkroom")
        assert visitor.page.evaluate(ARC) == pytest.approx(reached / 100, abs=0.03)
    visitor.expect_completed()
    expect(visitor.page).to_have_title("Developed – Darkroom")
    assert re.fullmatch(rf"{darkroom.url}/static/img/favicon\.\w+\.svg", icon(visitor))


# The share of the icon's ring that is drawn in the brighter of its colours.
ARC = """
async () => {
  const image = new Image(128, 128);
  image.src = document.querySelector('#favicon').href;
  await image.decode();
  const canvas = new OffscreenCanvas(128, 128).getContext('2d');
  canvas.drawImage(image, 0, 0, 128, 128);
  const { data } = canvas.getImageData(0, 0, 128, 128);
  const reds = data.filter((_, index) => index % 4 === 0);
  return reds.filter((red) => red > 200).length / reds.filter((red) => red > 80).length;
}
"""


def icon(visitor: Visitor) -> str:
    return str(visitor.page.evaluate("document.querySelector('#favicon').href"))


def test_a_job_in_line_says_which_number_it_is(darkroom: Installation, visitor: Visitor, photo: File) -> None:
    with standstill(darkroom):
        visitor.open()
        visitor.choose(photo, photo._replace(name="second.jpg"))
        expect(visitor.row("Waiting in line")).to_have_count(2)
        visitor.send(photo)
        visitor.expect_state("pending")
        position = visitor.status()["queuePosition"]
        assert position >= 3
        expect(visitor.part("detail")).to_contain_text(f"Number {position} in line")
        for position, words in ((1, "Next in line"), (100, "More than 100 pictures ahead of yours")):
            tell(visitor, queuePosition=position)
            expect(visitor.part("detail")).to_contain_text(words)


def tell(visitor: Visitor, **other: object) -> None:
    """The page hears something else from now on."""

    def answer(route: Route) -> None:
        said = route.fetch(headers=route.request.headers | {"if-none-match": ""})
        route.fulfill(response=said, json=said.json() | other)

    visitor.page.route("**/api/status/*", answer)
    visitor.page.reload()


def test_the_time_that_is_left_does_not_begin_anew_when_the_connection_comes_and_goes(
    darkroom: Installation, visitor: Visitor, large_photo: File
) -> None:
    visitor.page.clock.install()
    with half_drawn(darkroom, lambda: visitor.send(large_photo), visitor.status):
        wait_for(visitor.has_all_answers)
        tell(visitor, estimatedRemainingSeconds=50)
        expect(visitor.part("detail")).to_contain_text("50 seconds left")
        visitor.page.unroute_all(behavior="wait")
        visitor.page.route("**/api/status/*", lambda route: route.abort("connectionreset"))
        visitor.page.clock.run_for(30_000)
        expect(visitor.part("connection")).to_contain_text("No connection.")
        expect(visitor.part("detail")).to_have_text(re.compile(r"^About (15|20) seconds left$"))
        visitor.page.unroute_all(behavior="wait")
        visitor.page.route("**/api/status/*", lambda route: route.fulfill(status=304))
        visitor.page.clock.run_for(35_000)
        expect(visitor.part("connection")).to_be_empty()
        expect(visitor.part("detail")).to_have_text("Taking a little longer than usual")
        visitor.page.unroute_all(behavior="ignoreErrors")
    visitor.console.clear()


def test_a_page_that_has_never_been_told_anything_does_not_speak_of_what_it_knows(
    visitor: Visitor, photo: File
) -> None:
    visitor.send(photo)
    visitor.expect_completed()
    for failure, words in (
        (lambda route: route.abort("connectionreset"), "No connection. We’ll keep trying."),
        (lambda route: route.fulfill(status=503), "Darkroom is not available right now. We’ll keep trying."),
    ):
        visitor.page.route("**/api/status/*", failure)
        visitor.page.reload()
        expect(visitor.part("connection")).to_have_text(words)
        visitor.page.unroute_all(behavior="ignoreErrors")
    visitor.expect_completed()
    visitor.console.clear()
