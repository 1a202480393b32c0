from collections.abc import Iterator
from decimal import Decimal

import pytest
from django.conf import LazySettings

from tests.support.bucket import SECRET, Bucket, moto_server
from tests.support.gemini import KEY, Gemini, gemini_server, no_call_is_under_way
from tests.support.installation import wait_for


@pytest.fixture
def gemini(settings: LazySettings) -> Iterator[Gemini]:
    """A Gemini of the test's own, and a Darkroom that draws with it."""
    from workflows.generators.gemini import disconnect  # half a second, of each test process

    with gemini_server() as server:
        settings.GENERATOR = "gemini"
        settings.GEMINI_API_KEY = KEY
        settings.GEMINI_BASE_URL = server.url
        settings.GEMINI_MODEL = "gemini-of-the-tests"
        settings.GENERATE_COST_USD = Decimal("0.0789")
        yield server
        wait_for(no_call_is_under_way)
        disconnect()


@pytest.fixture(scope="session")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an S3 server."""
    with moto_server(tmp_path_factory.mktemp("moto")) as url:
        yield url


@pytest.fixture
def bucket(moto: str, settings: LazySettings) -> Iterator[Bucket]:
    """A bucket of the test's own, and a Darkroom that keeps its pictures there."""
    own = Bucket(moto)
    settings.S3_BUCKET = own.name
    settings.S3_ACCESS_KEY_ID = "the-key-id"
    settings.S3_SECRET_ACCESS_KEY = SECRET
    own.use(settings)
    yield own
    own.close()
