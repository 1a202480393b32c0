"""Darkroom from pages on other origins: those that CORS_ORIGINS lists send, watch and show; others get nothing."""

import shutil
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.support.installation import PATIENCE, Installation, installation, wait_for
from tests.support.ports import free_port
from tests.support.readme import block
from tests.support.required import cannot
from tests.system.pages.visitor import File

pytestmark = pytest.mark.any_database

ROOT = Path(__file__).parents[3]
PACKAGES = ["react@19", "react-dom@19", "vite@7", "@vitejs/plugin-react@5"]
PLAIN = """<!doctype html><html lang="en"><title>A shop</title><link rel="icon" href="data:,">
<body><input type="file">{more}</body></html>"""


@pytest.fixture(scope="module")
def shop_port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def dev_port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def darkroom(tmp_path_factory: pytest.TempPathFactory, shop_port: int, dev_port: int) -> Iterator[Installation]:
    origins = f"http://localhost:{shop_port}, http://localhost:{dev_port}"
    with installation(tmp_path_factory.mktemp("installation"), SWEEP_SECONDS="1", CORS_ORIGINS=origins) as running:
        yield running


@pytest.fixture(scope="module")
def shop(shop_port: int) -> Iterator[str]:
    """The origin of a server that knows nothing of Darkroom. Its page has the HTML that the address asks for. It can
    also be opened at 127.0.0.1, which is another origin."""

    class Shop(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(PLAIN.format(more=unquote(urlsplit(self.path).query)).encode())

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as it is called
            pass

    server = ThreadingHTTPServer(("127.0.0.1", shop_port), Shop)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://localhost:{shop_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context()
    page = context.new_page()
    page.set_default_timeout(PATIENCE * 1000)
    yield page
    context.close()


SEND = """
async (base) => {
  const ask = async (path, options) => (await fetch(base + path, { method: 'POST', ...options }));
  const { sessionToken: token } = await (await ask('/api/sessions')).json();
  const body = new FormData();
  body.append('image', document.querySelector('input').files[0]);
  const answer = await ask('/api/uploads', { body, headers: { 'X-Session-Token': token, 'Idempotency-Key': 'one' } });
  const again = await ask('/api/uploads', { body, headers: { 'X-Session-Token': token, 'Idempotency-Key': 'one' } });
  const { jobId } = await answer.json();
  const read = ['Location', 'Retry-After', 'X-Request-ID'].map((name) => answer.headers.get(name));
  return { token, jobId, read, replayed: again.headers.get('Idempotent-Replayed') };
}
"""
WATCH = """
async ({ base, jobId, token }) => {
  const { useStatus } = await import(`${base}/static/js/use-status.js`);
  const seen = [];
  await new Promise((over) => {
    const onChange = (snapshot) => {
      seen.push({ progress: snapshot.progress, status: snapshot.status, error: snapshot.error?.kind ?? null });
      if (snapshot.isComplete || snapshot.isFailed || snapshot.error) over();
    };
    useStatus(jobId, { base, token, onChange });
  });
  return seen;
}
"""
SHOW = """
async ({ base, jobId, token }) => {
  const headers = { 'X-Session-Token': token };
  const poll = await fetch(`${base}/api/status/${jobId}`, { headers });
  const { resultId } = await poll.json();
  const etag = poll.headers.get('ETag');
  const same = await fetch(`${base}/api/status/${jobId}`, { headers: { ...headers, 'If-None-Match': etag } });
  const { previewUrl } = await (await fetch(`${base}/api/results/${resultId}`, { headers })).json();
  const image = document.body.appendChild(new Image());
  image.src = previewUrl; // as a page shows it, which sends no Origin; the script's own request comes after
  await image.decode();
  const picture = await createImageBitmap(await (await fetch(previewUrl)).blob());
  return { same: same.status, shown: [image.naturalWidth, image.naturalHeight], read: [picture.width, picture.height] };
}
"""


def send(page: Page, darkroom: Installation, photo: File) -> dict[str, Any]:
    page.set_input_files("input", [photo.payload])
    sent: dict[str, Any] = page.evaluate(SEND, darkroom.url)
    return sent


def test_a_page_on_a_listed_origin_sends_watches_and_shows(
    darkroom: Installation, shop: str, page: Page, large_photo: File
) -> None:
    page.goto(shop)
    sent = send(page, darkroom, large_photo)
    location, retry_after, request_id = sent["read"]
    assert location == f"/api/status/{sent['jobId']}"
    assert int(retry_after) >= 1
    assert request_id
    assert sent["replayed"] == "true"
    seen = page.evaluate(WATCH, {"base": darkroom.url, **sent})
    percents = [snapshot["progress"] for snapshot in seen]
    assert percents == sorted(percents)
    assert seen[-1] == {"progress": 100, "status": "completed", "error": None}
    shown = page.evaluate(SHOW, {"base": darkroom.url, **sent})
    assert shown["same"] == 304
    assert shown["shown"] == shown["read"]
    assert min(shown["read"]) > 100


def test_it_reads_why_there_is_nothing(darkroom: Installation, shop: str, page: Page, photo: File) -> None:
    page.goto(shop)
    sent = send(page, darkroom, photo)
    for other, kind in (({"token": "unknown"}, "unauthorized"), ({"jobId": "nonsense"}, "not-found")):
        seen = page.evaluate(WATCH, {"base": darkroom.url, **sent, **other})
        assert seen[-1]["error"] == kind


def test_one_script_tag_shows_a_job_there_and_sends_no_token_that_is_not_its_own(
    darkroom: Installation, shop: str, page: Page, photo: File
) -> None:
    page.goto(shop)
    sent = send(page, darkroom, photo)
    page.evaluate("localStorage.setItem('darkroom.session', 'of-this-shop')")
    tokens: list[str | None] = []
    page.on("request", lambda request: tokens.append(request.headers.get("x-session-token")))
    div = '<div id="{}" data-upload-status="{}" data-base="{}" {}></div>'
    mine = div.format("mine", sent["jobId"], darkroom.url, f'data-token="{sent["token"]}"')
    bare = div.format("bare", sent["jobId"], darkroom.url, "")
    script = f'<script type="module" src="{darkroom.url}/static/js/upload-status.js"></script>'
    page.goto(f"{shop}/?{quote(script + mine + bare)}")
    expect(page.locator("#mine")).to_have_text("Ready")
    expect(page.locator("#bare")).to_contain_text("X-Session-Token")
    assert "of-this-shop" not in tokens


def test_a_page_on_an_origin_that_is_not_listed_gets_nothing(
    darkroom: Installation, shop: str, page: Page, photo: File
) -> None:
    page.goto(shop)
    sent = send(page, darkroom, photo)
    assert page.evaluate(WATCH, {"base": darkroom.url, **sent})[-1]["status"] == "completed"
    result = darkroom.request("GET", f"/api/status/{sent['jobId']}", X_Session_Token=sent["token"]).json["resultId"]
    links = darkroom.request("GET", f"/api/results/{result}", X_Session_Token=sent["token"]).json
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.goto(shop.replace("localhost", "127.0.0.1"))
    assert page.evaluate(WATCH, {"base": darkroom.url, **sent})[-1] == {
        "progress": 0,
        "status": None,
        "error": "offline",
    }
    reads = "url => fetch(url, { method: url.endsWith('sessions') ? 'POST' : 'GET' }).then(() => 'read', (e) => e.name)"
    for address in (f"{darkroom.url}/api/sessions", f"{darkroom.url}/api/looks", links["previewUrl"]):
        assert page.evaluate(reads, address) == "TypeError"
    assert sum("blocked by CORS policy" in line for line in said) >= 4


@pytest.fixture
def dev_server(tmp_path: Path, dev_port: int) -> Iterator[str]:
    """The origin of a React application with the README's component, on Vite's own server."""
    npm = shutil.which("npm") or cannot("This needs npm, which is not installed.")
    (tmp_path / "package.json").write_text('{"private": true, "type": "module"}')
    install = [npm, "install", "--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts", *PACKAGES]
    done = subprocess.run(install, cwd=tmp_path, capture_output=True, text=True, timeout=2 * PATIENCE)
    if done.returncode:
        cannot(f"npm could not install {', '.join(PACKAGES)}: {done.stderr}")
    (tmp_path / "src").mkdir()
    shutil.copy(ROOT / "static/js/use-status.js", tmp_path / "src")
    (tmp_path / "index.html").write_text('<main id="root"></main><script type="module" src="/src/main.jsx"></script>')
    (tmp_path / "src/main.jsx").write_text(
        'import { StrictMode } from "react";\nimport { createRoot } from "react-dom/client";\n'
        'import Develop from "./Develop.jsx";\n'
        'createRoot(document.getElementById("root")).render(<StrictMode><Develop /></StrictMode>);\n'
    )
    (tmp_path / "vite.config.js").write_text(
        'import react from "@vitejs/plugin-react";\nexport default { plugins: [react()] };\n'
    )
    origin = f"http://localhost:{dev_port}"
    vite = ["node_modules/.bin/vite", "--host", "127.0.0.1", "--port", str(dev_port), "--strictPort"]
    with (tmp_path / "log").open("w") as log, subprocess.Popen(vite, cwd=tmp_path, stdout=log, stderr=log) as process:
        try:
            wait_for(lambda: process.poll() is not None or _answers(f"http://127.0.0.1:{dev_port}"))
            assert process.poll() is None, (tmp_path / "log").read_text()
            yield origin
        finally:
            process.terminate()


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=PATIENCE):  # noqa: S310 - this machine's own
            return True
    except urllib.error.URLError:
        return False


def test_the_readmes_component_develops_a_picture_on_a_react_dev_server(
    darkroom: Installation, tmp_path: Path, dev_server: str, page: Page, photo: File
) -> None:
    component = block("// src/Develop.jsx")
    assert "http://127.0.0.1:8000" in component
    (tmp_path / "src/Develop.jsx").write_text(component.replace("http://127.0.0.1:8000", darkroom.url))
    accidents: list[str] = []
    page.on("pageerror", lambda error: accidents.append(str(error)))
    page.goto(dev_server)
    page.set_input_files("input", [photo.payload])
    picture = page.get_by_role("img")
    expect(picture).to_be_visible()
    wait_for(lambda: page.evaluate("document.querySelector('img').naturalWidth > 100"))
    expect(page.get_by_role("progressbar")).to_have_attribute("value", "100")
    assert accidents == []
