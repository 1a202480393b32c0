"""Uploads while everything breaks; then the checker judges.

pytest                                                     a short run on the embedded broker
pytest tests/chaos --chaos-uploads 450 --chaos-brokers embedded,amqp,redis
"""

import itertools
import random
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import partial
from http.client import HTTPException
from pathlib import Path

import pytest
from django.db.models import F

from tests.support.installation import PATIENCE, wait_for
from tests.support.proxy import Proxy
from tests.system.chaos.checker import STEPS, check, table
from tests.system.chaos.cluster import ALIAS
from tests.system.chaos.run import SPECIAL, Run, run
from uploads.models import Upload

IN_FLIGHT = 6


def every_fault(seed: int) -> list[tuple[str, str, str]]:
    """Each boundary × each step × each way to break, in an order that is the seed's."""
    boundaries = [f"{what}.{when}" for what in ("claim", "work", "save", "commit") for when in ("before", "after")]
    ways = ("child", "parent", "group", "stop", "term")
    faults = [
        *itertools.product(boundaries, STEPS, ways),
        # Nothing is to be hinted after the last one.
        *itertools.product(("hint.before", "hint.after"), STEPS[:-1], ways),
        *itertools.product(("commit.within",), STEPS, ("child", "parent", "group")),
        *itertools.product(("work.before", "save.after", "commit.before"), STEPS, ("quit",)),
        *itertools.product(("accept.before", "hint.before", "hint.after"), ["upload"], ("child", "group")),
        *itertools.product(("mark.before", "mark.after"), ["sweep"], ("group",)),
    ]
    random.Random(seed).shuffle(faults)
    return faults


def selected(count: int, seed: int) -> list[tuple[str, str, str]]:
    """So many of them, such that each boundary, step and way comes before any comes often; what makes a whole
    worker start anew takes seconds, and comes less often."""
    left = every_fault(seed)
    chosen: list[tuple[str, str, str]] = []
    used: Counter[str] = Counter()
    while left and len(chosen) < count:
        fault = min(left, key=lambda fault: sum(used[word] for word in fault))
        left.remove(fault)
        chosen.append(fault)
        used.update(fault)
        used[fault[2]] += 2 * (fault[2] in {"parent", "group", "term", "quit"})
    return chosen


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "kind" in metafunc.fixturenames:
        metafunc.parametrize("kind", metafunc.config.getoption("chaos_brokers", "embedded").split(","))


