"""Every page in every state, for everybody: WCAG 2.2 AA as far as a program can tell, narrow, large and still."""

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, expect

from tests.support import pictures
from tests.support.installation import Installation, wait_for
from tests.support.standstill import half_drawn, standstill
from tests.system.pages import axe
from tests.system.pages.operator import log_in, try_again, with_account
from tests.system.pages.visitor import File, Visitor

pytestmark = pytest.mark.any_database

NOBODYS = "/jobs/01234567-89ab-7def-8123-456789abcdef"
Look = Callable[[Visitor, str], None]


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> str:
    return axe.installed(tmp_path_factory.mktemp("axe"))


@pytest.fixture
def look(script: str) -> Iterator[Look]:
    """Light and dark; all that is wrong anywhere is said at the end."""
    wrong: list[str] = []

    def look(visitor: Visitor, state: str) -> None:
        for scheme in ("light", "dark"):
            visitor.page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
            wrong.extend(f"{state}, {scheme}: {fault}" for fault in axe.faults(visitor.page, script))
        visitor.page.set_viewport_size({"width": 320, "height": 640})
        wrong.extend([f"{state} is wider than 320 pixels"] if visitor.overflow > 0 else [])
        visitor.page.set_viewport_size({"width": 1280, "height": 720})

    yield look
    assert not wrong, "\n".join(wrong)


def test_the_first_page(darkroom: Installation, visitor: Visitor, photo: File, look: Look) -> None:
    visitor.open()
    look(visitor, "empty")
    with standstill(darkroom):
        visitor.choose(photo, photo._replace(name="second.jpg"), File("Notes.txt", b"Dear diary"))
        expect(visitor.row("Waiting in line")).to_have_count(2)
        look(visitor, "several")
        visitor.context.set_offline(True)
        visitor.choose(photo._replace(name="late.jpg"))
        expect(visitor.row("late.jpg")).to_contain_text("Trying again")
        look(visitor, "offline")
        visitor.row("late.jpg").get_by_role("button", name="Cancel").click()
        visitor.context.set_offline(False)
    wait_for(lambda: visitor.passes() and all(job["isTerminal"] for job in visitor.jobs))
    visitor.open()
    expect(visitor.row("Ready").first).to_be_visible()
    look(visitor, "album")
    visitor.console.clear()


def test_a_job_under_way(darkroom: Installation, visitor: Visitor, large_photo: File, look: Look) -> None:
    with standstill(darkroom):
        visitor.send(large_photo)
        visitor.expect_state("pending")
        look(visitor, "pending")
    with half_drawn(darkroom, lambda: visitor.send(large_photo), visitor.status) as job:
        visitor.expect_progress(visitor.status()["progress"])
        look(visitor, "developing")
        visitor.part("activity").locator("summary").click()
        expect(visitor.part("events").get_by_text("Your picture has arrived.")).to_be_visible()
        look(visitor, "developing, with its log")
        visitor.context.set_offline(True)
        expect(visitor.part("connection")).to_contain_text("No connection")
        look(visitor, "offline")
        visitor.context.set_offline(False)
        expect(visitor.part("connection")).to_be_empty()
        try_again(darkroom, job, "GENERATOR_BUSY", seconds=60)
        expect(visitor.part("detail")).to_contain_text("Trying again in")
        look(visitor, "waiting to be tried again")
        visitor.page.get_by_role("button", name="Stop").click()
        visitor.expect_state("cancelled")
        look(visitor, "cancelled")
    visitor.console.clear()


