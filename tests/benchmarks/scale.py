"""What it costs when there are a thousand times as many uploads: `python -m tests.benchmarks.scale`.

Two databases that differ in nothing but their size, asked in turn. Polls are of the newest thousand jobs: those that
somebody watches. The larger database is then updated a million times, as running jobs would, and measured.
"""

import itertools
import json
import random
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from uuid import uuid4

from tests.benchmarks import report
from tests.benchmarks.environment import darkroom

FEW = 1_000
WATCHED = 1_000
RARE = 50
"""Of so many calls, pages of the admin get one."""
PATIENT = {"DATABASE_STATEMENT_TIMEOUT_SECONDS": "3600"}
"""Ten million rows come in one statement."""
UPDATES_OF_ONE = 25
"""Of a job that runs."""


def main() -> None:
    parser = report.options(__doc__)
    parser.add_argument("--database", choices=["sqlite", "postgresql"], default="postgresql")
    parser.add_argument("--uploads", type=int, default=1_000_000, help="in the larger database")
    parser.add_argument("--calls", type=int, default=1000, help="of each query in each round")
    parser.add_argument("--updates", type=int, default=1_000_000, help="at the end; 0 for none")
    chosen = parser.parse_args()
    with darkroom(chosen.database, **PATIENT) as folder, _databases(folder, FEW, chosen.uploads) as sizes:
        tables: dict[str, report.Table] = {}
        for _ in range(chosen.rounds):
            for name, size in sizes.items():
                _connect(name)
                for (what, unit), figure in (_pages() | _times(_queries(), chosen.calls)).items():
                    title = f"{what}, {chosen.database}"
                    guarded = () if "p99" in what else None
                    table = report.Table(title, unit, _words(FEW), more_is_better=False, guarded=guarded, at_best=1)
                    tables.setdefault(title, table).add(_words(size), figure)
        report.finish(list(tables.values()), chosen)
        _explain()
        if chosen.updates and chosen.database == "postgresql":
            _updated(chosen.updates)


def _words(count: int) -> str:
    return f"{count:,} uploads"


