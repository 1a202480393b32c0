"""The four steps, as plain functions from a `Job` to an `Outcome`."""

from io import BytesIO

from django.conf import settings
from django.utils.module_loading import import_string
from django.utils.translation.trans_null import gettext_noop as _
from PIL import Image

from uploads.intake import is_checked
from uploads.stages import StepName
from workflows import images
from workflows.generators import Generator, paid
from workflows.generators.provider import Provider
from workflows.job import Job, Outcome

# By name: a client that is not used need not be loaded.
GENERATORS = {
    "local": "workflows.generators.local.LocalGenerator",
    "gemini": "workflows.generators.gemini.GeminiProvider",
}


DAMAGED = _("A part of this picture is damaged. It is developed all the same, and that part stays grey.")


def validate(job: Job) -> Outcome:
    """Decode the picture in full, and keep what the later steps need of it; unless another job has done so."""
    if is_checked(job.upload):
        return Outcome({"work": str(job.upload.original.name)}, skipped=True)
    picture, damaged = images.read(
        BytesIO(job.read(str(job.upload.original.name))),
        max_pixels=settings.UPLOAD_MAX_PIXELS,
        max_side=settings.WORK_MAX_SIDE,
        max_memory=settings.DECODE_MEMORY_BYTES,
    )
    work = job.save("work.png", images.encode_work(picture))
    if damaged:
        job.log("warn", DAMAGED)
    return Outcome({"work": work})


def generate(job: Job) -> Outcome:
    picture = job.read(job.output_of(StepName.VALIDATE)["work"])
    generator: Generator | Provider = import_string(GENERATORS[settings.GENERATOR])()
    if isinstance(generator, Provider):
        raw = paid.bought(job, generator, picture)
    else:
        raw = job.save("raw", generator.generate(picture, job.upload.prompt_version, job.report))
    return Outcome({"raw": raw, "model": generator.model})


def store(job: Job) -> Outcome:
    generated = job.output_of(StepName.GENERATE)
    picture = _decode_raw(job, generated["raw"])
    full, thumbnail = images.encode_full(picture), images.encode_thumbnail(picture)
    return Outcome(
        result={
            "full": job.save(f"full.{full.extension}", full.data),
            "thumbnail": job.save(f"thumbnail.{thumbnail.extension}", thumbnail.data),
            "width": full.width,
            "height": full.height,
            "content_type": full.content_type,
            "model": generated["model"],
            "prompt_version": job.upload.prompt_version,
        }
    )


def watermark(job: Job) -> Outcome:
    if not settings.WATERMARK_TEXT:
        return Outcome(result={"preview": job.upload.result.full.name}, skipped=True)
    picture = _decode_raw(job, job.output_of(StepName.GENERATE)["raw"])
    preview = images.encode_preview(picture, settings.WATERMARK_TEXT)
    return Outcome(result={"preview": job.save(f"preview.{preview.extension}", preview.data)})


def _decode_raw(job: Job, name: str) -> Image.Image:
    """What a generator returned is decoded as carefully as what a person sent."""
    return images.decode(
        BytesIO(job.read(name)), max_pixels=settings.UPLOAD_MAX_PIXELS, max_side=settings.WORK_MAX_SIDE
    )