def test_a_job_that_has_ended(visitor: Visitor, photo: File, look: Look) -> None:
    visitor.send(photo)
    visitor.expect_completed()
    look(visitor, "completed")
    visitor.part("delete").click()
    look(visitor, "asked whether to delete")
    visitor.part("sure").get_by_role("button", name="Keep it").click()
    visitor.page.route("**/api/results/*", lambda route: route.fulfill(status=410, body="{}"))
    visitor.page.reload()
    visitor.expect_state("expired")
    look(visitor, "expired")
    torn = pictures.encoded(pictures.landscape(), "JPEG")
    visitor.send(File("torn.jpg", torn[: len(torn) // 2]))
    visitor.expect_state("failed")
    look(visitor, "failed")
    visitor.console.clear()


def test_what_cannot_be_opened(newcomer: Callable[[], Visitor], photo: File, look: Look) -> None:
    stranger = newcomer()
    stranger.open(NOBODYS)
    stranger.expect_state("unauthorized")
    look(stranger, "unauthorized")
    stranger.send(photo)
    stranger.open(NOBODYS)
    stranger.expect_state("missing")
    look(stranger, "missing")
    for address in ("/nothing/here", "/media/nothing"):
        stranger.open(address)
        look(stranger, address)
    stranger.open("/api/docs")
    look(stranger, "docs")


def test_the_admin(newcomer: Callable[[], Visitor], photo: File, look: Look) -> None:
    operator = newcomer()
    job = operator.send(photo)
    operator.expect_completed()
    with_account(operator.darkroom)
    operator.open("/admin/login/")
    look(operator, "login")
    log_in(operator)
    pages = {
        "home": "",
        "list": "uploads/upload/",
        "list, filtered": "uploads/upload/?status=completed&age=day",
        "record": f"uploads/upload/{job}/change/",
        "sessions": "uploads/session/",
        "figures": "figures/",
        "calls": "uploads/providercall/",
        "log": "admin/logentry/",
        "deliveries": "status/webhookdelivery/",
        "endpoints": "status/webhookendpoint/",
        "a new endpoint": "status/webhookendpoint/add/",
    }
    for name, path in pages.items():
        operator.open(f"/admin/{path}")
        look(operator, name)
    operator.open("/admin/uploads/upload/")
    operator.page.get_by_label("Select this object for an action").first.check()
    operator.page.get_by_label("Action:").select_option("unlock")
    operator.page.get_by_role("button", name="Go").click()
    expect(operator.page.get_by_role("heading", name="Unlock the full picture?")).to_be_visible()
    look(operator, "confirmation")
    operator.page.get_by_role("button", name="Yes, unlock the full picture").click()
    expect(operator.page.get_by_text("Unlock the full picture: 1 done.")).to_be_visible()
    look(operator, "list, after an action")
    with standstill(operator.darkroom):
        job = operator.send(photo)
        operator.open(f"/admin/uploads/upload/{job}/change/")
        expect(operator.page.get_by_text("Not checked yet.")).to_be_visible()
        look(operator, "record of a job that waits")
        operator.page.get_by_role("button", name="Delete …").click()
        look(operator, "confirmation of a deletion")
    assert operator.console == []


def test_at_twice_the_size_nothing_sticks_out(browser: Browser, darkroom: Installation, photo: File) -> None:
    """200% zoom of a window of 1280 is a window of 640 whose pixels are twice as large."""
    context = browser.new_context(viewport={"width": 640, "height": 360}, device_scale_factor=2)
    visitor = Visitor(darkroom, context)
    visitor.send(photo)
    visitor.expect_completed()
    assert visitor.overflow <= 0
    visitor.open()
    expect(visitor.row("Ready")).to_be_visible()
    assert visitor.overflow <= 0
    context.close()
    assert visitor.accidents == []


def test_who_wants_no_motion_gets_none(visitor: Visitor, large_photo: File) -> None:
    visitor.page.emulate_media(reduced_motion="reduce")
    with half_drawn(visitor.darkroom, lambda: visitor.send(large_photo), visitor.status):
        visitor.expect_progress(visitor.status()["progress"])
        assert visitor.page.evaluate("document.getAnimations().length") == 0
        visitor.page.emulate_media(reduced_motion="no-preference")
        wait_for(lambda: visitor.page.evaluate("document.getAnimations().length") > 0)


def test_only_changes_of_stage_are_announced(visitor: Visitor, large_photo: File) -> None:
    visitor.page.add_init_script(
        """addEventListener('DOMContentLoaded', () => {
            window.announced = [];
            for (const region of document.querySelectorAll('[aria-live], [role=status], [role=alert]'))
                new MutationObserver(() => window.announced.push(region.textContent))
                    .observe(region, { childList: true, characterData: true, subtree: true });
        })"""
    )
    visitor.send(large_photo)
    visitor.expect_completed()
    announced = visitor.page.evaluate("window.announced")
    assert announced[-1] == "Developed"
    assert set(announced) <= set(visitor.headlines)
    assert len(announced) == len(set(announced))
