"""Pictures by Gemini: what is asked, what is answered, and what each way of failing comes to."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from decimal import Decimal
from typing import BinaryIO, NamedTuple

import pytest
from django.conf import LazySettings
from django.core.files.storage import default_storage
from django.db import connection, transaction
from django.db.models import Sum
from PIL import Image

from tests.support import gemini as server
from tests.support import pictures
from tests.support.api import Api, develop
from tests.support.gemini import KEY, WORDS, Act, Gemini, no_call_is_under_way
from tests.support.installation import wait_for
from uploads.models import ProviderCall, Upload
from uploads.stages import StepName
from workflows import images, runner
from workflows.generators import prompt

pytestmark = pytest.mark.django_db(transaction=True)
COST = Decimal("0.078140")
"""Of `server.USAGE`, at the prices that are shipped: 700 × 0.5 + 1290 × 60 + (30 + 100) × 3 millionths."""
PROMPT = Decimal("0.000350")
"""Of the prompt alone."""
RESERVED = Decimal("0.0789")
HUGE = pictures.png_that_claims(30_000, 30_000)


def generate(upload: Upload) -> None:
    for step in (StepName.VALIDATE, StepName.GENERATE):
        runner.run(step, str(upload.pk), "test")
    upload.refresh_from_db()


def generating(upload: Upload) -> threading.Thread:
    """As another worker would."""
    own = Upload.objects.get(pk=upload.pk)

    def work() -> None:
        try:
            generate(own)
        finally:
            connection.close()

    thread = threading.Thread(target=work)
    thread.start()
    return thread


def again(upload: Upload) -> None:
    """As if the wait were over."""
    Upload.objects.filter(pk=upload.pk).update(due_at=upload.created_at)
    generate(upload)


def calls(upload: Upload) -> list[ProviderCall]:
    found = list(upload.provider_calls.order_by("pk"))
    upload.refresh_from_db()
    assert upload.cost_usd == sum(call.cost_usd for call in found), "the upload's cost is not the sum of its calls"
    return found


def waits(upload: Upload) -> timedelta:
    return upload.due_at - upload.updated_at


def public(api: Api, upload: Upload) -> str:
    """All that its session can see of it."""
    routes = ("status/{}", "status/{}/events?limit=500", "jobs/{}", "builds/{}/events", "builds/{}/status")
    paths = [f"/api/{route.format(upload.pk)}" for route in routes]
    paths += [f"/jobs/{upload.pk}/status", f"/api/v1/projects/{upload.pk}/progress", "/api/jobs", "/api/jobs/stats"]
    return "\n".join(api.get(path).content.decode() for path in paths)


def test_a_picture_is_drawn_and_its_price_written_down(api: Api, gemini: Gemini) -> None:
    upload = api.finished(promptVersion="v2")
    assert (upload.status, upload.error_detail) == ("completed", "")
    (call,) = calls(upload)
    assert (call.status, call.outcome, call.cost_usd, call.reserved_usd) == ("settled", "picture", COST, RESERVED)
    assert call.tokens == {"prompt": 700, "image": 1290, "text": 30, "thoughts": 100}
    assert (call.provider, call.model, call.prompt_version) == ("gemini", "gemini-of-the-tests", "v2")
    assert (call.run, call.attempt) == (1, 1)
    assert call.ended_at
    assert call.ended_at >= call.started_at
    told = api.get(f"/api/status/{upload.pk}").json()
    assert told["costUsd"] == float(COST)
    progress = api.get(f"/api/v1/projects/{upload.pk}/progress").json()["data"]
    assert progress["llm_cost_so_far_usd"] == float(COST)
    result = api.get(f"/api/results/{upload.result.pk}").json()
    assert (result["model"], result["promptVersion"], result["width"]) == ("gemini-of-the-tests", "v2", 320)


def test_the_model_is_asked_with_picture_prompt_and_key(api: Api, gemini: Gemini) -> None:
    upload = api.finished(promptVersion="v3")
    (asked,) = gemini.requests
    assert asked["path"].endswith("/models/gemini-of-the-tests:generateContent")
    assert asked["key"] == KEY
    picture, text = asked["contents"][0]["parts"]
    assert picture["inlineData"]["mime_type"] == "image/png"
    assert text["text"] == prompt("v3")
    assert asked["generationConfig"]["responseModalities"] == ["IMAGE"]
    assert upload.status == "completed"


def test_the_last_picture_counts_and_thoughts_do_not(api: Api, gemini: Gemini) -> None:
    draft, thought = (pictures.encoded(pictures.quarters(), "PNG") for _ in range(2))
    parts = [server.inline(thought, thought=True), server.inline(draft), server.inline(server.drawn())]
    gemini.then(server.says(server.candidate(*parts, server.inline(thought, thought=True))))
    upload = api.finished()
    assert upload.result.width == 320


@pytest.mark.parametrize(
    ("act", "kind"),
    [
        (server.blocked_prompt(), "PROHIBITED_CONTENT"),
        (server.blocked_picture(), "IMAGE_SAFETY"),
        (server.blocked_picture("RECITATION"), "RECITATION"),
    ],
)
def test_a_picture_that_the_model_declines_fails_at_once(api: Api, gemini: Gemini, act: Act, kind: str) -> None:
    gemini.then(act)
    upload = api.finished()
    assert (upload.status, upload.error_code, upload.attempt) == ("failed", "CONTENT_BLOCKED", 1)
    assert upload.error_message == "The image service declined this photo."
    assert upload.error_detail == f"{kind}: {WORDS}"
    (call,) = calls(upload)
    assert (call.status, call.outcome, call.error_kind, call.reason) == ("settled", "blocked", kind, WORDS)
    assert call.cost_usd == PROMPT
    assert api.post(f"/api/jobs/{upload.pk}/retry").status_code == 409
    assert WORDS not in public(api, upload)


@pytest.mark.parametrize(
    ("act", "kind"),
    [
        (server.bad_key(), "400 INVALID_ARGUMENT"),
        (server.refusing(401, "UNAUTHENTICATED"), "401 UNAUTHENTICATED"),
        (server.refusing(403, "PERMISSION_DENIED"), "403 PERMISSION_DENIED"),
        (server.refusing(404, "NOT_FOUND"), "404 NOT_FOUND"),
        (server.refusing(400, "FAILED_PRECONDITION"), "400 FAILED_PRECONDITION"),
    ],
)
def test_what_only_the_operator_can_mend_costs_no_attempt(api: Api, gemini: Gemini, act: Act, kind: str) -> None:
    upload = api.accepted()
    gemini.then(act, act, act, act)
    generate(upload)
    for _ in range(3):
        again(upload)
    assert (upload.status, upload.stage, upload.attempt) == ("processing", "generating", 0)
    assert upload.error_detail.startswith(kind)
    assert WORDS in upload.error_detail
    assert [(call.status, call.outcome, call.error_kind) for call in calls(upload)] == [("failed", "refused", kind)] * 4
    assert upload.cost_usd == 0
    assert KEY not in upload.error_detail + "".join(call.reason for call in calls(upload))
    seen = public(api, upload)
    assert WORDS not in seen
    assert "Our image service is rejecting requests. We are looking into it. Retrying in" in seen
    again(upload)
    assert upload.stage == "storing", "mended, it goes on"


def test_too_many_requests_are_waited_for_as_long_as_the_model_says(api: Api, gemini: Gemini) -> None:
    gemini.then(server.busy("34.5s"), server.busy("90000s"), server.refusing(429, "RESOURCE_EXHAUSTED"))
    upload = api.accepted()
    generate(upload)
    assert (upload.status, upload.attempt) == ("processing", 0)
    assert timedelta(seconds=34.5) <= waits(upload) <= timedelta(seconds=42)
    again(upload)
    assert timedelta(hours=1) <= waits(upload) <= timedelta(hours=1.2), "the operator may have raised the quota by then"
    again(upload)
    assert timedelta(seconds=4) <= waits(upload) <= timedelta(minutes=6), "it does not say"
    again(upload)
    assert upload.stage == "storing"
    assert [(call.outcome, call.cost_usd) for call in calls(upload)] == [("busy", 0)] * 3 + [("picture", COST)]
    assert "is too busy at the moment. Retrying in" in public(api, upload)


class Failure(NamedTuple):
    name: str
    act: Act
    code: str
    status: str
    outcome: str
    cost: Decimal


NOTHING = Decimal(0)
FAILURES = [
    Failure(*row)
    for row in [
        ("500", server.refusing(500, "INTERNAL"), "GENERATOR_UNAVAILABLE", "failed", "failed", NOTHING),
        ("503", server.refusing(503, "UNAVAILABLE"), "GENERATOR_UNAVAILABLE", "failed", "failed", NOTHING),
        ("400", server.refusing(400, "INVALID_ARGUMENT"), "GENERATOR_UNAVAILABLE", "failed", "failed", NOTHING),
        (
            "surrogate",
            server.refusing(500, "\ud800", message="\ud800\0"),
            "GENERATOR_UNAVAILABLE",
            "failed",
            "failed",
            NOTHING,
        ),
        ("reset", server.resetting, "GENERATOR_UNAVAILABLE", "unknown", "lost", RESERVED),
        ("broken off", server.breaking_off, "GENERATOR_UNAVAILABLE", "unknown", "lost", RESERVED),
        ("nonsense", server.talking_nonsense, "GENERATOR_UNAVAILABLE", "unknown", "lost", RESERVED),
        ("no base64", server.drawing_no_base64(), "GENERATOR_UNAVAILABLE", "unknown", "lost", RESERVED),
        ("odd shape", server.says({"candidates": "none"}), "GENERATOR_NO_PICTURE", "unknown", "no picture", RESERVED),
        ("nothing", server.says({}), "GENERATOR_NO_PICTURE", "unknown", "no picture", RESERVED),
        ("only words", server.only_words(), "GENERATOR_NO_PICTURE", "settled", "no picture", Decimal("0.002150")),
        ("a new reason", server.blocked_picture("A_NEW_ONE"), "GENERATOR_NO_PICTURE", "settled", "no picture", PROMPT),
        ("empty picture", server.drawing(b""), "GENERATOR_NO_PICTURE", "settled", "no picture", COST),
        ("broken picture", server.drawing(b"no picture"), "GENERATOR_NO_PICTURE", "settled", "picture", COST),
        ("huge picture", server.drawing(HUGE), "GENERATOR_NO_PICTURE", "settled", "picture", COST),
    ]
]


@pytest.mark.filterwarnings("ignore:A_NEW_ONE is not a valid FinishReason:UserWarning")
@pytest.mark.parametrize("failure", FAILURES, ids=[failure.name for failure in FAILURES])
def test_what_may_pass_is_tried_again_and_then_fails(api: Api, gemini: Gemini, failure: Failure) -> None:
    _, act, code, status, outcome, cost = failure
    gemini.then(act, act, act)
    upload = api.accepted()
    generate(upload)
    assert (upload.status, upload.attempt) == ("processing", 1)
    again(upload)
    again(upload)
    assert (upload.status, upload.error_code, upload.attempt) == ("failed", code, 3)
    assert upload.progress < 70
    assert [(call.status, call.outcome, call.cost_usd) for call in calls(upload)] == [(status, outcome, cost)] * 3
    assert [call.attempt for call in calls(upload)] == [1, 2, 3]
    assert WORDS not in public(api, upload)
    assert api.post(f"/api/jobs/{upload.pk}/retry").status_code == 202
    develop(upload)
    assert (upload.status, len(gemini.requests)) == ("completed", 4)
    assert [call.run for call in calls(upload)] == [1, 1, 1, 2]
    assert upload.cost_usd == 3 * cost + COST


@pytest.mark.parametrize("count", [-70_000, 10**15, 10**40])
def test_figures_that_cannot_be_say_nothing_of_the_cost(api: Api, gemini: Gemini, count: int) -> None:
    """The reserve is counted; what was told is kept for the admin."""
    usage = {"promptTokenCount": 700, "candidatesTokenCount": count}
    gemini.then(server.says(server.candidate(server.inline(server.drawn()), usage=usage)))
    upload = api.finished()
    assert upload.status == "completed"
    (call,) = calls(upload)
    assert (call.status, call.outcome, call.cost_usd) == ("unknown", "picture", RESERVED)
    assert call.tokens["image"] + call.tokens["text"] == count


def test_nobody_there_costs_nothing(api: Api, gemini: Gemini, settings: LazySettings) -> None:
    settings.GEMINI_BASE_URL = "http://127.0.0.1:9"
    upload = api.accepted()
    generate(upload)
    assert (upload.status, upload.attempt) == ("processing", 1)
    assert [(call.status, call.outcome, call.error_kind) for call in calls(upload)] == [
        ("failed", "unreachable", "ConnectError")
    ]


@pytest.mark.parametrize("address", ["ftp://127.0.0.1", "localhost:8000"])
def test_an_address_that_cannot_be_is_the_operators(
    api: Api, gemini: Gemini, settings: LazySettings, address: str
) -> None:
    settings.GEMINI_BASE_URL = address
    upload = api.accepted()
    generate(upload)
    assert (upload.status, upload.attempt) == ("processing", 0)
    assert [call.outcome for call in calls(upload)] == ["refused"]


def test_a_model_that_does_not_answer_is_left_within_the_time_of_the_step(
    api: Api, gemini: Gemini, settings: LazySettings
) -> None:
    settings.STEP_TIMEOUT = timedelta(seconds=4)
    gemini.then(server.waiting_for(threading.Event()))
    upload = api.accepted()
    generate(upload)
    assert (upload.status, upload.attempt) == ("processing", 1)
    wait_for(no_call_is_under_way)
    (call,) = calls(upload)
    assert (call.status, call.error_kind, call.cost_usd) == ("unknown", "ReadTimeout", RESERVED)


def test_an_answer_that_trickles_is_left_too(api: Api, gemini: Gemini, settings: LazySettings) -> None:
    settings.STEP_TIMEOUT = timedelta(seconds=4)
    closed = threading.Event()

    def trickle(handler: server.Handler) -> None:
        handler.answer(200, b"{", claimed=1 << 20)
        try:
            while not closed.wait(0.1):
                handler.wfile.write(b" ")
        except OSError:
            closed.set()

    gemini.then(trickle)
    upload = api.accepted()
    try:
        generate(upload)
        assert (upload.status, upload.attempt) == ("processing", 1)
        wait_for(no_call_is_under_way)
        (call,) = calls(upload)
        assert (call.status, call.reason) == ("unknown", "the answer takes too long")
        wait_for(closed.is_set)
    finally:
        closed.set()


def test_an_answer_without_end_does_not_fill_the_memory(
    api: Api, gemini: Gemini, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workflows.generators.gemini.ANSWER_MAX_BYTES", 10_000)
    gemini.then(server.drawing(bytes(20_000)))
    upload = api.accepted()
    generate(upload)
    assert [(call.status, call.reason) for call in calls(upload)] == [("unknown", "the answer is too large")]


def test_progress_is_told_while_the_model_draws_and_never_reaches_the_end(
    api: Api, gemini: Gemini, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model is far slower than it is expected to be."""
    monkeypatch.setattr("workflows.generators.gemini.GeminiProvider.typical_seconds", 0.5)
    monkeypatch.setattr("workflows.generators.paid.REPORT_EVERY", 0.1)
    go_on = threading.Event()
    gemini.then(server.waiting_for(go_on))
    upload = api.accepted()
    work = generating(upload)
    seen: list[int] = []

    def late() -> bool:
        seen.append(Upload.objects.values_list("progress", flat=True).get(pk=upload.pk))
        return seen[-1] >= 67

    wait_for(late)
    go_on.set()
    work.join()
    assert seen == sorted(seen)
    assert max(seen) < 70
    assert len({step for step in seen if step > 30}) >= 3
    upload.refresh_from_db()
    assert upload.stage == "storing"