@pytest.mark.timeout(7200)
def test_everything_breaks(
    tmp_path: Path, kind: str, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    uploads = request.config.getoption("chaos_uploads", 30)
    seed = request.config.getoption("chaos_seed", 1)
    with run(tmp_path, kind, CHAOS_HINTS="1 2 1", CHAOS_SEED=str(seed)) as (chaos, proxy, through):
        faults = selected(uploads // 2, seed)
        special = list(SPECIAL) + ["deaf"] * (uploads >= 100)
        outages = {uploads // 3: "empty", uploads // 2: "database", 2 * uploads // 3: "broker"}
        for number in range(uploads):
            wait_for(lambda: len(chaos.watcher.unfinished()) < IN_FLIGHT)
            if faults and len(chaos.cluster.armed()) < 3:
                chaos.cluster.arm(*faults.pop(0))
            match outages.get(number):
                case "empty":
                    (through.empty if through else chaos.cluster.empty_the_broker)()
                case "database" if proxy:
                    _without_a_database(chaos, proxy)
                case "broker" if through:
                    _without_a_broker(chaos, through.proxy)
            if number % 5 == 2 and special:
                _special(chaos, special.pop(0), number)
            elif number % 7 == 3:
                with ThreadPoolExecutor(3) as pool:
                    list(pool.map(chaos.send, [f"upload {number}"] * 3))
            else:
                chaos.send(f"upload {number}")
        chaos.settle()
        _fire_the_rest(chaos, faults)
        evidence = chaos.evidence()
    with capsys.disabled():
        print(f"\n\n{kind}, seed {seed}\n{table(evidence)}")
    assert check(evidence) == []


def _fire_the_rest(chaos: Run, faults: list[tuple[str, str, str]]) -> None:
    """What is still armed, or was not yet, gets uploads of its own."""
    number = 0
    while faults or chaos.cluster.armed():
        if faults and len(chaos.cluster.armed()) < 3:
            chaos.cluster.arm(*faults.pop(0))
        wait_for(lambda: len(chaos.watcher.unfinished()) < IN_FLIGHT)
        chaos.send(f"one more {number}")
        number += 1
        assert number < 300, chaos.cluster.armed()
    chaos.settle()


def _without_a_database(chaos: Run, proxy: Proxy) -> None:
    """Until a poll has been answered, and a client has begun to send; what it sends arrives in the end."""
    began = time.monotonic()
    job = chaos.sent[-1].job
    proxy.refuse()
    with ThreadPoolExecutor(1) as pool:
        sending = pool.submit(chaos.send, "in vain at first")
        wait_for(lambda: chaos.watcher.look(job).code == 503)
        proxy.heal()
        sending.result()
    wait_for(lambda: chaos.watcher.look(job).code == 200)
    chaos.outages.append((began, time.monotonic()))


def _without_a_broker(chaos: Run, proxy: Proxy) -> None:
    proxy.refuse()
    chaos.without_broker += [chaos.send(f"without a broker {number}") for number in range(3)]
    proxy.heal()


def _special(chaos: Run, source: str, number: int) -> None:
    job = chaos.send(f"upload {number}", source)
    match source:
        case "late":
            shifted = Upload.objects.using(ALIAS).filter(pk=job, completed_at=None)
            assert shifted.update(deadline_at=F("created_at") - timedelta(seconds=1))
        case "cancel":
            _ask(chaos, f"/api/jobs/{job}/cancel")
        case "broken once":
            chaos.wait_until(job, "failed")
            _ask(chaos, f"/api/jobs/{job}/retry")
            chaos.watcher.watch_again(job)


def _ask(chaos: Run, path: str) -> None:
    def asked() -> bool:
        try:
            return chaos.cluster.request("POST", path).status in {202, 409}
        except (OSError, HTTPException):
            return False

    wait_for(asked)


def test_without_the_fence_the_checker_finds_what_a_stale_worker_did(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker is stopped before it commits, and goes on when somebody else is at the next step."""
    environment = {"STEP_MAX_ATTEMPTS": "3", "STEP_TIMEOUT_SECONDS": str(PATIENCE), "CHAOS_WITHOUT_FENCE": "1"}
    with run(tmp_path, spares=False, **environment) as (chaos, _, _):
        cluster = chaos.cluster
        # Between two steps the job is nobody's, and then even a worker without a fence finds that out.
        claims = partial(cluster.journal, "claim")
        monkeypatch.setattr(cluster, "is_too_late", lambda _: any(claim["step"] == "generate" for claim in claims()))
        cluster.hold()
        cluster.arm("commit.before", "validate", "stop")
        chaos.send("the only one", "held")
        wait_for(lambda: len([c for c in cluster.journal("commit") if c["step"] == "validate"]) >= 2)
        cluster.let_go()
        chaos.settle()
        evidence = chaos.evidence()
    assert {5, 6} <= {number for number, _, _ in check(evidence)}


@contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"no file system of a test's own: {mounted.stderr}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(file: Path) -> None:
    """To the last block."""
    with file.open("wb", buffering=0) as open_file, suppress(OSError):
        while True:
            open_file.write(bytes(4096))


def test_a_full_disk_refuses_uploads_and_delays_what_was_accepted(tmp_path: Path) -> None:
    media = tmp_path / "data" / "media"
    environment = {"DISK_RESERVE_BYTES": "0", "STEP_TIMEOUT_SECONDS": str(PATIENCE)}
    with small_disk(media), run(tmp_path, spares=False, **environment) as (chaos, _, _):
        chaos.cluster.hold()
        job = chaos.send("before", "held")
        chaos.wait_until(job, "generating")
        filler = media / "filler"
        fill(filler)
        refused = chaos.cluster.send_as(chaos.picture, "too late")
        assert refused
        assert (refused.status, refused.json["error"]["code"]) == (507, "STORAGE_FULL")
        assert refused.headers["Retry-After"]
        chaos.cluster.let_go()
        wait_for(lambda: "step.retrying" in [event["type"] for event in chaos.cluster.events(job)])
        filler.unlink()
        chaos.send("after")
        chaos.settle()
        evidence = chaos.evidence()
        assert check(evidence) == []
        assert len(evidence.uploads) == 2
        assert not list(media.rglob("*.part"))
