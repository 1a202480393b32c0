"""What came of a job: beside what was sent, and on the way to somebody's disk."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from playwright.sync_api import Download, Route, expect

from tests.support.installation import Installation, wait_for
from tests.system.pages.operator import manage
from tests.system.pages.visitor import File, Visitor

pytestmark = pytest.mark.any_database


def kept(visitor: Visitor, button: str) -> Download:
    """What the browser saves; the page is still there."""
    before = visitor.page.url
    with visitor.page.expect_download() as download:
        visitor.part(button).click()
    assert download.value.failure() is None
    assert visitor.page.url == before
    return download.value


def test_before_is_on_the_left_of_the_handle_and_after_on_its_right(visitor: Visitor, photo: File) -> None:
    visitor.send(photo)
    visitor.expect_completed()
    expect(visitor.part("compare")).to_be_visible()
    for cut, seen in ((50, ["original", "preview"]), (100, ["original", "original"]), (0, ["preview", "preview"])):
        visitor.part("compare").fill(str(cut))
        assert visitor.page.evaluate(SEEN) == seen, cut


# Which of the two is seen at a quarter of the width, and at three quarters.
SEEN = """
() => [0.25, 0.75].map((share) => {
  const { left, top, width, height } = document.querySelector('#preview').getBoundingClientRect();
  const there = document.elementsFromPoint(left + width * share, top + height / 2).map(({ id }) => id);
  return there.filter((id) => id === 'original' || id === 'preview').join();
})
"""


def test_a_page_left_open_gets_new_links_before_it_saves(visitor: Visitor, photo: File) -> None:
    stale = (datetime.now(UTC) - timedelta(minutes=1)).isoformat()

    def late(route: Route) -> None:
        said = route.fetch()
        route.fulfill(response=said, json=said.json() | {"expiresAt": stale, "downloadUrl": f"{said.url}/expired"})

    visitor.page.route("**/api/results/*", late, times=1)
    visitor.send(photo)
    visitor.expect_completed()
    expect(visitor.part("download")).to_have_attribute("href", re.compile("/expired$"))
    saved = kept(visitor, "download")
    assert saved.suggested_filename == f"darkroom-{visitor.job}-preview.webp"
    asked = [request for request in visitor.requests if "/api/results/" in request]
    assert len([request for request in asked if not request.endswith("/expired")]) == 2


def test_pictures_of_another_host_are_saved_and_not_opened(
    newcomer: Callable[[], Visitor], darkroom: Installation, photo: File
) -> None:
    """As with a bucket: a browser takes no `download` from a page for what comes from elsewhere."""
    visitor = newcomer()
    visitor.page.goto(darkroom.url.replace("127.0.0.1", "localhost"))
    visitor.choose(photo)
    visitor.page.wait_for_url("**/jobs/*")
    unlock = f"from uploads.models import Upload; Upload.objects.get(pk='{visitor.job}').unlock()"
    wait_for(lambda: visitor.status()["isTerminal"])
    assert manage(darkroom, "shell", "-c", unlock).returncode == 0
    visitor.page.reload()
    visitor.expect_completed()
    assert kept(visitor, "download").suggested_filename == f"darkroom-{visitor.job}-preview.webp"
    assert kept(visitor, "full").suggested_filename == f"darkroom-{visitor.job}-full.jpg"
    visitor.accidents[:] = [accident for accident in visitor.accidents if not accident.startswith("asked elsewhere")]


def test_a_picture_opened_by_itself_is_shown_and_breaks_no_policy(visitor: Visitor, photo: File) -> None:
    visitor.send(photo)
    visitor.expect_completed()
    page, said = visitor.context.new_page(), list[str]()  # without the recorder, which is a script
    page.on("console", lambda message: said.append(message.text))
    page.goto(str(visitor.part("preview").get_attribute("src")))
    assert page.evaluate("document.images[0].naturalWidth") > 0
    assert page.evaluate("document.images[0].style.length") > 0, "the browser's own page has its style"
    assert page.evaluate("origin") == "null", "it is nobody's"
    assert said == []
