from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser

from tests.support import pictures
from tests.support.installation import Installation, installation
from tests.system.pages.browser import chromium
from tests.system.pages.visitor import File, Visitor

MOST_BYTES, MOST_MEGAPIXELS = 2 * 1024 * 1024, 12


@pytest.fixture(scope="package")
def darkroom(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    folder = tmp_path_factory.mktemp("installation")
    limits = {"UPLOAD_MAX_BYTES": str(MOST_BYTES), "UPLOAD_MAX_PIXELS": str(MOST_MEGAPIXELS * 1_000_000)}
    with installation(folder, SWEEP_SECONDS="1", **limits) as running:
        yield running


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


@pytest.fixture
def newcomer(browser: Browser, darkroom: Installation) -> Iterator[Callable[[], Visitor]]:
    """Visitors with a browser of their own each. None of their pages may ever stumble."""
    visitors: list[Visitor] = []

    def come() -> Visitor:
        visitor = Visitor(darkroom, browser.new_context(accept_downloads=True))
        visitors.append(visitor)
        return visitor

    yield come
    for visitor in visitors:
        visitor.leave()
    assert [accident for visitor in visitors for accident in visitor.accidents] == []


@pytest.fixture
def visitor(newcomer: Callable[[], Visitor]) -> Iterator[Visitor]:
    """The one of most tests, in whose console nothing at all may be."""
    visitor = newcomer()
    yield visitor
    assert visitor.console == []


@pytest.fixture(scope="package")
def photo() -> File:
    return File("lake.jpg", pictures.encoded(pictures.landscape(600, 400), "JPEG", quality=85))


@pytest.fixture(scope="package")
def large_photo() -> File:
    """Large enough that developing it takes some seconds."""
    return File("wide lake.jpg", pictures.encoded(pictures.landscape(1600, 1200), "JPEG", quality=85))
