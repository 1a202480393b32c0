"""A cluster under fire, and the evidence for the checker."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil

from tests.support import pictures
from tests.support.brokers import Broker, broker
from tests.support.installation import PATIENCE, wait_for
from tests.support.proxy import Proxy
from tests.system.chaos.checker import Evidence, Sent
from tests.system.chaos.cluster import ALIAS, ATTEMPTS, LEASE, SWEEP, Cluster, database
from tests.system.chaos.watcher import Watcher
from uploads.models import Upload

RECOVERY = LEASE + SWEEP + 3 * LEASE + 40
"""Seconds: a lease and a sweep, the next hint after a dropped one, and workers that start anew on a busy machine."""
NOTES = ("fault", "claim", "commit", "handed back", "left", "poison", "hang", "transaction", "hint")
SPECIAL = {
    "poison": "WORKER_LOST",
    "hang": "",
    "stuck": "",
    "broken once": "",
    "late": "DEADLINE_EXCEEDED",
    "cancel": "CANCELED",
}
"""Uploads with a fate of their own, and the code that they end with."""


class Run:
    """One cluster under fire, and the evidence."""

    def __init__(self, cluster: Cluster, watcher: Watcher, picture: bytes) -> None:
        self.cluster = cluster
        self.watcher = watcher
        self.picture = picture
        self.sent: list[Sent] = []
        self.outages: list[tuple[float, float]] = []
        self.without_broker: list[str] = []

    def send(self, key: str, source: str = "") -> str:
        """As a careful client does: again with the same key for as long as nothing was acknowledged."""
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            began = time.monotonic()
            answer = self.cluster.send_as(self.picture, key, source)
            took = time.monotonic() - began
            if answer and answer.status == 202:
                job = str(answer.json["jobId"])
                self.watcher.watch(job)
                self.sent.append(Sent(key, job, SPECIAL.get(source, ""), took))
                return job
            assert answer is None or answer.status == 503, answer
            time.sleep(0.2)
        raise AssertionError(f"{key} was not accepted for {PATIENCE} s")

    def evidence(self) -> Evidence:
        found = Evidence(
            sent=self.sent,
            seen=self.watcher.seen,
            journal=self.cluster.journal(*NOTES),
            media=self.cluster.data / "media",
            attempts=ATTEMPTS,
            recovery_limit=RECOVERY,
            outages=self.outages,
            without_broker=self.without_broker,
            alive=set(psutil.pids()),
            restarts=self.cluster.restarts,
        )
        found.load(ALIAS)
        return found

    def wait_until(self, job: str, *stages: str) -> None:
        wait_for(lambda: self.watcher.latest.get(job, {}).get("stage") in stages)

    def settle(self) -> None:
        """All jobs have ended, all pollers have heard of it, and no process is left that was told to stop or whose
        parent was killed."""
        wait_for(lambda: not self.watcher.unfinished())
        wait_for(lambda: not Upload.objects.using(ALIAS).unfinished().exists())
        wait_for(self.watcher.all_heard)
        wait_for(lambda: not self.cluster.told_to_stop())
        wait_for(lambda: not self.cluster.orphans())


@contextmanager
def run(
    folder: Path, kind: str = "embedded", *, spares: bool = True, **environment: str
) -> Iterator[tuple[Run, Proxy | None, Broker | None]]:
    with ExitStack() as stack:
        url, proxy = stack.enter_context(database(folder))
        through = stack.enter_context(broker(kind)) if kind != "embedded" else None
        if through:
            environment["CELERY_BROKER_URL"] = through.url
        cluster = Cluster(folder, url, spares=spares, places={}, **environment)
        yield stack.enter_context(under_fire(cluster)), proxy, through


@contextmanager
def under_fire(cluster: Cluster) -> Iterator[Run]:
    with cluster, Watcher(cluster) as watcher:
        yield Run(cluster, watcher, pictures.encoded(pictures.quarters(48, 32), "PNG"))
