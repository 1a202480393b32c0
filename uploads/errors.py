"""Every reason Darkroom gives, in one tree and one table.

DarkroomError
├── Rejected            what was sent, or the picture itself, cannot be accepted; trying again is no use
├── NotAllowed          the record's rules forbid it now (409)
├── IllegalTransition   the stage or progress would go back, or leave a terminal stage
└── LeaseLost           somebody else owns the upload now; the caller's work is void
"""

from typing import NamedTuple

# Marked, and not translated: the record is written in English, and who answers a request translates.
from django.utils.translation.trans_null import gettext_noop as _  # the other one needs settings

from uploads.text import storable


class Reason(NamedTuple):
    message: str
    """One sentence for the person who sent the picture."""
    retryable: bool
    """Whether the same request, or the failed job, may succeed when tried again."""
    status: int
    """The HTTP status of a request that is answered with it."""


REASONS = {
    # A request
    "MISSING_IMAGE": Reason(_("Send one picture in the form field “image”."), False, 400),
    "INVALID_PARAMETER": Reason(_("One of the parameters is not valid."), False, 400),
    "UNAUTHORIZED": Reason(_("This needs a valid session token in the X-Session-Token header."), False, 401),
    "NOT_FOUND": Reason(_("There is nothing here, or you may not see it."), False, 404),
    "METHOD_NOT_ALLOWED": Reason(_("This address does not take that method."), False, 405),
    "NOT_ACCEPTABLE": Reason(_("This address answers in JSON only."), False, 406),
    "NOT_RETRYABLE": Reason(_("Only a failed job whose cause may pass can be tried again."), False, 409),
    "ALREADY_FINISHED": Reason(_("This job has already finished."), False, 409),
    "NOT_FINISHED": Reason(_("This job has no result yet."), True, 409),
    "EXPIRED": Reason(_("The pictures of this job were deleted when their time was over."), False, 410),
    "FILE_TOO_LARGE": Reason(_("This file is too large."), False, 413),
    "UNSUPPORTED_TYPE": Reason(_("Please send a JPEG, PNG, WebP, GIF, AVIF or HEIC picture."), False, 415),
    "IMAGE_TOO_LARGE": Reason(_("This picture has too many pixels."), False, 422),
    "MEMORY_EXCEEDED": Reason(_("This picture takes more memory to open than one picture may take here."), False, 422),
    "UNREADABLE_IMAGE": Reason(_("This picture is damaged or incomplete and cannot be read."), False, 422),
    "IDEMPOTENCY_MISMATCH": Reason(_("This Idempotency-Key was used before for another picture."), False, 422),
    "RATE_LIMITED": Reason(_("Too many requests. Please wait a moment."), True, 429),
    "QUEUE_FULL": Reason(_("The darkroom is full at the moment. Please try again in a few minutes."), True, 429),
    "BUDGET_EXHAUSTED": Reason(_("Today's limit has been reached. Please try again tomorrow."), True, 429),
    "INTERNAL": Reason(_("Something went wrong on our side."), True, 500),
    "UNAVAILABLE": Reason(_("The service is not available at the moment. Please try again shortly."), True, 503),
    "STORAGE_FULL": Reason(_("There is no room for new pictures at the moment."), True, 507),
    # A job that failed
    "CANCELED": Reason(_("The job was cancelled."), True, 409),
    "CONTENT_BLOCKED": Reason(_("The image service declined this photo."), False, 422),
    "DEADLINE_EXCEEDED": Reason(_("The job took too long and was stopped."), True, 504),
    "STEP_TIMEOUT": Reason(_("Painting kept timing out."), True, 504),
    "WORKER_LOST": Reason(_("Painting kept stopping unexpectedly."), True, 500),
    "STORAGE_UNAVAILABLE": Reason(_("The picture could not be stored or fetched."), True, 503),
    "GENERATOR_UNAVAILABLE": Reason(_("The image service could not be reached."), True, 503),
    "GENERATOR_BUSY": Reason(_("The image service is too busy at the moment."), True, 503),
    "GENERATOR_NO_PICTURE": Reason(_("The image service sent no usable picture."), True, 502),
    "GENERATOR_REFUSED": Reason(_("Our image service is rejecting requests. We are looking into it."), True, 503),
}


class DarkroomError(Exception):
    """The base of everything that Darkroom raises on purpose."""


class CodedError(DarkroomError):
    """Carries a stable code from `REASONS`, a sentence for the person, and a detail for admins only.

    `status` is the HTTP status where that is not the one of `REASONS`.
    """

    def __init__(self, code: str, message: str = "", *, detail: str = "", status: int | None = None) -> None:
        super().__init__(code, detail)
        self.code = code
        reason = REASONS.get(code, REASONS["INTERNAL"])
        self.message = storable(message) or reason.message
        self.detail = storable(detail)
        self.status = status or reason.status


class Rejected(CodedError):
    """What was sent, or the picture itself, cannot be accepted; trying again is no use."""


class NotAllowed(CodedError):
    """The record's rules forbid it in the state that the upload is in."""


class IllegalTransition(DarkroomError):
    """The stage or the progress would go back, or leave a terminal stage."""


class LeaseLost(DarkroomError):
    """Somebody else owns the upload now; nothing was changed."""
