"""Which addresses a server on a network has, and that what follows from them fits."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from config.network import addresses

pytestmark = pytest.mark.any_database

ANY = "0.0.0.0"  # noqa: S104
FACTS = """
import json
from config import settings
facts = {"url": settings.PUBLIC_URL, "hosts": settings.ALLOWED_HOSTS, "origins": settings.CSRF_TRUSTED_ORIGINS}
print(json.dumps(facts))
"""


def facts(folder: Path, **environment: str) -> Any:
    own = os.environ | {"DATA_DIR": str(folder), "PORT": "8123"} | environment
    ended = subprocess.run([sys.executable, "-c", FACTS], env=own, capture_output=True, check=True, timeout=100)
    return json.loads(ended.stdout)


def test_all_addresses_but_those_for_itself() -> None:
    known = psutil.net_if_addrs().values()
    own = {each.address for card in known for each in card if each.family.name == "AF_INET"}
    assert set(addresses(ANY)) == {address for address in own if not address.startswith("127.")}


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "localhost", "::1"])
def test_none_when_only_this_machine_reaches_it(host: str) -> None:
    assert addresses(host) == []


def test_one_address_is_that_address() -> None:
    assert addresses("192.0.2.7") == ["192.0.2.7"]
    assert addresses("2001:db8::7") == ["[2001:db8::7]"]


def test_by_default_a_server_is_for_this_machine_alone(tmp_path: Path) -> None:
    found = facts(tmp_path)
    assert found["url"] == "http://127.0.0.1:8123"
    assert found["hosts"] == ["127.0.0.1", "[::1]", "localhost"]


def test_on_a_network_links_and_hosts_are_its_own(tmp_path: Path) -> None:
    found = facts(tmp_path, HOST="192.0.2.7")
    assert found["url"] == "http://192.0.2.7:8123"
    assert {"192.0.2.7", "127.0.0.1", "localhost"} < set(found["hosts"])
    assert found["origins"] == [found["url"]]


def test_a_public_url_is_not_added_to(tmp_path: Path) -> None:
    found = facts(tmp_path, HOST=ANY, PUBLIC_URL="https://darkroom.example/")
    assert found["url"] == "https://darkroom.example"
    assert found["hosts"] == ["127.0.0.1", "[::1]", "darkroom.example", "localhost"]
