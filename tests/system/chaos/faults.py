"""Runs inside the processes under test, which load it instead of the real entry points: breaks them at chosen points.

The harness arms a fault by a file `armed/<point>~<step>~<how>~<number>` below CHAOS_FOLDER. The first process that
comes to that point takes the file away and does it. What was claimed, committed and broken goes to `journal`.

What is held stands still until the harness lets it go: until `fired/<the fault's token>`, or `held`, is removed.
"""

import functools
import json
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Container
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from django.db import connection
from django.db.models.functions import Now

from uploads.errors import Rejected
from uploads.models import Upload
from uploads.stages import StepName
from workflows import pipeline, recovery, runner, views
from workflows.errors import Deferred
from workflows.job import Job, Outcome
from workflows.pipeline import PIPELINE

FOLDER = Path(os.environ["CHAOS_FOLDER"])
HOST = os.environ.get("CHAOS_HOST", "")
"""Which of several hosts this process runs on."""


def install() -> None:
    """Wrap what the boundaries are made of. Every wrapper calls the real thing, once."""
    _at_the_claim()
    _at_the_work()
    _at_the_commit()
    _at_the_end()
    _at_the_hint()
    _at_the_sweep()
    if "CHAOS_WITHOUT_FENCE" in os.environ:
        _without_fence()
    if offset := float(os.environ.get("CHAOS_CLOCK_OFFSET", "0")):
        import time_machine

        time_machine.travel(datetime.now(UTC) + timedelta(seconds=offset), tick=True).start()