def test_a_cancelled_job_leaves_the_call_to_settle_itself(api: Api, gemini: Gemini) -> None:
    go_on = threading.Event()
    gemini.then(server.waiting_for(go_on))
    upload = api.accepted()
    work = generating(upload)
    wait_for(lambda: gemini.requests)
    version = Upload.objects.get(pk=upload.pk).version
    upload.cancel()
    work.join()
    assert [call.status for call in calls(upload)] == ["open"]
    go_on.set()
    wait_for(no_call_is_under_way)
    (call,) = calls(upload)
    assert (call.status, call.outcome, upload.cost_usd) == ("settled", "picture", COST)
    assert (upload.status, upload.error_code) == ("failed", "CANCELED")
    assert upload.version > version + 1, "a poller that has the version before does not see the cost"
    assert api.post(f"/api/jobs/{upload.pk}/retry").status_code == 202
    develop(upload)
    assert (upload.status, len(gemini.requests)) == ("completed", 1), "the picture was bought twice"


def test_a_cancelled_job_that_is_tried_again_waits_for_the_call_that_goes_on(api: Api, gemini: Gemini) -> None:
    go_on = threading.Event()
    gemini.then(server.waiting_for(go_on))
    upload = api.accepted()
    work = generating(upload)
    wait_for(lambda: gemini.requests)
    upload.cancel()
    work.join()
    upload.retry()
    generate(upload)
    assert (upload.stage, upload.attempt, upload.error_detail) == (
        "generating",
        0,
        "the call of an earlier run has not ended",
    )
    go_on.set()
    wait_for(no_call_is_under_way)
    Upload.objects.filter(pk=upload.pk).update(due_at=upload.created_at)
    develop(upload)
    assert (upload.status, len(gemini.requests)) == ("completed", 1), "the picture was bought twice"


