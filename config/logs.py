"""Log lines with what they are about: the request that began it, the job, the step and its attempt.

Modules log by `logging`, as ever; what is bound with `structlog.contextvars` joins every line of its thread. The id
of a request travels to the worker in the headers of the message that it sends.
"""

from typing import Any

import structlog
from celery import Task
from celery.signals import before_task_publish, setup_logging, task_postrun, task_prerun

Json = dict[str, Any]
REQUEST_ID = "request_id"


def configuration(log_format: str) -> Json:
    """Django's LOGGING; `log_format` is console or json."""
    known = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    # Plain: its own choice, where rich is installed, also shows what the variables held, tokens and keys among it.
    plain = structlog.dev.plain_traceback
    drawn: list[Any] = [
        structlog.dev.ConsoleRenderer(colors=False, pad_event_to=0, sort_keys=False, exception_formatter=plain)
    ]
    if log_format == "json":
        drawn = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    formatter = {
        "()": structlog.stdlib.ProcessorFormatter,
        "foreign_pre_chain": known,
        "processors": [structlog.stdlib.ProcessorFormatter.remove_processors_meta, *drawn],
    }
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": formatter},
        "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
        "root": {"handlers": ["console"], "level": "INFO"},
        "loggers": {
            "celery": {"level": "WARNING"},
            "kombu": {"level": "WARNING"},
            # They tell of every request; the ledger does that.
            "google_genai": {"level": "WARNING"},
            "httpx2": {"level": "WARNING"},
            # Of every answer from 400 on, which `config.middleware.observed` tells better.
            "django.request": {"level": "ERROR"},
            # Scanners that call this host by another name: no error of ours, thousands a day for Sentry.
            "django.security.DisallowedHost": {"level": "CRITICAL"},
        },
    }


@setup_logging.connect
def _leave_it_to_django(**_: Any) -> None:
    """Celery sets up its own way of logging unless somebody listens here."""


@before_task_publish.connect
def _send_along(headers: Json, **_: Any) -> None:
    if request_id := structlog.contextvars.get_contextvars().get(REQUEST_ID):
        headers[REQUEST_ID] = request_id


@task_prerun.connect
def _bind(task: Task[Any, Any], args: tuple[Any, ...], **_: Any) -> None:
    step = task.name.rpartition(".")[2]
    about = {"step": step, "job": args[0]} if args else {"task": step}
    if request_id := task.request.get(REQUEST_ID):
        about[REQUEST_ID] = request_id
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(**about)


@task_postrun.connect
def _unbind(**_: Any) -> None:
    structlog.contextvars.clear_contextvars()