def journal(kind: str, **facts: Any) -> None:
    line = json.dumps({"kind": kind, "at": time.monotonic(), "pid": os.getpid()} | facts, default=str) + "\n"
    handle = os.open(FOLDER / "journal", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(handle, line.encode())
    finally:
        os.close(handle)


def reach(point: str, step: str, upload: Upload | None = None) -> None:
    """A boundary: whatever is armed for it happens now, to each upload at most once."""
    wanted = f"{point}~{step}~"
    for token in sorted(name for name in os.listdir(FOLDER / "armed") if name.startswith(wanted)):  # noqa: PTH208
        if upload and not _first_hit(upload):
            return
        try:
            (FOLDER / "armed" / token).rename(FOLDER / "fired" / token)
        except FileNotFoundError:
            continue
        how = token.split("~")[2]
        facts = {"upload": upload.pk, "fence": upload.fence} if upload else {}
        journal("fault", point=point, step=step, how=how, token=token, host=HOST, parent=os.getppid(), **facts)
        _strike(how, token)
        return


def _first_hit(upload: Upload) -> bool:
    try:
        (FOLDER / "hit" / str(upload.pk)).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def _strike(how: str, token: str) -> None:
    assert how not in {"parent", "term", "quit"} or os.getppid() != int(os.environ["CHAOS_HARNESS"])
    match how:
        case "child":
            os.kill(os.getpid(), signal.SIGKILL)
        case "parent":
            os.kill(os.getppid(), signal.SIGKILL)
        case "group":
            os.killpg(os.getpgrp(), signal.SIGKILL)
        case "stop":
            os.kill(os.getpid(), signal.SIGSTOP)
        case "term":
            os.kill(os.getppid(), signal.SIGTERM)
        case "quit":
            # Work that takes longer than the grace.
            os.kill(os.getppid(), signal.SIGTERM)
            time.sleep(3600)
        case "hold":
            _hold(FOLDER / "fired" / token)


def _hold(while_there: Path) -> None:
    while while_there.exists():
        time.sleep(0.02)


def _no_transaction(doing: str) -> None:
    if connection.in_atomic_block:
        journal("transaction", doing=doing)


def _at_the_claim() -> None:
    real = Upload.claim

    def claim(self: Upload, step: StepName, lease: timedelta, run_id: str) -> int | None:
        reach("claim.before", step, self)
        fence = real(self, step, lease, run_id)
        if fence is not None:
            _note_claim(self, step)
            reach("claim.after", step, self)
        return fence

    Upload.claim = claim  # type: ignore[method-assign]


def _note_claim(upload: Upload, step: str) -> None:
    facts = {"upload": upload.pk, "step": step, "fence": upload.fence, "run": upload.run, "attempt": upload.attempt}
    journal("claim", **facts, host=HOST)


def _at_the_work() -> None:
    for name, step in PIPELINE.items():
        PIPELINE[name] = step._replace(work=_broken(step.work))
    save, read = Job.save, Job.read

    def save_(self: Job, name: str, data: bytes) -> str:
        _no_transaction("save")
        reach("save.before", self.step, self.upload)
        key = save(self, name, data)
        reach("save.after", self.step, self.upload)
        return key

    def read_(self: Job, name: str) -> bytes:
        _no_transaction("read")
        return read(self, name)

    Job.save, Job.read = save_, read_  # type: ignore[method-assign]


def _broken(work: Callable[[Job], Outcome]) -> Callable[[Job], Outcome]:
    @functools.wraps(work)
    def broken(job: Job) -> Outcome:
        _no_transaction("work")
        reach("work.before", job.step, job.upload)
        _misbehave(job)
        outcome = work(job)
        reach("work.after", job.step, job.upload)
        return outcome

    return broken


def _misbehave(job: Job) -> None:
    """What a picture does to its workers is said by its source."""
    match job.upload.source, job.step:
        case "poison", StepName.GENERATE:
            journal("poison", upload=job.upload.pk)
            os.kill(os.getpid(), signal.SIGKILL)
        case ("hang", StepName.GENERATE) | ("stuck", StepName.STORE) if job.upload.attempt == 1:
            journal("hang", upload=job.upload.pk, step=job.step)
            time.sleep(3600)
        case "deaf", StepName.GENERATE if job.upload.attempt == 1:
            journal("hang", upload=job.upload.pk, step=job.step)
            signal.signal(signal.SIGUSR1, signal.SIG_IGN)
            time.sleep(3600)
        case "late" | "cancel", StepName.VALIDATE:
            raise Deferred("STORAGE_UNAVAILABLE")  # until what is to happen to it has happened
        case "held", StepName.GENERATE:
            _hold(FOLDER / "held")
        case "broken once", StepName.STORE if job.upload.run == 1:
            raise Rejected("STORAGE_UNAVAILABLE")


def _at_the_commit() -> None:
    real = Upload.complete_step

    def complete_step(self: Upload, *, fence: int, **outcome: Any) -> int | None:
        step, run = str(self.step), self.run

        def within(execute: Any, sql: str, *more: Any) -> Any:
            answer = execute(sql, *more)
            if sql.startswith('INSERT INTO "uploads_event"'):
                reach("commit.within", step, self)
            return answer

        reach("commit.before", step, self)
        with connection.execute_wrapper(within):
            following = real(self, fence=fence, **outcome)
        journal("commit", upload=self.pk, step=step, fence=fence, run=run)
        if following is not None:
            _note_claim(self, str(self.step))
        reach("commit.after", step, self)
        if following is not None:
            reach("claim.after", str(self.step), self)
        _exchange(runner, "hint", functools.partial(_hint, hint, step))
        return following

    hint = _exchange(runner, "hint", None)
    Upload.complete_step = complete_step  # type: ignore[method-assign]


def _at_the_end() -> None:
    done, run_on, hand_back = runner._done, runner.run_on, Upload.hand_back
    chance = _chance()

    def done_(job: Job, goes_on: Callable[[StepName], bool]) -> Job | None:
        try:
            return done(job, goes_on)
        finally:
            journal("left", upload=job.upload.pk, step=job.step)

    def run_on_(step: StepName, upload_id: str, run_id: str, served: Container[str]) -> None:
        """Every other time as if what follows were the work of other workers, who have to hear of it."""
        run_on(step, upload_id, run_id, served if chance.random() < 0.5 else ())

    def hand_back_(self: Upload, *, fence: int) -> None:
        hand_back(self, fence=fence)
        journal("handed back", upload=self.pk, fence=fence)

    _exchange(runner, "_done", done_)
    _exchange(runner, "run_on", run_on_)
    Upload.hand_back = hand_back_  # type: ignore[method-assign]


def _chance() -> random.Random:
    return random.Random(f"{os.environ['CHAOS_SEED']} {os.getpid()}")


def _exchange(owner: Any, name: str, new: Any) -> Any:
    """What was there before."""
    old = getattr(owner, name)
    setattr(owner, name, new)
    return old


def _hint(real: Callable[[Upload], None], step: str, upload: Upload) -> None:
    reach("hint.before", step, upload)
    real(upload)
    reach("hint.after", step, upload)


def _at_the_hint() -> None:
    receive = _exchange(views, "receive", None)

    def receive_(*arguments: Any, **more: Any) -> Any:
        reach("accept.before", "upload")
        return receive(*arguments, **more)

    _exchange(views, "receive", receive_)
    _exchange(views, "hint", functools.partial(_hint, pipeline.hint, "upload"))
    send = _unreliable(pipeline.send)
    for module in (pipeline, recovery):
        _exchange(module, "send", send)


def _unreliable(real: Callable[[Upload], bool]) -> Callable[[Upload], bool]:
    """Hints are dropped, repeated and late; how often of ten, is for CHAOS_HINTS to say: three numbers."""
    dropped, repeated, late = map(int, os.environ.get("CHAOS_HINTS", "0 0 0").split())
    chance = _chance()

    def send(upload: Upload) -> bool:
        _no_transaction("hint")
        fate = chance.randrange(10)
        if fate < dropped:
            journal("hint", fate="dropped", upload=upload.pk)
            return True
        if fate < dropped + repeated:
            journal("hint", fate="repeated", upload=upload.pk)
            return real(upload) and real(upload) and real(upload)
        if fate < dropped + repeated + late:
            journal("hint", fate="late", upload=upload.pk)
            threading.Timer(3, real, [upload]).start()
        return real(upload)

    return send


def _at_the_sweep() -> None:
    mark = recovery._mark

    def mark_(hinted: list[Upload]) -> None:
        if hinted:
            reach("mark.before", "sweep")
        mark(hinted)
        if hinted:
            reach("mark.after", "sweep")

    recovery._mark = mark_


def _without_fence() -> None:
    """What the fence is for: without it the checker must find something."""
    change = Upload._change

    def change_(self: Upload, decide: Callable[[Upload], Any], fence: int | None = None) -> Any:
        return change(self, decide)

    def renew(self: Upload, fence: int, lease: timedelta) -> bool:
        return bool(Upload.objects.filter(pk=self.pk, completed_at=None).update(lease_until=Now() + lease))

    Upload._change, Upload.renew = change_, renew  # type: ignore[method-assign]
