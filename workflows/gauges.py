"""How things stand, read at each scrape from the record and the broker; an index bounds every query."""

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from celery import current_app
from django.conf import settings
from django.db import connections
from django.db.models import Case, Count, Min, Q, Sum, Value, When
from django.db.models.functions import Now
from django.utils import timezone
from kombu import Connection
from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector

from status import outbox
from status.models import Capture, WebhookDelivery, WebhookEndpoint
from uploads.changelist import COUNTED
from uploads.models import ProviderCall, Upload
from uploads.stages import STAGE_OF, Stage
from workflows import health
from workflows.models import Heartbeat
from workflows.pipeline import PIPELINE

STAGES = ["pending", *(stage.value for stage in Stage if not stage.is_terminal)]
STATE_OF_ENDPOINT = Case(
    When(disabled_at__isnull=False, then=Value("disabled")),
    When(failing_since__isnull=False, then=Value("failing")),
    default=Value("enabled"),
)
QUEUE_OF = {STAGE_OF[step].value: each.queue for step, each in PIPELINE.items()} | {"pending": "images"}


def registry() -> CollectorRegistry:
    """All that is known: what processes with the same DATA_DIR have counted, and how things stand now."""
    everything = CollectorRegistry()
    everything.register(Counted())
    everything.register(Standing())
    return everything


class Counted:
    def collect(self) -> Iterator[Metric]:
        files = [str(file) for file in settings.METRICS_DIR.parent.glob("*/*.db")]
        yield from MultiProcessCollector.merge(files)  # type: ignore[no-untyped-call]


class Standing:
    """What cannot be read now is left out; `darkroom_ready` says of which component."""

    def collect(self) -> Iterator[Metric]:
        try:
            yield from self._collect()
        finally:
            connections.close_all()  # the server makes a thread for each scrape

    def _collect(self) -> Iterator[Metric]:
        ready = {state.component: state.is_ready for state in health.states()}
        yield _gauge(
            "ready", "Whether a component is ready: 1 or 0.", ["component"], {(c,): r for c, r in ready.items()}
        )
        if ready["database"] and ready["migrations"]:
            yield from _unfinished(timezone.now())
            yield from _ended()
            yield from _outgoing()
            yield from _paid()
        if ready["broker"]:
            yield _messages()


def _gauge(name: str, help: str, labels: list[str], values: Mapping[Any, float]) -> Metric:  # noqa: A002 - theirs
    gauge = GaugeMetricFamily(f"darkroom_{name}", help, labels=labels)
    for key, value in values.items():
        gauge.add_metric(key, value)
    return gauge


def _seconds_since(then: datetime | None, now: datetime) -> float:
    return max(0.0, (now - then).total_seconds()) if then else 0.0


def _unfinished(now: datetime) -> Iterator[Metric]:
    """By the index of what is unfinished: as many rows as there is room for in the queue."""
    running, due = Q(lease_until__gt=Now()), Q(due_at__lte=Now())
    free = ~running | Q(lease_until=None)
    rows = Upload.objects.unfinished().values("stage").order_by()
    rows = rows.annotate(
        running=Count("pk", filter=running),
        due=Count("pk", filter=free & due),
        later=Count("pk", filter=free & ~due),
        oldest=Min("created_at"),
        due_since=Min("due_at", filter=free & due),
    )
    by_stage: dict[str, Any] = {row["stage"] or "pending": row for row in rows}
    states = ("running", "due", "later")
    jobs = {(stage, state): by_stage.get(stage, {}).get(state, 0) for stage in STAGES for state in states}
    yield _gauge("jobs", "Unfinished jobs: being worked on, due, or due later.", ["stage", "state"], jobs)
    oldest = min((row["oldest"] for row in by_stage.values()), default=None)
    yield _gauge(
        "oldest_unfinished_seconds", "Age of the oldest unfinished upload.", [], {(): _seconds_since(oldest, now)}
    )
    queues = sorted({step.queue for step in PIPELINE.values()})
    waiting = {queue: [row for stage, row in by_stage.items() if QUEUE_OF[stage] == queue] for queue in queues}
    depth = {(queue,): sum(row["due"] for row in waiting[queue]) for queue in queues}
    yield _gauge("queue_depth", "Steps that are due and wait for a worker.", ["queue"], depth)
    age = {
        (queue,): _seconds_since(
            min((row["due_since"] for row in waiting[queue] if row["due_since"]), default=None), now
        )
        for queue in queues
    }
    yield _gauge("queue_age_seconds", "For how long the step that is due for longest has been.", ["queue"], age)


