"""“My pictures”: what this browser has sent, in all of its tabs, and how it lets go of them."""

import pytest
from playwright.sync_api import expect

from tests.support.installation import Installation
from tests.support.standstill import standstill
from tests.system.pages.visitor import File, Visitor

pytestmark = pytest.mark.any_database

KEPT = """
new Promise((resolve) => {
  indexedDB.open('darkroom', 1).onsuccess = ({ target: { result: database } }) => {
    database.transaction('originals').objectStore('originals').count().onsuccess = ({ target }) => {
      database.close();
      resolve(target.result + Object.keys(localStorage).filter((key) => localStorage[key] !== '[]').length);
    };
  };
})
"""
"""How many things this browser has kept."""


def test_what_another_tab_sends_appears_and_what_it_deletes_goes(
    darkroom: Installation, visitor: Visitor, photo: File
) -> None:
    visitor.open()
    expect(visitor.part("album")).to_be_hidden()
    other = visitor.another_tab()
    with standstill(darkroom):
        other.send(photo)
        expect(visitor.row(photo.name)).to_contain_text("Waiting in line")
        other.send(photo._replace(name="newer.jpg"))
        expect(visitor.part("pictures").get_by_role("listitem").first).to_contain_text("newer.jpg")
    other.expect_completed()
    expect(visitor.row("Ready")).to_have_count(2)
    other.page.get_by_role("button", name="Delete").click()
    other.part("sure").get_by_role("button", name="Delete").click()
    expect(visitor.row("newer.jpg")).to_have_count(0)
    expect(visitor.row(photo.name)).to_be_visible()


def test_when_more_cannot_be_read_it_is_said_and_can_be_asked_again(visitor: Visitor, photo: File) -> None:
    first = visitor.send(photo)
    visitor.expect_completed()
    visitor.send(photo)
    visitor.expect_completed()
    one, two = visitor.ask("GET", "/api/jobs?limit=1").json, visitor.ask("GET", f"/api/jobs?cursor={visitor.job}").json
    assert two["jobs"][0]["jobId"] == first
    visitor.page.route("**/api/jobs?limit=*", lambda route: route.fulfill(json=one))
    visitor.page.route("**/api/jobs?*cursor=*", lambda route: route.fulfill(status=503))
    visitor.open()
    visitor.page.get_by_role("button", name="Show more").click()
    expect(visitor.part("album-wrong")).to_have_text(
        "Darkroom is not available at the moment. Please try again shortly."
    )
    visitor.page.unroute("**/api/jobs?*cursor=*")
    visitor.page.route("**/api/jobs?*cursor=*", lambda route: route.fulfill(json=two))
    visitor.page.get_by_role("button", name="Show more").click()
    expect(visitor.row("Ready")).to_have_count(2)
    expect(visitor.part("album-wrong")).to_be_empty()
    assert "status of 503" in visitor.console.pop()


def test_a_browser_that_is_forgotten_keeps_and_opens_nothing(visitor: Visitor, photo: File) -> None:
    job = visitor.send(photo)
    visitor.expect_completed()
    visitor.open()
    other = visitor.another_tab()
    other.open()
    expect(other.row(photo.name)).to_be_visible()
    token = visitor.token
    visitor.choose(photo._replace(name="one.jpg"), photo._replace(name="two.jpg"))
    expect(visitor.row("Ready")).to_have_count(3)
    visitor.page.get_by_role("button", name="Forget this browser").click()
    visitor.part("sure").get_by_role("button", name="Keep them").click()
    assert visitor.ask("GET", f"/api/status/{job}").status == 200
    visitor.page.get_by_role("button", name="Forget this browser").click()
    visitor.part("sure").get_by_role("button", name="Forget").click()
    expect(visitor.part("own-note")).to_contain_text("This browser has been forgotten")
    expect(visitor.part("announcer")).to_contain_text("This browser has been forgotten")
    expect(visitor.page.get_by_role("listitem")).to_have_count(0)
    expect(visitor.part("album")).to_be_hidden()
    expect(visitor.part("own")).to_be_hidden()
    expect(visitor.part("pick")).to_be_focused()
    expect(other.part("album")).to_be_hidden()
    assert visitor.page.evaluate(KEPT) == 0
    assert visitor.darkroom.request("GET", f"/api/status/{job}", X_Session_Token=token).status == 401
    visitor.send(photo)
    visitor.expect_completed()
    assert visitor.token != token


def test_when_the_server_cannot_be_told_nothing_is_forgotten(visitor: Visitor, photo: File) -> None:
    job = visitor.send(photo)
    visitor.expect_completed()
    visitor.open()
    visitor.page.route("**/api/sessions/current", lambda route: route.abort("connectionreset"))
    visitor.page.get_by_role("button", name="Forget this browser").click()
    visitor.part("sure").get_by_role("button", name="Forget").click()
    expect(visitor.part("own-note")).to_contain_text("can’t be reached")
    expect(visitor.row(photo.name)).to_be_visible()
    assert visitor.ask("GET", f"/api/status/{job}").status == 200
    assert "net::ERR_CONNECTION_RESET" in visitor.console.pop()


def test_of_a_session_that_was_ended_elsewhere_no_list_is_left(visitor: Visitor, photo: File) -> None:
    visitor.send(photo)
    visitor.expect_completed()
    assert visitor.ask("DELETE", "/api/sessions/current").status == 204
    visitor.open()
    expect(visitor.part("own")).to_be_hidden()
    visitor.page.wait_for_load_state("networkidle")
    expect(visitor.part("album")).to_be_hidden()
    assert all("status of 401" in visitor.console.pop() for _ in list(visitor.console))
    assert visitor.console == []


def test_the_list_goes_with_its_last_picture(visitor: Visitor, photo: File) -> None:
    """As when the server cannot list them, and knows none of those that this browser remembers."""
    visitor.send(photo)
    visitor.expect_completed()
    visitor.page.route("**/api/jobs?*", lambda route: route.fulfill(status=503))
    missing = {"success": False, "error": {"code": "NOT_FOUND", "message": "Gone.", "retryable": False}}
    visitor.page.route("**/api/status/*", lambda route: route.fulfill(status=404, json=missing))
    visitor.open()
    visitor.page.wait_for_load_state("networkidle")
    expect(visitor.part("album")).to_be_hidden()
    expect(visitor.page.get_by_role("listitem")).to_have_count(0)
    visitor.console.clear()
