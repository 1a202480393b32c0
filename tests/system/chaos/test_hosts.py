"""Two hosts of workers, on one PostgreSQL, broker and storage: one is cut off in mid-step, and later let back."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings

from tests.support.brokers import broker
from tests.support.installation import PATIENCE, wait_for
from tests.support.proxy import Proxy, proxy_to
from tests.system.chaos.checker import check, table
from tests.system.chaos.cluster import Cluster, Place, database
from tests.system.chaos.network import Host, hosts
from tests.system.chaos.run import Run, under_fire

pytestmark = pytest.mark.skipif(
    "sqlite" in settings.DATABASES["default"]["ENGINE"], reason="several hosts need a database server"
)

ALONE = [("work.before", "generate"), ("save.after", "validate"), ("commit.within", "store")]
"""Where a worker stands when its host is cut off, to go on with its step while it is."""
LATE = [("work.after", "validate"), ("commit.before", "validate")]
"""Where one stands that goes on when its host is let back, and its job is in a later step at the other host."""


@contextmanager
def two_hosts(folder: Path, kind: str) -> Iterator[tuple[Run, dict[str, Host]]]:
    """Each with a worker, a house and a beat; the web server is on neither."""
    with ExitStack() as stack:
        url, to_database = stack.enter_context(database(folder))
        through = stack.enter_context(broker(kind))
        found = {host.namespace: host for host in stack.enter_context(hosts(2))}
        assert to_database
        places: dict[str, Place] = {}
        for number, (name, host) in enumerate(found.items(), start=1):
            seen_from_there = {
                "CHAOS_HOST": name,
                "DATABASE_URL": stack.enter_context(reached_from(host, url, to_database)),
                "CELERY_BROKER_URL": stack.enter_context(reached_from(host, through.url, through.proxy)),
            }
            places |= {f"{role}{number}": Place(host.inside, seen_from_there) for role in ("worker", "house", "beat")}
        environment = {
            "CELERY_BROKER_URL": through.url,
            "DATABASE_STATEMENT_TIMEOUT_SECONDS": "5",
            "STEP_TIMEOUT_SECONDS": str(PATIENCE),
        }
        cluster = Cluster(folder, url, spares=True, places=places, **environment)
        yield stack.enter_context(under_fire(cluster)), found


@contextmanager
def reached_from(host: Host, url: str, proxy: Proxy) -> Iterator[str]:
    """The same server, at the address at which the host reaches this machine."""
    with proxy_to(*proxy.target, at=host.gateway) as there:
        yield url.replace(f"{proxy.at}:{proxy.port}", f"{there.at}:{there.port}")


@pytest.mark.timeout(900)
@pytest.mark.parametrize("kind", ["redis", "amqp"])
def test_a_host_that_is_cut_off_in_mid_step_and_let_back_changes_nothing(
    tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with two_hosts(tmp_path, kind) as (chaos, found):
        for point, step in ALONE:
            fault = cut_off(chaos, found, point, step)
            chaos.cluster.release(fault)
            wait_for(lambda: chaos.watcher.finished(fault["upload"]))  # noqa: B023
            let_back(chaos, found, fault)
        for point, step in LATE:
            chaos.cluster.hold()
            fault = cut_off(chaos, found, point, step)
            wait_for(lambda: goes_on_elsewhere(chaos, fault, "generate"))  # noqa: B023
            let_back(chaos, found, fault)
            chaos.cluster.release(fault)
            wait_for(lambda: has_left(chaos, fault))  # noqa: B023
            chaos.cluster.let_go()
            wait_for(lambda: chaos.watcher.finished(fault["upload"]))  # noqa: B023
        for host in found.values():
            works_again(chaos, host)
        chaos.settle()
        evidence = chaos.evidence()
    with capsys.disabled():
        print(f"\n\ntwo hosts, {kind}\n{table(evidence)}")
    assert check(evidence) == []
    assert len(evidence.told("fault")) == len(ALONE + LATE)


def cut_off(chaos: Run, found: dict[str, Host], point: str, step: str) -> dict[str, Any]:
    """The host whose worker has come to that point with a new job; the worker is held there."""
    token = chaos.cluster.arm(point, step, "hold")
    job = chaos.send(f"{point} {step}", "held")
    fault = chaos.cluster.fired(token)
    assert fault["upload"] == job
    found[fault["host"]].cut_off()
    return fault


def let_back(chaos: Run, found: dict[str, Host], fault: dict[str, Any]) -> None:
    assert goes_on_elsewhere(chaos, fault)
    found[fault["host"]].let_back()


def goes_on_elsewhere(chaos: Run, fault: dict[str, Any], *steps: str) -> bool:
    """At the other host; in one of these steps, if any are named."""
    claims = [claim for claim in chaos.cluster.journal("claim") if claim["upload"] == fault["upload"]]
    last = max(claims, key=lambda claim: int(claim["fence"]))
    return last["host"] != fault["host"] and (not steps or last["step"] in steps)


def has_left(chaos: Run, fault: dict[str, Any]) -> bool:
    """The stale worker is through with what it held."""
    return any(
        (left["pid"], left["upload"]) == (fault["pid"], fault["upload"]) for left in chaos.cluster.journal("left")
    )


def works_again(chaos: Run, host: Host) -> None:
    """Jobs, one after the other, until the host has had part of one."""
    before = len(chaos.cluster.journal("claim"))

    def worked() -> bool:
        job = chaos.send(f"after {len(chaos.sent)}")
        wait_for(lambda: chaos.watcher.finished(job))
        return any(claim["host"] == host.namespace for claim in chaos.cluster.journal("claim")[before:])

    wait_for(worked)