@contextmanager
def _databases(folder: Path, *sizes: int) -> Iterator[dict[str, int]]:
    """Names of databases, with so many uploads each."""
    from django.db import connection

    from tests.benchmarks.crowd import run, timed_fill

    first, of_server = str(connection.settings_dict["NAME"]), connection.vendor == "postgresql"
    made = {f"scale_{size}_{uuid4().hex[:8]}": size for size in sizes}
    if not of_server:
        made = {str(folder / name): size for name, size in made.items()}
    try:
        for name, size in made.items():
            if of_server:
                _connect(first)
                run(f'CREATE DATABASE "{name}"')
            _connect(name)
            timed_fill(size)
        yield made
    finally:
        _connect(first)
        for name in made if of_server else ():
            run(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


def _connect(name: str) -> None:
    from django.db import connection

    from uploads import estimates

    connection.close()
    connection.settings_dict["NAME"] = name
    estimates.forget()


def _pages() -> dict[tuple[str, str], float]:
    """How much of the database the sweep looks at: no business of the machine's."""
    from django.db import connection

    from workflows import recovery

    if connection.vendor != "postgresql":
        return {}
    found = {}
    for query in (recovery.hopeless, recovery.unhinted):
        told = json.loads(query()[: recovery.BATCH].explain(format="json", analyze=True, buffers=True))[0]["Plan"]
        found[f"{query.__name__}, looked at", "pages"] = float(told["Shared Hit Blocks"] + told["Shared Read Blocks"])
    return found


def _times(queries: dict[str, Callable[[], object]], calls: int) -> dict[tuple[str, str], float]:
    found: dict[tuple[str, str], float] = {}
    for name, query in queries.items():
        count = max(calls // RARE, 20) if name.startswith(("admin", "mark", "claim")) else calls
        taken = [_milliseconds(query) for _ in range(count + 5)][5:]  # the first ones plan and warm up
        cuts = statistics.quantiles(taken, n=100, method="inclusive")
        found |= {(f"{name}, p50", "ms"): cuts[49], (f"{name}, p99", "ms"): cuts[98]}
    return found


def _milliseconds(query: Callable[[], object]) -> float:
    began = time.perf_counter()
    query()
    return 1000 * (time.perf_counter() - began)


def _queries() -> dict[str, Callable[[], object]]:
    """In an order in which none spoils another."""
    from datetime import timedelta

    from status import outbox
    from status.authentication import _find
    from uploads.models import Event, OutboxEntry, Upload
    from uploads.stages import StepName
    from workflows import recovery

    newest = list(Upload.objects.filter(completed_at__isnull=False).select_related("session").order_by("-id")[:WATCHED])
    watched = itertools.cycle(random.Random(1).sample(newest, len(newest)))
    events = Event.objects.filter(upload__in=newest[: outbox.BATCH], seq=1)
    entries = [OutboxEntry(event=each, upload_id=each.upload_id, type="job.stage_changed") for each in events]
    waiting = Upload.objects.waiting().order_by("-due_at", "-pk")
    # What was claimed in the round before is told, and those that were hinted in it have waited long again.
    outbox.publish()
    waiting.filter(hinted_at__isnull=False).update(hinted_at=None)
    to_mark, to_claim, talks = list(recovery.unhinted()[: recovery.BATCH]), waiting.iterator(), waiting[0]

    def status() -> None:
        upload = next(watched)
        assert _find.first(upload.session.token_hash, upload.pk)

    for _ in newest:
        status()  # whoever watches has asked before

    def through_the_outbox() -> None:
        OutboxEntry.objects.bulk_create(entries)
        assert outbox.publish() == outbox.BATCH

    return {
        "status": status,
        "event tail": lambda: list(next(watched).events.filter(seq__gt=5).order_by("seq")[:101]),
        "job list": lambda: list(Upload.objects.for_session(newest[0].session).with_outlook()[:21]),
        "sweep, hopeless": lambda: list(recovery.hopeless()[: recovery.BATCH]),
        "sweep, unhinted": lambda: list(recovery.unhinted()[: recovery.BATCH]),
        "one event": lambda: talks.log("info", "A word."),
        "100 entries through the outbox": through_the_outbox,
        **_admin(),
        "mark": lambda: recovery._mark(to_mark),
        "claim": lambda: next(to_claim).claim(StepName.VALIDATE, timedelta(0), "bench"),
    }


PAGES = {
    "list": "",
    "list, page 20": "?p=20",
    "processing": "?status=processing",
    "completed": "?status=completed",
    "failed": "?status=failed",
    "one error code": "?error_code=STEP_TIMEOUT",
    "stuck": "?state=stuck",
    "by generator": "?model=local-ink-1",
    "a day old, completed": "?status=completed&age=day",
    "older than 30 days": "?age=older",
    "search by name": "?q=holiday-99",
    "search for nothing": "?q=nothing-like-it",
    "search by source": "?q=order-77",
}


def _admin() -> dict[str, Callable[[], object]]:
    from django.contrib.auth.models import User
    from django.test import Client

    browser = Client(SERVER_NAME="127.0.0.1")
    browser.force_login(User.objects.get_or_create(username="operator", is_staff=True, is_superuser=True)[0])
    pages = {name: f"/admin/uploads/upload/{query}" for name, query in PAGES.items()}
    pages |= {f"figures, {window}": f"/admin/figures/?window={window}" for window in ("1h", "24h", "7d")}

    def ask(address: str) -> None:
        answer = browser.get(address)
        assert answer.status_code == 200, (answer.status_code, address)

    return {f"admin, {name}": partial(ask, address) for name, address in pages.items()}


def _explain() -> None:
    """How the larger database, which was asked last, finds what is asked for most."""
    from status.authentication import _session_and_upload
    from uploads.models import OutboxEntry, Session, Upload
    from workflows import recovery

    upload = Upload.objects.order_by("-id")[0]
    session = Session.objects.get(pk=upload.session_id)
    asked = {
        "status": _session_and_upload(str(session.token_hash), upload.pk),
        "event tail": upload.events.filter(seq__gt=5).order_by("seq")[:101],
        "job list": Upload.objects.for_session(session).with_outlook().only("id")[:21],
        "sweep, hopeless": recovery.hopeless()[: recovery.BATCH].only("id"),
        "sweep, unhinted": recovery.unhinted()[: recovery.BATCH].only("id"),
        "outbox": OutboxEntry.objects.order_by("pk")[:100],
        "admin, list": Upload.objects.order_by("-id").only("id")[:50],
    }
    for name, queryset in asked.items():
        print(f"\n{name}\n{queryset.explain()}")


RUNNING = 100
"""Jobs at once."""
UPDATE = """
DO $$
DECLARE ids uuid[] := ARRAY(SELECT id FROM uploads_upload WHERE fence = {fence} ORDER BY id); running uuid;
BEGIN
    FOR start IN 1 .. array_length(ids, 1) BY {running} LOOP
        FOR time IN 1 .. {times} LOOP
            FOREACH running IN ARRAY ids[start : start + {running} - 1] LOOP
                UPDATE uploads_upload SET version = version + 1, event_count = event_count + 1, progress = progress + 1,
                    updated_at = clock_timestamp(), lease_until = clock_timestamp() + interval '30 seconds'
                WHERE id = running;
                COMMIT;
            END LOOP;
        END LOOP;
    END LOOP;
END $$
"""


def _updated(count: int) -> None:
    """What so many updates leave behind, of jobs that run, each updated again and again among the others.

    Each is a transaction, as from a worker; none waits for the disk, or it would be the disk that is measured.
    """
    from tests.benchmarks.crowd import run
    from tests.support.factories import SessionFactory, UploadFactory
    from uploads.models import Upload

    session, fence = SessionFactory.create(), 1000
    running = (UploadFactory.build(session=session, fence=fence) for _ in range(count // UPDATES_OF_ONE))
    Upload.objects.bulk_create(running, batch_size=1000)
    run("VACUUM ANALYZE uploads_upload")
    run("SET synchronous_commit = off")
    before, hot = _sizes(), _updates()
    began = time.perf_counter()
    run(UPDATE.format(fence=fence, times=UPDATES_OF_ONE, running=RUNNING))
    seconds = time.perf_counter() - began
    run("SELECT pg_stat_force_next_flush()")
    updates, in_place = (now - then for now, then in zip(_updates(), hot, strict=True))
    print(f"\n{updates:,} updates, {updates / seconds:,.0f}/s; HOT, in no index: {in_place / updates:.1%}")
    for name, size in _sizes().items():
        print(f"{name:40} {before[name] / 2**20:8.1f} MiB, then {size / 2**20:8.1f} MiB")


def _updates() -> tuple[int, int]:
    from tests.benchmarks.crowd import run

    ((all_of_them, hot),) = run(
        "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'uploads_upload'"
    )
    return all_of_them, hot


def _sizes() -> dict[str, int]:
    from tests.benchmarks.crowd import run

    return dict(
        run(
            "SELECT relname, pg_relation_size(oid) FROM pg_class WHERE oid = 'uploads_upload'::regclass"
            " OR oid IN (SELECT indexrelid FROM pg_index WHERE indrelid = 'uploads_upload'::regclass) ORDER BY relname"
        )
    )


if __name__ == "__main__":
    main()