def _ended() -> Iterator[Metric]:
    lately = Upload.objects.filter(completed_at__gte=Now() - timedelta(hours=1), files_purged_at=None)
    counted = lately.order_by().values_list("status", "error_code").annotate(Count("pk"))
    values = {(status, code): count for status, code, count in counted}
    yield _gauge("jobs_ended_last_hour", "Jobs that ended within the last hour.", ["status", "code"], values)


def _outgoing() -> Iterator[Metric]:
    lag = outbox.lag_seconds()
    values = {(name,): getattr(lag, name) for name in lag._fields}
    words = (
        "Age of the oldest of what has to go out: a change of stage that is not published, a message that has not"
        " arrived, and apart from those a message that is withheld, for its endpoint is disabled."
    )
    yield _gauge("outbox_lag_seconds", words, ["what"], values)
    endpoints = dict(WebhookEndpoint.objects.order_by().values_list(STATE_OF_ENDPOINT).annotate(Count("pk")))
    values = {(state,): endpoints.get(state, 0) for state in ("enabled", "failing", "disabled")}
    yield _gauge("webhook_endpoints", "Webhook endpoints, by how they fare.", ["state"], values)
    dead = WebhookDelivery.objects.filter(status=WebhookDelivery.DEAD).order_by("-pk")
    words = f"Messages that were given up, and can be replayed; at most {COUNTED}."
    yield _gauge("webhook_dead_letters", words, [], {(): dead[:COUNTED].count()})
    captures = Capture.objects.order_by("due_at")[:COUNTED].count()
    yield _gauge("captures_waiting", f"Events that PostHog has not taken yet; at most {COUNTED}.", [], {(): captures})
    age = Heartbeat.age(Heartbeat.SWEEP)
    if age is not None:
        yield _gauge("sweeper_seen_seconds", "How long ago the sweeper was last seen.", [], {(): age.total_seconds()})


def _paid() -> Iterator[Metric]:
    midnight = timezone.now().replace(hour=0, minute=0, second=0, microsecond=0)
    today = ProviderCall.objects.filter(started_at__gte=midnight).order_by().values("model", "outcome")
    rows = list(today.annotate(calls=Count("pk"), cost=Sum("cost_usd")))
    calls = {(row["model"], row["outcome"] or "open"): row["calls"] for row in rows}
    yield _gauge(
        "provider_calls_today", "Paid calls since midnight UTC, by what came of them.", ["model", "outcome"], calls
    )
    cost = {(row["model"], row["outcome"] or "open"): float(row["cost"]) for row in rows}
    yield _gauge("provider_cost_usd_today", "What they cost.", ["model", "outcome"], cost)


def _messages() -> Metric:
    with current_app.connection_for_read() as broker:
        values = {(queue.name,): _count(broker, queue.name) for queue in settings.CELERY_TASK_QUEUES}
    return _gauge("broker_messages", "Hints that wait in the broker.", ["queue"], values)


def _count(broker: Connection, queue: str) -> int:
    """0 for a queue that no worker has declared yet."""
    channel: Any = broker.channel()
    with channel:
        try:
            return int(channel.queue_declare(queue=queue, passive=True).message_count)
        except broker.channel_errors:
            return 0
