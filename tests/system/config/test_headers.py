"""Headers that mean harm, over a real server: each is answered at once, and in Darkroom's own words."""

import json
from collections.abc import Iterator

import psutil
import pytest

from tests.support.web import Web, web

pytestmark = pytest.mark.any_database


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    with web(tmp_path_factory.mktemp("headers")) as running:
        yield running


def form(text: bytes, *parts: bytes) -> bytes:
    return (
        b"".join(b"--x\r\nContent-Disposition: form-data; " + part + b"\r\n\r\n" + text + b"\r\n" for part in parts)
        + b"--x--\r\n"
    )


@pytest.mark.parametrize(
    "charset", ["rot13", "idna", "punycode", "utf-7", "zip", "hex", "undefined", "nothing", '"', ""]
)
def test_a_charset_changes_nothing(server: Web, charset: str) -> None:
    asked = server.ask("GET", "/?a=b", f"Content-Type: text/plain; charset={charset}")
    assert asked.status == 200
    kind = f"Content-Type: multipart/form-data; boundary=x; charset={charset}"
    sent = server.ask("POST", "/api/uploads", kind, body=form("größer".encode(), b'name="source"'))
    assert (sent.status, json.loads(sent.body)["error"]["code"]) == (400, "MISSING_IMAGE")


@pytest.mark.parametrize(
    "kind",
    [
        "text/plain; x*=idna''xn--%FF",
        "multipart/form-data; boundary=x; x*=idna''xn--%FF",
        "multipart/form-data; boundary=x; boundary*=rot13''x",
        "multipart/form-data; x*0=a; x*99999999999999999999=b",
        "multipart/form-data; boundary=x; x*=a%00b''abc",
        "multipart/form-data; boundary=\xff",
        'multipart/form-data; boundary="',
        "text/plain" + ";" * 10_000,
    ],
)
def test_a_type_that_cannot_be_read_is_one_that_is_not_taken(server: Web, kind: str) -> None:
    assert server.ask("GET", "/", f"Content-Type: {kind}").status == 200
    sent = server.ask("POST", "/api/uploads", f"Content-Type: {kind}", body=form(b"a", b'name="source"'))
    assert (sent.status, json.loads(sent.body)["success"]) == (400, False)


@pytest.mark.parametrize(
    "part",
    [
        b"name*=rot13''abc",
        b"name=\"image\"; filename*=idna''xn--%ff%fe.jpg",
        b"name=\"image\"; filename*=zlib''abc",
        b"name=\"image\"; filename*=utf-16''%00%d8.jpg",
        b"name=\"image\"; filename*=utf-7''+2AA-.jpg",
        b'name="image"; filename="' + b"a" * 20_000 + b'"',
        b'name="image"; filename="a\0b.jpg"',
    ],
)
def test_a_part_whose_name_is_in_a_strange_encoding_is_no_picture(server: Web, part: bytes) -> None:
    sent = server.ask("POST", "/api/uploads", "Content-Type: multipart/form-data; boundary=x", body=form(b"abc", part))
    assert sent.status in {400, 415}
    assert json.loads(sent.body)["success"] is False


@pytest.mark.parametrize(
    ("path", "header"),
    [
        ("/admin/login/", 'Cookie: sessionid="' + "\\" * 15_000 + '"'),
        ("/admin/login/", "Cookie: " + "a=b;" * 3_500),
        ("/api/schema", "Accept: " + "a/b;q=1," * 1_800),
        ("/api/schema", "X-Forwarded-For: " + "1.1.1.1," * 1_800),
        ("/static/js/upload.js", "Range: bytes=" + "0-1," * 3_500),
        ("/", "Content-Type: text/plain" + "; x=a" * 2_800),
    ],
    ids=["quoted cookie", "cookies", "accept", "forwarded", "range", "type"],
)
def test_a_header_as_long_as_may_be_costs_little(server: Web, path: str, header: str) -> None:
    few, many = (processor_seconds(server, path, header[:length]) for length in (2_000, len(header)))
    # Seven times as long: if each letter were compared with those before it, it would be fifty times as much.
    assert many < 20 * few + 0.1


def processor_seconds(server: Web, path: str, header: str) -> float:
    workers = [
        process
        for process in psutil.Process().children(recursive=True)
        if any(connection.laddr.port == server.port for connection in process.net_connections())
    ]

    def so_far() -> float:
        return sum(sum(process.cpu_times()[:2]) for process in workers)

    tries = []
    for _ in range(3):
        before = so_far()
        for _ in range(5):
            assert server.ask("GET", path, header).status in {200, 206, 302, 404, 406, 416}
        tries.append((so_far() - before) / 5)
    return min(tries)


def test_a_header_without_measure_is_refused_before_it_is_read(server: Web) -> None:
    for size in (20_000, 100_000, 400_000):
        assert server.ask("GET", "/admin/login/", 'Cookie: a="' + "\\" * size + '"').status in {0, 431}
    assert server.ask("GET", "/healthz").status == 200


def test_an_address_without_measure_is_refused(server: Web) -> None:
    assert server.ask("GET", "/?" + "a" * 100_000).status in {0, 414, 431}
    assert server.ask("GET", "/healthz").status == 200
