"""Servers and load for benches: each server on the first core, what asks it on the last."""

import os
import re
import shutil
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import NamedTuple

from tests.support.ports import free_port

CORES = sorted(os.sched_getaffinity(0))
GRANIAN = "--interface wsgi --host 127.0.0.1 --workers 1 --no-ws --log-level warning"


class Page(NamedTuple):
    """What is asked for, and how it must be answered."""

    url: str
    headers: dict[str, str]
    status: int = 200


@contextmanager
def served(application: str, environment: dict[str, str] | None = None, *, threads: int = 4) -> Iterator[str]:
    """One granian process; yields its address once it answers at all."""
    port = free_port()
    granian = str(Path(sys.executable).parent / "granian")
    options = [*GRANIAN.split(), "--port", str(port), "--blocking-threads", str(threads)]
    command = ["taskset", "-c", str(CORES[0]), granian, *options, application]
    with subprocess.Popen(command, env=os.environ | (environment or {})) as server:
        try:
            _wait_for(f"http://127.0.0.1:{port}", server)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()


def _wait_for(url: str, server: subprocess.Popen[bytes]) -> None:
    while server.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5):  # noqa: S310 - this machine's own
                return
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.1)
    sys.exit("The server did not come up.")


def rate(page: Page, seconds: int) -> float:
    """Requests per second with eight connections that always ask. Ends the bench when an answer is not the expected."""
    if not shutil.which("wrk"):
        sys.exit("This needs wrk: apt-get install wrk")
    _check(page)
    sent = [word for name, value in page.headers.items() for word in ("-H", f"{name}: {value}")]
    command = ["taskset", "-c", str(CORES[-1]), "wrk", "-t1", "-c8", f"-d{seconds}s", *sent, page.url]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    if "Non-2xx or 3xx" in told or "Socket errors" in told:
        sys.exit(f"{page.url} did not answer as it should:\n{told}")
    found = re.search(r"Requests/sec:\s+([\d.]+)", told)
    assert found, told
    return float(found[1])


def _check(page: Page) -> None:
    request = urllib.request.Request(page.url, headers=page.headers)  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310
            status = response.status
    except urllib.error.HTTPError as error:
        with error:
            status = error.code
    if status != page.status:
        sys.exit(f"{page.url} answered {status} instead of {page.status}")


def latencies(page: Page, per_second: float, seconds: float, connections: int = 4) -> list[float]:
    """Seconds from when each request was due to the end of its answer, at a steady rate."""
    taken: list[float] = []
    gap, began = connections / per_second, time.perf_counter() + 0.1
    host, path = page.url.removeprefix("http://").split("/", 1)

    def ask(offset: float) -> None:
        os.sched_setaffinity(0, {CORES[-1]})  # of this thread
        connection = HTTPConnection(host, timeout=30)
        due = began + offset
        while due < began + seconds:
            time.sleep(max(0, due - time.perf_counter()))
            connection.request("GET", f"/{path}", headers=page.headers)
            response = connection.getresponse()
            response.read()
            assert response.status == page.status
            taken.append(time.perf_counter() - due)
            due += gap
        connection.close()

    threads = [threading.Thread(target=ask, args=[gap * number / connections]) for number in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sorted(taken)
