"""What a page costs, and how it behaves while it loads."""

import pytest
from playwright.sync_api import expect

from tests.support.installation import wait_for
from tests.system.pages.visitor import File, Visitor

pytestmark = pytest.mark.any_database


def test_the_first_page_is_light(visitor: Visitor) -> None:
    sizes: list[float] = []
    network = visitor.context.new_cdp_session(visitor.page)
    network.send("Network.enable")
    network.on("Network.loadingFinished", lambda event: sizes.append(event["encodedDataLength"]))
    visitor.open()
    visitor.page.wait_for_load_state("networkidle")
    assert len(sizes) > 10, "the page came from somewhere else than the network"
    assert sum(sizes) <= 90 * 1024


def test_the_largest_thing_on_the_first_page_is_text_that_is_there_at_once(visitor: Visitor) -> None:
    """Its time is the page's own first paint, whatever the machine's: nothing that comes later is larger."""
    visitor.page.add_init_script(
        """window.painted = { first: null, largest: [] };
        new PerformanceObserver((list) => {
            for (const entry of list.getEntries()) if (entry.name === 'first-contentful-paint')
                window.painted.first = entry.startTime;
        }).observe({ type: 'paint', buffered: true });
        new PerformanceObserver((list) => {
            for (const { startTime, element } of list.getEntries())
                window.painted.largest.push({ at: startTime, tag: element?.tagName });
        }).observe({ type: 'largest-contentful-paint', buffered: true });"""
    )
    visitor.open()
    visitor.page.wait_for_load_state("networkidle")
    wait_for(lambda: visitor.page.evaluate("window.painted.first !== null && window.painted.largest.length > 0"))
    painted = visitor.page.evaluate("window.painted")
    assert painted["largest"][-1]["tag"] in {"H1", "H2", "P"}
    assert painted["largest"][-1]["at"] == painted["first"]


@pytest.mark.parametrize(("width", "height"), [(360, 800), (1280, 800)], ids=["phone", "desktop"])
def test_nothing_jumps_and_nothing_sticks_out(visitor: Visitor, photo: File, width: int, height: int) -> None:
    visitor.page.set_viewport_size({"width": width, "height": height})
    visitor.open()
    visitor.page.wait_for_load_state("networkidle")
    assert visitor.moved == 0
    assert visitor.overflow <= 0
    visitor.send(photo)
    visitor.expect_completed()
    assert visitor.moved == 0
    assert visitor.overflow <= 0
    visitor.open()
    row = visitor.row(photo.name)
    expect(row).to_contain_text("Ready")
    expect(row.locator("img")).to_be_visible()
    assert visitor.overflow <= 0
