"""A person in front of the page: what they do, and what they get to see."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from playwright.sync_api import BrowserContext, ConsoleMessage, Error, FilePayload, Frame, Locator, Request, expect

from tests.support.installation import PATIENCE, Answer, Installation, wait_for

expect.set_options(timeout=PATIENCE * 1000)

# Runs before the page's own scripts: keeps what it is told, what it shows, and how far anything has jumped.
RECORDER = """
window.shown = { told: [], progress: [], headlines: [], moved: 0 };
const ask = window.fetch;
window.fetch = async (...request) => {
  const answer = await ask(...request);
  if (answer.status === 200 && answer.url.includes('/api/status/')) {
    window.shown.told.push((await answer.clone().json()).progress);
  }
  return answer;
};
new PerformanceObserver((list) => {
  for (const shift of list.getEntries()) if (!shift.hadRecentInput) window.shown.moved += shift.value;
}).observe({ type: 'layout-shift', buffered: true });
const keep = (list, value) => { if (value && list.at(-1) !== value) list.push(value); };
const look = () => {
  keep(window.shown.progress, document.querySelector('#bar')?.getAttribute('aria-valuenow'));
  keep(window.shown.headlines, document.querySelector('#headline')?.textContent);
};
const all = { subtree: true, childList: true, attributes: true, characterData: true };
new MutationObserver(look).observe(document, all);
"""

DROP = """
(files) => {
  const transfer = new DataTransfer();
  for (const { name, type, data } of files) {
    const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
    transfer.items.add(new File([bytes], name, { type }));
  }
  for (const kind of ['dragover', 'drop']) {
    document.body.dispatchEvent(new DragEvent(kind, { dataTransfer: transfer, bubbles: true, cancelable: true }));
  }
}
"""


class File(NamedTuple):
    name: str
    content: bytes
    type: str = "image/jpeg"

    @property
    def payload(self) -> FilePayload:
        return {"name": self.name, "mimeType": self.type, "buffer": self.content}


class Visitor:
    """One tab; `console` and `accidents` hold what a developer would find in its tools."""

    def __init__(self, darkroom: Installation, context: BrowserContext) -> None:
        self.darkroom = darkroom
        self.context = context
        self.page = context.new_page()
        self.page.set_default_timeout(PATIENCE * 1000)
        self.page.add_init_script(RECORDER)
        self.console: list[str] = []
        self.accidents: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", self._note)
        self.page.on("pageerror", lambda error: self.accidents.append(str(error)))
        self.page.on("request", self._count)
        self._unanswered = 0
        for end in ("requestfinished", "requestfailed"):
            self.page.on(end, self._answer)
        self._tabs = [self]
        self._leaving = False
        self.page.on("framenavigated", self._arrive)
        self.page.on("requestfailed", self._stay)

    def _note(self, message: ConsoleMessage) -> None:
        if message.type not in {"error", "warning"}:
            return
        # The browser says so itself of every answer that is not 2xx, also where that answer is what should come.
        kept = self.console if message.text.startswith("Failed to load resource") else self.accidents
        kept.append(f"{message.text} {message.location['url']}")

    def _count(self, request: Request) -> None:
        own = (self.darkroom.url + "/", f"blob:{self.darkroom.url}/", "data:")
        if not request.url.startswith(own):
            self.accidents.append(f"asked elsewhere: {request.url}")
        self.requests.append(f"{request.method} {urlsplit(request.url).path}")
        self._unanswered += "/api/" in request.url
        self._leaving |= request.is_navigation_request()

    def _arrive(self, _: Frame) -> None:
        self._leaving = False

    def _stay(self, request: Request) -> None:
        # Not only what fails does: what is downloaded is a navigation that ends so.
        self._leaving &= not request.is_navigation_request()

    def _answer(self, request: Request) -> None:
        self._unanswered -= "/api/" in request.url

    @property
    def polls(self) -> int:
        return sum(" /api/status/" in request for request in self.requests)

    def part(self, name: str) -> Locator:
        return self.page.locator(f"#{name}")

    def open(self, path: str = "/") -> None:
        self.page.goto(self.darkroom.url + path)

    def choose(self, *files: File) -> None:
        """By the button, as one does."""
        with self.page.expect_file_chooser() as chooser:
            self.page.get_by_text("Choose photos").click()
        chooser.value.set_files([file.payload for file in files])

    def drop(self, *files: File) -> None:
        packed = [
            {"name": file.name, "type": file.type, "data": base64.b64encode(file.content).decode()} for file in files
        ]
        self.page.evaluate(DROP, packed)

    def row(self, name: str) -> Locator:
        return self.page.get_by_role("listitem").filter(has_text=name)

    def send(self, file: File) -> str:
        """One picture, from the first page to the page of its job; returns the job's id."""
        self.open()
        self.choose(file)
        self.page.wait_for_url("**/jobs/*")
        return self.job

    @property
    def job(self) -> str:
        return urlsplit(self.page.url).path.rsplit("/", 1)[-1]

    @property
    def token(self) -> str:
        return str(self.page.evaluate("localStorage.getItem('darkroom.session')"))

    def ask(self, method: str, path: str) -> Answer:
        """The API, as this visitor."""
        return self.darkroom.request(method, path, X_Session_Token=self.token)

    def status(self, job: str = "") -> Any:
        return self.ask("GET", f"/api/status/{job or self.job}").json

    @property
    def jobs(self) -> list[Any]:
        return list(self.ask("GET", "/api/jobs").json["jobs"])

    def expect_state(self, *states: str) -> None:
        """Wait until the job's page is in one of these."""
        wait_for(lambda: self.page.evaluate("document.querySelector('#job')?.dataset.state") in states)

    def expect_progress(self, value: int) -> None:
        expect(self.part("bar")).to_have_attribute("aria-valuenow", str(value))

    def expect_completed(self) -> None:
        self.expect_state("completed")
        expect(self.part("download")).to_be_visible()
        assert self.progress[-1] == 100

    @property
    def progress(self) -> list[int]:
        """Every value that the bar has had since the page was loaded."""
        return [int(value) for value in self._shown("progress")]

    @property
    def told(self) -> list[int]:
        """Every progress that the server has answered with since then."""
        return [int(value) for value in self._shown("told")]

    @property
    def headlines(self) -> list[str]:
        return [str(value) for value in self._shown("headlines")]

    def _shown(self, what: str) -> Sequence[Any]:
        return list(self.page.evaluate("what => window.shown[what]", what))

    @property
    def moved(self) -> float:
        """The cumulative layout shift since the page was loaded."""
        return float(self.page.evaluate("window.shown.moved"))

    @property
    def overflow(self) -> int:
        """Pixels by which the page is wider than its window."""
        return int(self.page.evaluate("document.documentElement.scrollWidth - innerWidth"))

    def another_tab(self) -> Visitor:
        tab = Visitor(self.darkroom, self.context)
        self._tabs.append(tab)
        return tab

    def leave(self) -> None:
        """Chromium hangs for good when it is to close a page that is just leaving for another."""
        for tab in self._tabs:
            wait_for(tab.has_arrived)
        self.context.close()

    def passes(self) -> bool:
        """Lets the browser tell what has happened meanwhile."""
        return bool(self.page.evaluate("true"))

    def has_all_answers(self) -> bool:
        """Nothing that the page has asked for is still on its way."""
        return self.passes() and self._unanswered == 0

    def has_arrived(self) -> bool:
        """It is not on its way to another page."""
        try:
            return self.page.is_closed() or (self.passes() and not self._leaving)
        except Error:  # the page that was asked went away just then
            return False

    def look_away(self) -> None:
        self._turn(hidden=True)

    def look_back(self) -> None:
        self._turn(hidden=False)

    def _turn(self, *, hidden: bool) -> None:
        self.page.evaluate(
            """(hidden) => {
                Object.defineProperty(document, 'hidden', { configurable: true, get: () => hidden });
                document.dispatchEvent(new Event('visibilitychange'));
            }""",
            hidden,
        )
