"""The processes of `make up`. compose.yaml and the README's units run the same work in more of them."""

import sys
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

QUIET = ("--loglevel", "WARNING", "--without-gossip", "--without-mingle", "--without-heartbeat")


class Program(NamedTuple):
    name: str
    command: tuple[str, ...]
    patience: float
    """Seconds from SIGTERM, which asks it to end, to SIGKILL."""
    environment: Mapping[str, str] = MappingProxyType({})
    """Added to that of `make up`."""


def programs(host: str, port: int, *, metrics: bool) -> list[Program]:
    python = sys.executable
    celery = (python, "-m", "celery", "--quiet", "--app", "config")
    web = Program(
        "web",
        (
            *(python, "-m", "granian", "--interface", "wsgi", "--host", host, "--port", str(port), "--workers", "1"),
            *("--blocking-threads", "4", "--respawn-failed-workers", "--no-ws", "--http", "1"),
            *("--http1-buffer-size", "16384", "--log-level", "warning", "config.wsgi:application"),
        ),
        patience=30,
    )
    worker = Program(
        "worker",
        (*celery, "worker", "--queues", "images,generate", "--hostname", "worker@%h", *QUIET),
        # After its grace it only stays for a call that has to be paid for: a step's timeout, at most.
        patience=210,
        # SIGTERM gives running steps worker_soft_shutdown_timeout to finish; without it they could take for ever.
        environment={"REMAP_SIGTERM": "SIGQUIT"},
    )
    # Sweeps, webhooks, analytics and the clock: apart from the work that they watch. Deliveries, captures and retention
    # can take minutes, each in one thread at most; two threads are left for sweeps and for what is published.
    # SIGTERM is not remapped: tasks end by themselves once they hear of it, and threads cannot be interrupted.
    house = Program(
        "house",
        (
            *(*celery, "worker", "--queues", "house,deliver", "--hostname", "house@%h", "--clock"),
            *("--pool", "threads", "--concurrency", "5", *QUIET),
        ),
        patience=30,
    )
    # For Prometheus, on an address of its own.
    gauges = Program("metrics", (python, "manage.py", "metrics"), patience=10)
    return [web, worker, house, *([gauges] if metrics else [])]
