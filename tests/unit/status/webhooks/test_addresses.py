"""Where a message may go: public addresses only, judged when they are connected to, each time."""

import socket
from ipaddress import ip_address
from typing import Any

import pytest
from django.conf import LazySettings
from django.core.exceptions import ValidationError

from status.addresses import is_public
from status.posting import Answer, post
from status.webhooks import validate_address
from tests.support.receiver import Receiver
from tests.support.webhook_fixtures import Names

FORBIDDEN = [
    "10.0.0.1",
    "172.16.3.4",
    "192.168.1.1",
    "127.0.0.1",
    "127.8.8.8",
    "0.0.0.0",  # noqa: S104 - that it is refused
    "100.64.0.1",
    "169.254.169.254",
    "169.254.170.2",
    "192.0.0.192",
    "192.88.99.1",
    "198.18.0.1",
    "203.0.113.5",
    "224.0.0.251",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
    "64:ff9b::a00:1",
    "64:ff9b:1::a00:1",
    "2002:a00:1::1",
    "2002:7f00:1::",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    "2001:db8::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fec0::1",
    "ff02::1",
    "5f00::1",
    "3fff::1",
]
PUBLIC = ["93.184.215.14", "1.1.1.1", "8.8.8.8", "2606:4700:4700::1111", "2a00:1450:4001:82b::200e", "::ffff:8.8.8.8"]


@pytest.mark.parametrize("address", FORBIDDEN)
def test_an_address_that_is_not_of_the_public_internet(address: str) -> None:
    assert not is_public(ip_address(address))


@pytest.mark.parametrize("address", PUBLIC)
def test_an_address_of_the_public_internet(address: str) -> None:
    assert is_public(ip_address(address))


