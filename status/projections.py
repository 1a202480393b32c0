"""The record as the API's dialects tell it: pure functions from an upload to JSON."""

import math
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import cache
from typing import Any

from django.urls import reverse

from uploads import transitions
from uploads.models import Event, Result, Step, Upload
from uploads.stages import Stage, Status, StepName
from uploads.storage import pictures

Json = dict[str, Any]


def timestamp(time: datetime | None) -> str | None:
    """ISO 8601 in UTC, to the millisecond."""
    if time is None:
        return None
    return time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def urls(upload: Upload) -> Json:
    """Clients build none themselves."""
    job_id = str(upload.pk)
    return {route: address.replace(_JOB, job_id) for route, address in _addresses().items()}


_JOB = "the-job"


@cache
def _addresses() -> dict[str, str]:
    """Looked up once: a poll that reverses eight routes spends more on that than on the database."""
    routes = ("status", "events", "progress", "job", "page", "cancel", "retry", "again")
    return {route: reverse(route, args=[_JOB]) for route in routes}


def accepted_document(upload: Upload) -> Json:
    return {
        "success": True,
        "jobId": str(upload.pk),
        "status": upload.status,
        "stage": upload.stage,
        "progress": upload.progress,
        "urls": urls(upload),
    }


def status_document(upload: Upload, now: datetime) -> Json:
    """`upload` as `status.authentication.upload_of` reads it."""
    done = upload.status == Status.COMPLETED
    document: Json = {
        "success": True,
        "jobId": str(upload.pk),
        "status": upload.status,
        "stage": upload.stage,
        "progress": upload.progress,
        "resultId": str(upload.result_id) if done and upload.result_id else None,
        "updatedAt": timestamp(upload.updated_at),
        "isTerminal": upload.is_terminal,
        "createdAt": timestamp(upload.created_at),
        "startedAt": timestamp(upload.started_at),
        "completedAt": timestamp(upload.completed_at),
        "attempt": upload.attempt,
        "maxAttempts": upload.max_attempts,
        "run": upload.run,
        "estimatedCompletionAt": timestamp(upload.estimated_completion_at),
        "estimatedRemainingSeconds": remaining_seconds(upload, now),
        "retryInSeconds": retry_in_seconds(upload, now),
        "queuePosition": upload.queue_position,
        "costUsd": float(upload.cost_usd),
        "eventCount": upload.event_count,
        "urls": urls(upload),
    }
    if upload.status == Status.FAILED:
        document["errorMessage"] = upload.error_message
        document["error"] = {
            "code": upload.error_code,
            "message": upload.error_message,
            "retryable": transitions.is_retryable(upload.error_code) and not upload.has_expired(now),
            "step": upload.failed_step or None,
        }
    return document


def remaining_seconds(upload: Upload, now: datetime) -> int | None:
    """From the stored time; never negative, and none once the job has ended."""
    if upload.estimated_completion_at is None or upload.is_terminal:
        return None
    return max(0, math.ceil((upload.estimated_completion_at - now).total_seconds()))


def retry_in_seconds(upload: Upload, now: datetime) -> int | None:
    """While a step that did not succeed waits to be tried again: only then is a job due after its latest change."""
    if upload.is_terminal or upload.due_at <= upload.updated_at:
        return None
    return max(0, math.ceil((upload.due_at - now).total_seconds()))


def event_document(event: Event) -> Json:
    return {
        "id": event.seq,
        "type": event.type,
        "level": event.level,
        "message": event.message,
        "data": event.data,
        "timestamp": timestamp(event.created_at),
    }


def job_document(upload: Upload, steps: Iterable[Step], now: datetime) -> Json:
    """Everything that the session may know."""
    return status_document(upload, now) | {
        "runId": upload.run_id,
        "source": upload.source,
        "promptVersion": upload.prompt_version,
        "originalName": upload.original_name,
        "contentType": upload.content_type,
        "byteSize": upload.byte_size,
        "width": upload.width,
        "height": upload.height,
        "steps": [
            {
                "name": step.name,
                "status": step.status,
                "attempt": step.attempt,
                "startedAt": timestamp(step.started_at),
                "completedAt": timestamp(step.completed_at),
                "durationMs": step.duration_ms,
                "error": step.error or None,
            }
            for step in in_order(steps)
        ],
    }


def in_order(steps: Iterable[Step]) -> list[Step]:
    """One for every step of the pipeline, also for those that nobody has begun."""
    known = {step.name: step for step in steps}
    return [known.get(name) or Step(name=name, status=Step.PENDING) for name in StepName]


def messages_document(upload: Upload, events: Iterable[Event]) -> Json:
    """The dialect of `/jobs/{jobId}/status`."""
    messages = [_message(event) for event in events]
    return {
        "jobId": str(upload.pk),
        "state": _MESSAGES_STATE[Status(upload.status)],
        "step": _MESSAGES_STEP.get(Status(upload.status), upload.stage),
        "percent": 100 if upload.is_terminal else upload.progress,
        "messages": messages,
        "errors": [_without(message, "level") for message in messages if message["level"] == "error"],
        "updatedAt": timestamp(upload.updated_at),
    }


