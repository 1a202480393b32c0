"""A small application behind `config.bodies`: tells how much it has read.

`GRACE` is what slow senders have here, `STANDSTILL` how long one waits for a place that does not come. What is sent to
`/held` is answered once there is a file `RELEASED`, as by a storage that hangs; to `/handled` after a moment.
"""

import json
import os
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from config import bodies

bodies.GRACE = float(os.environ["GRACE"])
bodies.STANDSTILL = float(os.environ["STANDSTILL"])

_handled = threading.Semaphore(bodies.PLACES)


def _tell(environment: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    status, told = "200 OK", {"received": 0}
    if environment["PATH_INFO"] != "/unread":
        try:
            told["received"] = len(environment["wsgi.input"].read())
            _handle(environment["PATH_INFO"])
        except OSError:
            status = "503 Service Unavailable"
    body = json.dumps(told).encode()
    start_response(status, [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]


def _handle(path: str) -> None:
    if path == "/held":
        while not Path(os.environ["RELEASED"]).exists():
            time.sleep(0.02)
    if path == "/handled":
        assert _handled.acquire(blocking=False), "more at once than there are places"
        time.sleep(0.02)
        _handled.release()


application = bodies.bounded(_tell, 300_000)