@pytest.fixture
def connected(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Every address that a socket has been told to connect to; nothing leaves this machine."""
    tried: list[Any] = []

    def connect(self: socket.socket, address: Any) -> None:
        tried.append(address[0])
        raise ConnectionRefusedError

    monkeypatch.setattr(socket.socket, "connect", connect)
    return tried


def send(url: str) -> Answer:
    return post(url, {"webhook-id": "evt_1"}, "{}")


@pytest.mark.parametrize("address", FORBIDDEN)
def test_a_name_that_leads_there_is_not_connected_to(names: Names, connected: list[Any], address: str) -> None:
    names["innocent.example.com"] = [[address]]
    answer = send("https://innocent.example.com/hook")
    assert connected == []
    assert answer.status is None
    assert "which is not an address on the public internet: not connected." in answer.error


@pytest.mark.parametrize("address", ["93.184.215.14", "2606:4700:4700::1111"])
def test_a_public_one_is_connected_to(names: Names, connected: list[Any], address: str) -> None:
    names["innocent.example.com"] = [[address]]
    answer = send("https://innocent.example.com/hook")
    assert connected == [address]
    assert answer.error == "The connection failed or broke off before there was an answer."


def test_one_bad_address_among_good_ones_is_enough(names: Names, connected: list[Any]) -> None:
    names["innocent.example.com"] = [["93.184.215.14", "10.0.0.1"]]
    assert "10.0.0.1" in send("https://innocent.example.com/hook").error
    assert connected == []


def test_a_name_that_changes_its_answer_between_two_look_ups_gains_nothing(names: Names, connected: list[Any]) -> None:
    names["rebind.example.com"] = [["93.184.215.14"], ["127.0.0.1"]]
    assert "127.0.0.1, which is not" in send("https://rebind.example.com/hook").error
    assert connected == []


def test_a_name_that_changes_its_answer_once_it_was_judged_gains_nothing(names: Names, connected: list[Any]) -> None:
    names["rebind.example.com"] = [["93.184.215.14"], ["93.184.215.14"], ["127.0.0.1"]]
    send("https://rebind.example.com/hook")
    assert connected == ["93.184.215.14"]


@pytest.mark.parametrize(
    "url",
    ["https://127.1/", "https://2130706433/", "https://0x7f.1/", "https://[::ffff:7f00:1]/", "https://localhost/"],
)
def test_addresses_in_disguise(connected: list[Any], url: str) -> None:
    assert "not connected" in send(url).error
    assert connected == []


@pytest.mark.parametrize("url", ["http://innocent.example.com/", "HTTP://innocent.example.com/", "ftp://1.1.1.1/"])
def test_only_https_is_spoken(names: Names, connected: list[Any], url: str) -> None:
    names["innocent.example.com"] = [["93.184.215.14"]]
    assert send(url).error == "The URL does not begin with https://: not connected."
    assert connected == []


def test_a_name_that_nobody_knows(names: Names) -> None:
    names["innocent.example.com"] = [[]]
    assert send("https://innocent.example.com/").error == "The host's name could not be looked up."
    assert send("https://" + "a" * 70 + ".example.com/").error == "The URL does not name a host."


def test_the_environments_proxy_and_netrc_have_no_say(
    hook: Receiver, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    (tmp_path / "netrc").write_text("default login me password mine")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert post(hook.url, {}, "{}", allow_private=True).status == 200
    assert "authorization" not in hook.messages[0].headers


def refused(url: str) -> str:
    with pytest.raises(ValidationError) as caught:
        validate_address(url)
    return str(caught.value.messages[0])


@pytest.fixture
def strict(settings: LazySettings) -> None:
    settings.WEBHOOK_ALLOW_PRIVATE = False


@pytest.mark.usefixtures("strict")
@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("receiver", "begins with https://"),
        ("http://receiver.example.com/", "begins with https://"),
        ("ftp://receiver.example.com/", "begins with https://"),
        ("https:///hook", "begins with https://"),
        ("https://me:mine@receiver.example.com/", "user name or a password"),
        ("https://receiver.example.com/ hook", "not a URL"),
        ("https://receiver.example.com\\@10.0.0.1/", "not a URL"),
        ("https://receiver.example.com/\0", "not a URL"),
        ("https://receiver.example.com:99999/", "not a URL"),
        ("https://[::1", "not a URL"),
        ("https://receiver.example.com/" + "x" * 2000, "not a URL"),
        ("https://" + "x." * 150 + "example.com/", "not a URL"),
        ("https://" + "x" * 64 + ".example.com/", "not a URL"),
        ("https://[v1.x]/", "not a URL"),
        ("https://[receiver.example.com]/", "not a URL"),
        ("https://a..example.com/", "not a URL"),
        ("https://.example.com/", "not a URL"),
        ("https://-.example.com/", "not a URL"),
        ("https://receiver.example.com:0/", "not a URL"),
        ("https://receiver.ex%61mple.com/", "not a URL"),
        ("https://93%2e184.215.14/", "not a URL"),
        ("https://[2606:4700:4700::1111%25lo]/", "not a URL"),
        ("https://receiver.example.com./", "without a dot at its end"),
        ("https://93.184.215.14./", "without a dot at its end"),
        ("https://localhost/", "public internet"),
        ("https://localhost./", "public internet"),
        ("https://intranet/", "public internet"),
        ("https://printer.local/", "public internet"),
        ("https://127.1/", "public internet"),
        ("https://2130706433/", "public internet"),
        ("https://0x7f000001/", "public internet"),
        *((f"https://{address}/", "public internet") for address in ("10.0.0.1", "169.254.169.254", "[::1]")),
        *((f"https://[{address}]/", "public internet") for address in ("fe80::1", "::ffff:10.0.0.1", "64:ff9b::a00:1")),
    ],
)
def test_what_can_never_be_a_receiver_is_refused_in_words(url: str, words: str) -> None:
    assert words in refused(url)


@pytest.mark.usefixtures("strict")
@pytest.mark.parametrize(
    "url",
    [
        "https://receiver.example.com/hook?key=1",
        "https://receiver.example.com:8443",
        "https://RECEIVER.example.com:/",
        "https://my_hooks.example.com/",
        "https://xn--bcher-kva.example/",
        "https://93.184.215.14/",
        "https://[2606:4700:4700::1111]/",
    ],
)
def test_what_may_be_one(url: str) -> None:
    validate_address(url)


def test_for_development_anything_that_speaks_http(hook: Receiver) -> None:
    validate_address(hook.url)
    validate_address("http://localhost:3000/")
    assert "begins with" in refused("ftp://localhost/")