def test_a_database_that_is_away_for_a_moment_does_not_end_a_step_whose_call_goes_on(
    api: Api, gemini: Gemini, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("workflows.generators.paid.REPORT_EVERY", 0.1)
    if connection.vendor == "sqlite":
        # Of the connections that are opened from now on: how long they wait for a lock.
        monkeypatch.setitem(connection.settings_dict["OPTIONS"], "timeout", 0.1)
    go_on = threading.Event()
    gemini.then(server.waiting_for(go_on))
    upload = api.accepted()
    work = generating(upload)
    wait_for(lambda: gemini.requests)
    with caplog.at_level("WARNING"), database_in_trouble():
        wait_for(lambda: "not recorded" in caplog.text or not work.is_alive())
    progress = Upload.objects.values_list("progress", flat=True).filter(pk=upload.pk)
    before = progress.get()
    wait_for(lambda: progress.get() > before or not work.is_alive())
    assert work.is_alive(), "the step ended, and left its call alone"
    go_on.set()
    work.join()
    upload.refresh_from_db()
    assert (upload.stage, upload.attempt, len(gemini.requests)) == ("storing", 0, 1)


@pytest.mark.parametrize(
    ("act", "ended"),
    [(server.drawing(), ("storing", "")), (server.blocked_picture(), ("failed", "CONTENT_BLOCKED"))],
)
def test_a_worker_that_must_stop_first_takes_what_it_has_bought(
    api: Api, gemini: Gemini, caplog: pytest.LogCaptureFixture, act: Act, ended: tuple[str, str]
) -> None:
    go_on = threading.Event()
    gemini.then(server.waiting_for(go_on, act))
    upload = api.accepted()

    def stop() -> None:
        wait_for(lambda: gemini.requests)
        os.kill(os.getpid(), signal.SIGUSR1)
        wait_for(lambda: "this worker has to end" in caplog.text)
        go_on.set()

    stopping = threading.Thread(target=stop)
    before = signal.signal(signal.SIGUSR1, lambda *_: sys.exit())
    caplog.set_level("INFO")
    stopping.start()
    try:
        with pytest.raises(SystemExit):
            generate(upload)
    finally:
        go_on.set()
        stopping.join()
        signal.signal(signal.SIGUSR1, before)
    upload.refresh_from_db()
    assert (upload.stage, upload.error_code) == ended
    assert [call.status for call in calls(upload)] == ["settled"]


@contextmanager
def database_in_trouble() -> Iterator[None]:
    """Others lose their connections at the beginning, or cannot write inside the block."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            others = "datname = current_database() AND pid <> pg_backend_pid()"
            cursor.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {others}")  # noqa: S608
        yield
    else:
        with transaction.atomic():
            yield


def test_a_worker_that_comes_late_spoils_nothing_that_was_bought_since(
    api: Api, gemini: Gemini, monkeypatch: pytest.MonkeyPatch
) -> None:
    gemini.then(server.drawing(b"no picture"), server.drawing())
    upload = api.accepted()
    decode, late = images.decode, iter([True])

    def held_up(file: BinaryIO, **limits: int) -> Image.Image:
        if file.getbuffer() == b"no picture" and next(late, False):  # type: ignore[attr-defined]
            # Others have it by the time that this worker has seen that its own is no use.
            Upload.objects.filter(pk=upload.pk).update(lease_until=upload.created_at)
            develop(Upload.objects.get(pk=upload.pk))
        return decode(file, **limits)

    monkeypatch.setattr(images, "decode", held_up)
    generate(upload)
    assert upload.status == "completed"
    raw = upload.steps.get(name="generate").output["raw"]
    assert default_storage.exists(raw)
    assert [call.status for call in calls(upload)] == ["settled"] * 2


def test_a_later_step_that_is_tried_again_buys_nothing(
    api: Api, gemini: Gemini, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = api.accepted()
    generate(upload)
    raw = upload.steps.get(name="generate").output["raw"]
    Upload.objects.filter(pk=upload.pk).update(attempt=2)
    with monkeypatch.context() as patch:
        patch.setattr("workflows.images.encode_thumbnail", _broken)
        develop(upload)
    assert (upload.status, upload.failed_step) == ("failed", "store")
    upload.retry()
    develop(upload)
    assert upload.status == "completed"
    assert len(gemini.requests) == len(calls(upload)) == 1
    assert raw == f"{upload.pk}/generate/call-{calls(upload)[0].pk}.raw"


def _broken(*_: object) -> None:
    raise RuntimeError("no")


def test_the_sum_is_exact_over_many_calls(api: Api, gemini: Gemini) -> None:
    """Binary fractions would be a little off."""
    cents = {"promptTokenCount": 200_001}
    for _ in range(3):
        gemini.then(*[server.says(server.candidate({"text": "…"}, usage=cents))] * 3)
    upload = api.accepted()
    for run in range(3):
        for _ in range(3):
            again(upload)
        assert (upload.status, upload.run) == ("failed", run + 1)
        upload.retry()
    again(upload)
    assert upload.cost_usd == 9 * Decimal("0.100001") + COST
    assert upload.provider_calls.aggregate(sum=Sum("cost_usd"))["sum"] == upload.cost_usd
