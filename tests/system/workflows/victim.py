"""A worker that is killed in the middle of `generate`: `python -m tests.system.workflows.victim UPLOAD POINT`.

POINT is `answered` (nothing is kept yet), `kept` (nothing is settled yet) or `settled` (the step is not committed yet).
"""

import os
import signal
import sys
from typing import Any

import django

django.setup()

from uploads import ledger  # noqa: E402 - the models need Django set up
from uploads.models import Upload  # noqa: E402
from uploads.stages import StepName  # noqa: E402
from workflows import runner  # noqa: E402
from workflows.job import Job  # noqa: E402

BEFORE = {"answered": (Job, "keep"), "kept": (ledger, "settle"), "settled": (Upload, "complete_step")}


def main(upload_id: str, point: str) -> None:
    runner.run(StepName.VALIDATE, upload_id, "victim")
    owner, name = BEFORE[point]

    def die(*_: Any, **__: Any) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(owner, name, die)
    runner.run(StepName.GENERATE, upload_id, "victim")


if __name__ == "__main__":
    main(*sys.argv[1:])
