"""Errors to Sentry: where they happened and in which job, and nothing that a person has sent."""

from typing import Any

import sentry_sdk
import structlog
from sentry_sdk.integrations.celery import CeleryIntegration
from sentry_sdk.integrations.django import DjangoIntegration
from sentry_sdk.types import Event, Hint

KEPT = {
    *("event_id", "timestamp", "level", "logger", "platform", "release", "environment", "server_name"),
    *("sdk", "modules", "contexts", "transaction", "transaction_info", "exception", "threads", "logentry"),
}
ABOUT = ("request_id", "job", "step", "attempt", "task")


def start(dsn: str) -> None:
    sentry_sdk.init(
        dsn=dsn,
        integrations=[DjangoIntegration(), CeleryIntegration()],
        auto_enabling_integrations=False,
        send_default_pii=False,
        include_local_variables=False,
        include_source_context=True,
        max_request_body_size="never",
        max_breadcrumbs=0,
        before_send=without_what_people_sent,
    )


def without_what_people_sent(event: Event, hint: Hint) -> Event:
    """What is known to be harmless; the message of an exception may quote anything, and is in the log."""
    kept: Any = {name: value for name, value in event.items() if name in KEPT}
    for error in kept.get("exception", {}).get("values", []):
        error["value"] = "(see the log)"
        error.pop("mechanism", None)
    if "logentry" in kept:
        kept["logentry"] = {"message": kept["logentry"].get("message", "")}
    kept.get("contexts", {}).pop("celery-job", None)
    about = structlog.contextvars.get_contextvars()
    kept["tags"] = {name: str(about[name]) for name in ABOUT if name in about}
    result: Event = kept
    return result
