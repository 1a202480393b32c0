"""How quickly the outside is told, and what PostHog costs a poll: `python -m tests.benchmarks.outside`.

Publishing and delivering run as they do in their workers; the receiver is a process of its own, and verifies nothing.
Polls are asked of three servers in turn: without a key, with a PostHog, and with one that takes connections and never
answers.
"""

import json
import multiprocessing
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import cycle, islice
from typing import Any

from tests.benchmarks import report
from tests.benchmarks.environment import darkroom
from tests.benchmarks.serving import Page, latencies, served
from tests.support.posthog import posthog
from tests.support.receiver import Request, receiver

UPLOADS = 500
TICK = 2.0
"""Seconds between two rounds of the publisher: beat's."""


def main() -> None:
    parser = report.options(__doc__)
    parser.add_argument("--database", choices=["sqlite", "postgresql"], default="postgresql")
    parser.add_argument("--events", type=int, default=10_000)
    parser.add_argument("--per-second", type=float, default=100, help="polls, and changes of stage, at a steady rate")
    parser.add_argument("--seconds", type=float, default=15, help="of each steady rate")
    chosen = parser.parse_args()
    rates = report.Table(f"changes of stage at once, {chosen.database}", "/s", "published", guarded=())
    cpu = report.Table(f"CPU for each, {chosen.database}", "ms", "published", more_is_better=False)
    title = f"until it arrives, {chosen.per_second:g} a second, {chosen.database}"
    arrival = report.Table(title, "s", "p50", more_is_better=False, guarded=())
    polls = report.Table(f"poll's p99, {chosen.database}", "ms", "without a key", more_is_better=False, guarded=())
    with darkroom(chosen.database, WEBHOOK_ALLOW_PRIVATE="1"):
        with _receiver() as (url, lags):
            for _ in range(chosen.rounds):
                _backlog(url, lags, chosen.events, rates, cpu)
                _steady(lags, chosen.per_second, chosen.seconds, arrival)
        with _polled() as pages:
            for _ in range(chosen.rounds):
                for name, page in pages.items():
                    taken = latencies(page, chosen.per_second, chosen.seconds)
                    polls.add(name, 1000 * taken[int(0.99 * len(taken))])
    report.finish([rates, cpu, arrival, polls], chosen)


def _receive(port: Any, lags: Any) -> None:
    def takes(request: Request) -> None:
        request.answer(204)
        with request.server.lock:
            body = request.server.messages.pop().body
        happened = datetime.fromisoformat(json.loads(body)["timestamp"])
        lags.put((datetime.now(UTC) - happened).total_seconds())

    with receiver(takes) as server:
        port.put(server.url)
        threading.Event().wait()


@contextmanager
def _receiver() -> Iterator[tuple[str, Any]]:
    context = multiprocessing.get_context("spawn")
    port, lags = context.Queue(), context.Queue()
    process = context.Process(target=_receive, args=[port, lags], daemon=True)
    process.start()
    try:
        yield port.get(timeout=60), lags
    finally:
        process.kill()


def _backlog(url: str, lags: Any, count: int, rates: report.Table, cpu: report.Table) -> None:
    """Of this process; the machine may have others to see to."""
    from status import deliverer, outbox
    from status.models import WebhookEndpoint

    WebhookEndpoint.objects.get_or_create(url=url)
    _happen(count)
    for name, work in {"published": outbox.publish, "delivered": deliverer.deliver}.items():
        began, used = time.perf_counter(), time.process_time()
        while work():
            pass
        rates.add(name, count / (time.perf_counter() - began))
        cpu.add(name, 1000 * (time.process_time() - used) / count)
    for _ in range(count):
        lags.get(timeout=60)


def _happen(count: int) -> None:
    """So many changes of stage are in the outbox, without the work that makes them."""
    from tests.support.factories import SessionFactory, UploadFactory
    from uploads.models import Event, OutboxEntry

    session = SessionFactory.create()
    uploads = [UploadFactory.create(session=session) for _ in range(min(UPLOADS, count))]
    of = islice(cycle(uploads), count)
    events = Event.objects.bulk_create(
        (
            Event(upload=upload, seq=1 + number, type="step.completed", level="info", message="The picture is fine.")
            for number, upload in enumerate(of)
        ),
        batch_size=500,
    )
    OutboxEntry.objects.bulk_create(
        (OutboxEntry(event=event, upload_id=event.upload_id, type="job.stage_changed") for event in events),
        batch_size=500,
    )


def _steady(lags: Any, per_second: float, seconds: float, arrival: report.Table) -> None:
    """As it is from day to day: the publisher's ticks, and a round of deliveries after each."""
    from django.db import connection

    from status import deliverer, outbox

    over = threading.Event()

    def tells() -> None:
        while not over.wait(TICK):
            if outbox.publish():
                deliverer.deliver()
        connection.close()

    teller = threading.Thread(target=tells)
    teller.start()
    count, began = 0, time.perf_counter()
    while time.perf_counter() < began + seconds:
        _happen(1)
        count += 1
        time.sleep(max(0, began + count / per_second - time.perf_counter()))
    found = sorted(lags.get(timeout=60) for _ in range(count))
    over.set()
    teller.join()
    arrival.add("p50", found[len(found) // 2])
    arrival.add("p99", found[int(0.99 * len(found))])


@contextmanager
def _polled() -> Iterator[dict[str, Page]]:
    from tests.benchmarks.poll import job_under_way

    job, token = job_under_way()
    key = {"POSTHOG_API_KEY": "phc_test"}
    with (
        posthog() as hog,
        socket.create_server(("127.0.0.1", 0), backlog=512) as silent,
        served("config.wsgi:application") as without,
        served("config.wsgi:application", key | {"POSTHOG_HOST": hog.url}) as up,
        served(
            "config.wsgi:application", key | {"POSTHOG_HOST": f"http://127.0.0.1:{silent.getsockname()[1]}"}
        ) as down,
    ):
        servers = {"without a key": without, "with PostHog": up, "with a PostHog that hangs": down}
        yield {name: Page(f"{server}/api/status/{job}", {"X-Session-Token": token}) for name, server in servers.items()}


if __name__ == "__main__":
    main()
