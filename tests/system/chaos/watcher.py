"""Pollers that read all jobs all the time, each at its own pace, and keep what they saw."""

import random
import threading
import time
from http.client import HTTPException
from typing import Any, NamedTuple

from tests.support.installation import Installation


class Seen(NamedTuple):
    """One answer. `document` is None when nothing came of the request, or something that is no JSON."""

    at: float
    poller: int
    job: str
    feed: str
    """status or events"""
    after: int
    code: int
    document: Any
    retry_after: str | None


class Watcher:
    def __init__(self, installation: Installation, pollers: int = 3) -> None:
        self.seen: list[Seen] = []
        self.latest: dict[str, dict[str, Any]] = {}
        self._installation = installation
        self._runs: dict[str, int] = {}
        """Of each job that is watched, the run that is to end."""
        self._stopping = threading.Event()
        self._done: list[dict[str, int]] = [{} for _ in range(pollers)]
        """Of each poller, the run of each job that it has heard the end of."""
        self._threads = [threading.Thread(target=self._poll, args=[number]) for number in range(pollers)]

    def watch(self, job: str) -> None:
        self._runs.setdefault(job, 1)

    def watch_again(self, job: str) -> None:
        """A job that had ended goes on, in another run."""
        self._runs[job] += 1

    def finished(self, job: str) -> bool:
        last = self.latest.get(job, {"isTerminal": False})
        return bool(last["isTerminal"] and last["run"] >= self._runs[job])

    def unfinished(self) -> list[str]:
        return [job for job in list(self._runs) if not self.finished(job)]

    def all_heard(self) -> bool:
        """Each poller knows of each job that it has ended, and has all of its events."""
        return not any(self._left(done) for done in self._done)

    def look(self, job: str) -> Seen:
        """One more poll, by a poller that does nothing else."""
        self._ask(-1, job, "status", 0)
        return next(seen for seen in reversed(self.seen) if seen.poller == -1)

    def _left(self, done: dict[str, int]) -> list[str]:
        return [job for job, run in list(self._runs.items()) if done.get(job, 0) < run]

    def _poll(self, poller: int) -> None:
        pace = random.Random(poller)
        last: dict[str, int] = {}
        done = self._done[poller]
        while not self._stopping.wait(0.02):
            for job in self._left(done):
                status = self._ask(poller, job, "status", 0)
                events = self._ask(poller, job, "events", last.get(job, 0), limit=pace.choice([1, 3, 100]))
                if events and events["events"]:
                    last[job] = events["lastEventId"]
                if status and status["isTerminal"] and last.get(job, 0) >= status["eventCount"]:
                    done[job] = status["run"]
                if self._stopping.wait(pace.uniform(0, 0.05)):
                    return

    def _ask(self, poller: int, job: str, feed: str, after: int, limit: int = 0) -> Any:
        path = f"/api/status/{job}" + (f"/events?lastEventId={after}&limit={limit}" if feed == "events" else "")
        try:
            answer = self._installation.request("GET", path)
            code, document, retry_after = answer.status, answer.json, answer.headers.get("Retry-After")
        except (OSError, HTTPException, ValueError):
            code, document, retry_after = 0, None, None
        self.seen.append(Seen(time.monotonic(), poller, job, feed, after, code, document, retry_after))
        if code != 200:
            return None
        if feed == "status":
            self.latest[job] = document
        return document

    def __enter__(self) -> "Watcher":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()
