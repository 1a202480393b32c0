"""The Celery app of the workers in tests.benchmarks.jobs: Darkroom's own, and a chain of the same four functions.

BENCH_WORK=nothing makes all eight of them do nothing.
"""

import os
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import django

from config.celery import app

django.setup()

from celery import chain  # noqa: E402 - needs Django set up
from django.conf import settings  # noqa: E402

from uploads.stages import StepName  # noqa: E402
from workflows import images  # noqa: E402
from workflows.generators.local import LocalGenerator  # noqa: E402
from workflows.job import Job, Outcome  # noqa: E402
from workflows.pipeline import PIPELINE, Step  # noqa: E402

NOTHING = os.environ.get("BENCH_WORK") == "nothing"
RESULT = {"full": "f", "thumbnail": "t", "width": 1, "height": 1, "content_type": "c", "model": "m"}


def _nothing(step: StepName) -> Callable[[Job], Outcome]:
    def work(job: Job) -> Outcome:
        return Outcome(result=RESULT | {"prompt_version": "v1"} if step is StepName.STORE else None)

    work.__name__ = step.value
    return work


if NOTHING:
    for name, step in PIPELINE.items():
        PIPELINE[name] = Step(_nothing(name), step.queue)


# The chain: what one would write without a record. A folder holds each job's files; nobody sees how far it is.


@app.task(name="bare.validate")
def bare_validate(folder: str) -> str:
    if not NOTHING:
        _write(folder, "work.png", images.encode_work(_decoded(folder, "original.jpg")))
    return folder


@app.task(name="bare.generate")
def bare_generate(folder: str) -> str:
    if not NOTHING:
        _write(folder, "raw", LocalGenerator().generate(_read(folder, "work.png"), "v1", _unheard))
    return folder


@app.task(name="bare.store")
def bare_store(folder: str) -> str:
    if not NOTHING:
        picture = _decoded(folder, "raw")
        _write(folder, "full", images.encode_full(picture).data)
        _write(folder, "thumbnail", images.encode_thumbnail(picture).data)
    return folder


@app.task(name="bare.watermark")
def bare_watermark(folder: str) -> None:
    if not NOTHING:
        _write(folder, "preview", images.encode_preview(_decoded(folder, "raw"), "Darkroom").data)
    Path(folder, "done").touch()


def _unheard(fraction: float) -> None:
    """Nobody watches a chain."""


def send_chain(folder: Path) -> None:
    chain(
        bare_validate.s(str(folder)).set(queue="images"),
        bare_generate.s().set(queue="generate"),
        bare_store.s().set(queue="images"),
        bare_watermark.s().set(queue="images"),
    ).apply_async()


def _decoded(folder: str, name: str) -> Any:
    data = BytesIO(_read(folder, name))
    return images.decode(data, max_pixels=settings.UPLOAD_MAX_PIXELS, max_side=settings.WORK_MAX_SIDE)


def _read(folder: str, name: str) -> bytes:
    return Path(folder, name).read_bytes()


def _write(folder: str, name: str, data: bytes) -> None:
    Path(folder, name).write_bytes(data)
