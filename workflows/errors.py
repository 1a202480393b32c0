"""How a step ends when it does not succeed.

A step raises `uploads.errors.Rejected` for what no further attempt can mend, `Transient` for what may pass, and
`Deferred` while something that it needs is away. Anything else that escapes it is a fault of ours: recorded, and
tried again like a `Transient`.
"""

from datetime import timedelta

from uploads.errors import CodedError


class Transient(CodedError):
    """May succeed later: the step is tried again, up to its maximum of attempts."""


class Deferred(Transient):
    """Not the picture's fault, and not now: tried again later without using up an attempt, until the job's deadline.

    `wait` is how long, when somebody has said so.
    """

    def __init__(self, code: str, message: str = "", *, detail: str = "", wait: timedelta | None = None) -> None:
        super().__init__(code, message, detail=detail)
        self.wait = wait
