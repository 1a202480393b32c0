"""Servers that end in the middle of everything, and are started again: PostgreSQL itself, and Redis itself."""

import time
from contextlib import ExitStack
from pathlib import Path

import pytest
from django.conf import settings

from tests.support.brokers import own_redis
from tests.support.installation import wait_for
from tests.system.chaos.checker import check, table
from tests.system.chaos.cluster import Cluster, known_to_django
from tests.system.chaos.postgresql import server
from tests.system.chaos.run import run, under_fire

MOMENTS = [("work.after", "generate"), ("commit.within", "store"), ("commit.before", "validate")]
"""Where a worker stands when the server ends."""


@pytest.mark.timeout(900)
@pytest.mark.skipif("sqlite" in settings.DATABASES["default"]["ENGINE"], reason="SQLite is no server")
def test_postgresql_ends_in_mid_step_and_is_started_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with ExitStack() as stack:
        postgresql = stack.enter_context(server())
        stack.enter_context(known_to_django(postgresql.url))
        chaos = stack.enter_context(under_fire(Cluster(tmp_path, postgresql.url)))
        for number, (point, step) in enumerate(MOMENTS):
            token = chaos.cluster.arm(point, step, "hold")
            jobs = [chaos.send(f"round {number}, upload {each}") for each in range(8)]
            fault = chaos.cluster.fired(token)
            began = time.monotonic()
            postgresql.crash()
            chaos.cluster.release(fault)
            told = wait_for(lambda: seen if (seen := chaos.watcher.look(jobs[0])).code == 503 else None)  # noqa: B023
            assert told.retry_after
            assert told.document["error"]["retryable"]
            refused = chaos.cluster.send_as(chaos.picture, f"round {number}, in vain")
            assert refused is not None
            assert refused.status == 503
            postgresql.start()
            wait_for(lambda: chaos.watcher.look(jobs[0]).code == 200)  # noqa: B023
            chaos.outages.append((began, time.monotonic()))
            chaos.send(f"round {number}, in vain")
        chaos.settle()
        evidence = chaos.evidence()
    with capsys.disabled():
        print(f"\n\nPostgreSQL restarted {len(MOMENTS)} times\n{table(evidence)}")
    assert check(evidence) == []
    assert len(evidence.uploads) == 9 * len(MOMENTS)


@pytest.mark.timeout(900)
def test_redis_ends_with_all_its_messages_and_is_started_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with own_redis() as redis, run(tmp_path, CELERY_BROKER_URL=redis.url) as (chaos, _, _):
        for number, (point, step) in enumerate(MOMENTS):
            token = chaos.cluster.arm(point, step, "hold")
            for each in range(5):
                chaos.send(f"round {number}, upload {each}")
            fault = chaos.cluster.fired(token)
            redis.crash()
            chaos.cluster.release(fault)
            chaos.without_broker += [chaos.send(f"round {number}, without {each}") for each in range(3)]
            redis.start()
        chaos.settle()
        evidence = chaos.evidence()
    with capsys.disabled():
        print(f"\n\nRedis restarted {len(MOMENTS)} times\n{table(evidence)}")
    assert check(evidence) == []
    assert len(evidence.uploads) == 8 * len(MOMENTS)