_MESSAGES_STATE = {
    Status.PENDING: "queued",
    Status.PROCESSING: "running",
    Status.COMPLETED: "completed",
    Status.FAILED: "failed",
}
_MESSAGES_STEP = {Status.PENDING: "start", Status.COMPLETED: "done", Status.FAILED: "failed"}


def _message(event: Event) -> Json:
    message = {"ts": timestamp(event.created_at), "level": event.level, "msg": event.message}
    return message | ({"data": event.data} if event.data else {})


def _without(document: Json, key: str) -> Json:
    return {name: value for name, value in document.items() if name != key}


def build_event_document(event: Event, preview_url: str | None) -> Json:
    """The dialect of `/api/builds/{jobId}/events`; `preview_url` goes with the completion."""
    data = {**event.data, "message": event.message}
    if event.type == "job.completed":
        data["previewUrl"] = preview_url
    return {
        "id": event.seq,
        "type": _build_type(event),
        "data": data,
        "timestamp": timestamp(event.created_at),
    }


def _build_type(event: Event) -> str:
    kind = "step.progress" if event.type in {"step.retrying", "log"} else event.type
    if kind in _BUILD_TYPE:
        return _BUILD_TYPE[kind]
    step = event.data.get("step")
    by_step = _BUILD_TYPE_BY_STEP[kind]
    return by_step.get(step, by_step["*"])


_BUILD_TYPE = {
    "job.accepted": "plan_started",
    "step.skipped": "deploy_progress",
    "job.completed": "deploy_completed",
    "job.failed": "deploy_failed",
    "job.retried": "task_started",
}
_BUILD_TYPE_BY_STEP = {
    "step.started": {"store": "deploy_started", "watermark": "build_started", "*": "task_started"},
    "step.progress": {"store": "deploy_progress", "watermark": "deploy_progress", "*": "task_progress"},
    "step.completed": {"validate": "plan_generated", "generate": "task_completed", "*": "deploy_progress"},
    "step.failed": {"store": "deploy_failed", "watermark": "deploy_failed", "*": "task_failed"},
}
_BUILD_STATUS = {
    None: "planning",
    Stage.VALIDATING: "planning",
    Stage.GENERATING: "executing",
    Stage.STORING: "deploying",
    Stage.WATERMARKING: "deploying",
    Stage.COMPLETE: "completed",
    Stage.FAILED: "failed",
}


def build_document(job_id: str, upload: Upload | None, preview_url: str | None) -> Json:
    """The dialect of `/api/builds/{jobId}/status`, which has an answer for a job that nobody knows."""
    return {
        "buildId": job_id,
        "status": _BUILD_STATUS.get(upload.current_stage, "executing") if upload else "unknown",
        "progress": upload.progress if upload else 0,
        "previewUrl": preview_url,
        "error": (upload.error_message or None) if upload else None,
        "eventCount": upload.event_count if upload else 0,
        "lastUpdate": timestamp(upload.updated_at) if upload else None,
    }


def progress_document(upload: Upload, steps: Iterable[Step], now: datetime) -> Json:
    """The dialect of `/api/v1/projects/{jobId}/progress`."""
    return {
        "data": {
            "project_id": str(upload.pk),
            "status": upload.stage if upload.status == Status.PROCESSING else upload.status,
            "pipeline_progress": upload.progress,
            "current_step": upload.step,
            "steps": [_progress_step(step) for step in in_order(steps)],
            "is_processing": not upload.is_terminal,
            "error": upload.error_message or None,
            "estimated_remaining_seconds": remaining_seconds(upload, now),
            "llm_cost_so_far_usd": float(upload.cost_usd),
        }
    }


def _progress_step(step: Step) -> Json:
    values = {
        "name": step.name,
        "status": step.status,
        "started_at": timestamp(step.started_at),
        "completed_at": timestamp(step.completed_at),
        "duration_ms": step.duration_ms,
        "error": step.error or None,
    }
    return {key: value for key, value in values.items() if value is not None}


def preview_url(result: Result | None) -> str | None:
    return result.preview.url if result and result.preview else None


def result_document(result: Result, expires_at: datetime) -> Json:
    return {
        "success": True,
        "resultId": str(result.pk),
        "jobId": str(result.upload_id),
        "previewUrl": preview_url(result),
        "thumbnailUrl": result.thumbnail.url,
        "downloadUrl": pictures().download_url(result.preview.name) if result.preview else None,
        "fullUrl": result.full.url if result.unlocked_at else None,
        "fullDownloadUrl": pictures().download_url(result.full.name) if result.unlocked_at else None,
        "expiresAt": timestamp(expires_at),
        "width": result.width,
        "height": result.height,
        "contentType": result.content_type,
        "model": result.model,
        "promptVersion": result.prompt_version,
    }
