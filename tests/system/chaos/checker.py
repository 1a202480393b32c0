"""What must hold after a chaos run, by the numbers of the invariants: over the database, the files and what was seen.

 1 one end each, in time · 2 goes on within lease + sweep · 3 accepted without a broker, and finished · 4 database
 away: 503 with Retry-After, nothing twice · 5 hints in any number change nothing · 6 a stale worker changes nothing ·
 7 nothing seen goes back · 8 one terminal event, one result · 9 events 1, 2, 3 … · 10 poison ends after its attempts ·
 11 no transaction during work, nor while hinting · 12 hung work ends at its limit, and frees its slot · 13 spare beats,
 sweepers, skewed clocks: as 1 to 9 · 14 what is named is there and whole · 15 SIGTERM costs no attempt · 16 one upload
 for a key · 17 what is drawn is drawn once, however often what comes after it is tried

Not judged here: webhooks and analytics of 8 and 12, the paid calls of 17, 18.

Notes of different processes may lie in another order than what they tell of: a process may be held up between doing
and noting. So nothing is judged by the order of two processes' notes.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from PIL import Image

from tests.system.chaos.watcher import Seen
from uploads.models import Event, Result, Step, Upload

STEPS = ["validate", "generate", "store", "watermark"]
RANK = {None: 0, "validating": 1, "generating": 2, "storing": 3, "watermarking": 4, "complete": 5, "failed": 6}
ENDS = {"job.completed", "job.failed"}
MADE_BY = {"validate": "work", "generate": "raw"}


class Sent(NamedTuple):
    key: str
    job: str
    code: str
    """The error code that the job is to end with; empty for a result."""
    took: float
    """Seconds from the request to its 202."""


@dataclass
class Evidence:
    sent: list[Sent]
    seen: list[Seen]
    journal: list[dict[str, Any]]
    media: Path
    attempts: int
    recovery_limit: float
    """Seconds that a job may stand still after a fault."""
    outages: list[tuple[float, float]] = field(default_factory=list)
    """Of the database: when each began and ended."""
    without_broker: list[str] = field(default_factory=list)
    """Uploads that were accepted while the broker was dead."""
    alive: set[int] = field(default_factory=set)
    """The processes that are there at the end."""
    restarts: Counter[str] = field(default_factory=Counter)
    uploads: dict[str, dict[str, Any]] = field(default_factory=dict)
    events: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: defaultdict(list))
    steps: dict[str, dict[str, Any]] = field(default_factory=lambda: defaultdict(dict))
    results: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: defaultdict(list))

    def load(self, alias: str) -> None:
        self.uploads = {str(row["id"]): row for row in _rows(Upload, alias, "id")}
        for row in _rows(Event, alias, "upload", "seq"):
            self.events[str(row["upload_id"])].append(row)
        for row in _rows(Step, alias, "id"):
            self.steps[str(row["upload_id"])][row["name"]] = row
        for row in _rows(Result, alias, "id"):
            self.results[str(row["upload_id"])].append(row)

    def told(self, *kinds: str) -> list[dict[str, Any]]:
        return [entry for entry in self.journal if entry["kind"] in kinds]


def _rows(model: Any, alias: str, *order: str) -> list[dict[str, Any]]:
    return list(model.objects.using(alias).order_by(*order).values())


Finding = tuple[int, str, str]
"""The invariant's number, the upload (or nothing), and what is wrong."""


def check(evidence: Evidence) -> list[Finding]:
    """Everything that does not hold; empty is good."""
    return [finding for judge in JUDGES for finding in judge(evidence)]


def ends_once_and_in_time(evidence: Evidence) -> Iterator[Finding]:
    expected = {sent.job: sent.code for sent in evidence.sent}
    for job in expected:
        if job not in evidence.uploads:
            yield 1, job, "was acknowledged, and is not there"
    for job, row in evidence.uploads.items():
        code = expected.get(job, "")
        if row["completed_at"] is None:
            yield 1, job, f"has not ended: {row['stage']} {row['progress']}"
        elif row["error_code"] != code:
            yield 1, job, f"ended with {row['error_code'] or 'a result'}, not with {code or 'a result'}"
        elif code != "DEADLINE_EXCEEDED" and row["completed_at"] > row["deadline_at"]:
            yield 1, job, "ended after its deadline"


def goes_on_soon(evidence: Evidence) -> Iterator[Finding]:
    for job, seconds in recoveries(evidence).items():
        if seconds > evidence.recovery_limit:
            yield 2, job, f"stood still for {seconds:.1f} s after a fault"


def recoveries(evidence: Evidence) -> dict[str, float]:
    """Seconds from a fault to the next sign of life of the job that it hit."""
    found: dict[str, float] = {}
    for fault in evidence.told("fault"):
        if job := fault.get("upload"):
            lives = [e["at"] for e in evidence.told("claim", "commit") if e["upload"] == job and e["at"] > fault["at"]]
            if lives:
                found[job] = min(lives) - fault["at"]
    return found


def goes_on_with_a_broker(evidence: Evidence) -> Iterator[Finding]:
    for job in evidence.without_broker:
        if evidence.uploads[job]["stage"] != "complete":
            yield 3, job, f"was accepted without a broker, and is {evidence.uploads[job]['stage']}"


def answers_are_well_formed(evidence: Evidence) -> Iterator[Finding]:
    for seen in evidence.seen:
        if seen.code not in {0, 200, 503}:
            yield 4, seen.job, f"a poll was answered with {seen.code}"
        if seen.code == 503 and not seen.retry_after:
            yield 4, seen.job, "a 503 without Retry-After"


def each_step_is_committed_once(evidence: Evidence) -> Iterator[Finding]:
    commits = Counter((entry["upload"], entry["run"], entry["step"]) for entry in evidence.told("commit"))
    for (job, run, step), times in commits.items():
        if times > 1:
            yield 5, job, f"{step} was committed {times} times in run {run}"
    for job, events in evidence.events.items():
        runs = 1 + sum(event["type"] == "job.retried" for event in events)
        done = Counter(event["data"].get("step") for event in events if event["type"] == "step.completed")
        begun = Counter(event["data"].get("step") for event in events if event["type"] == "step.started")
        for step in STEPS:
            if done[step] > 1:
                yield 5, job, f"{step} was completed {done[step]} times"
            if begun[step] > runs:
                yield 5, job, f"{step} was started {begun[step]} times in {runs} runs"
        if evidence.uploads[job]["stage"] == "complete" and set(done) != set(STEPS):
            yield 5, job, f"completed only {sorted(map(str, done))}"


def stale_workers_change_nothing(evidence: Evidence) -> Iterator[Finding]:
    newest: Counter[tuple[str, int, str]] = Counter()
    for claim in evidence.told("claim"):
        key = claim["upload"], claim["run"], claim["step"]
        newest[key] = max(newest[key], claim["fence"])
    for commit in evidence.told("commit"):
        job, step, fence = commit["upload"], commit["step"], commit["fence"]
        if fence < newest[job, commit["run"], step]:
            yield 6, job, f"fence {fence} committed {step}, which was claimed with {newest[job, commit['run'], step]}"
    for job, steps in evidence.steps.items():
        for step, row in steps.items():
            wanted = MADE_BY.get(step)
            if row["status"] == "completed" and wanted and wanted not in row["output"]:
                yield 6, job, f"{step} handed on {sorted(row['output'])}"


def nothing_seen_goes_back(evidence: Evidence) -> Iterator[Finding]:
    lines: dict[tuple[int, str], list[dict[str, Any]]] = defaultdict(list)
    for seen in evidence.seen:
        if seen.feed == "status" and seen.code == 200:
            lines[seen.poller, seen.job].append(seen.document)
    for (_, job), documents in lines.items():
        for before, now in pairwise(documents):
            if now["progress"] < before["progress"]:
                yield 7, job, f"progress {before['progress']} → {now['progress']}"
            if now["run"] < before["run"] or now["eventCount"] < before["eventCount"]:
                yield 7, job, "run or eventCount went back"
            if now["run"] == before["run"] and RANK[now["stage"]] < RANK[before["stage"]]:
                yield 7, job, f"stage {before['stage']} → {now['stage']}"
            if before["isTerminal"] and now["run"] == before["run"] and now != before:
                yield 7, job, "changed after its end"


def one_end_one_result(evidence: Evidence) -> Iterator[Finding]:
    for job, events in evidence.events.items():
        kinds = [event["type"] for event in events]
        runs = 1 + kinds.count("job.retried")
        row, ends = evidence.uploads[job], sum(kind in ENDS for kind in kinds)
        if row["completed_at"] and (ends != runs or kinds[-1] not in ENDS):
            yield 8, job, f"{ends} ends in {runs} runs, the last event is {kinds[-1]}"
        if row["run"] != runs:
            yield 8, job, f"run {row['run']}, but {runs} by the events"
        if row["stage"] == "complete" and len(evidence.results[job]) != 1:
            yield 8, job, f"{len(evidence.results[job])} results"


def events_have_no_gap(evidence: Evidence) -> Iterator[Finding]:
    for job, row in evidence.uploads.items():
        numbers = [event["seq"] for event in evidence.events[job]]
        if numbers != list(range(1, row["event_count"] + 1)):
            yield 9, job, f"events {numbers} of {row['event_count']}"


def event_polls_have_no_gap(evidence: Evidence) -> Iterator[Finding]:
    expected: dict[tuple[int, str], int] = defaultdict(int)
    contents: dict[tuple[str, int], Any] = {}
    for seen in evidence.seen:
        if seen.feed != "events" or seen.code != 200:
            continue
        for event in seen.document["events"]:
            expected[seen.poller, seen.job] += 1
            if event["id"] != expected[seen.poller, seen.job]:
                yield 9, seen.job, f"poller {seen.poller} got event {event['id']} after {seen.after}"
            if contents.setdefault((seen.job, event["id"]), event) != event:
                yield 9, seen.job, f"event {event['id']} changed"


def every_poller_has_all_events(evidence: Evidence) -> Iterator[Finding]:
    got: Counter[tuple[int, str]] = Counter()
    for seen in evidence.seen:
        if seen.feed == "events" and seen.code == 200:
            got[seen.poller, seen.job] += len(seen.document["events"])
    for (poller, job), count in got.items():
        if count != evidence.uploads[job]["event_count"]:
            yield 9, job, f"poller {poller} got {count} events"


def poison_ends(evidence: Evidence) -> Iterator[Finding]:
    killed = Counter(entry["upload"] for entry in evidence.told("poison"))
    for job, times in killed.items():
        row = evidence.uploads[job]
        lost = evidence.steps[job]["generate"]["attempt"]
        if row["error_code"] != "WORKER_LOST" or lost != evidence.attempts or times > evidence.attempts:
            yield 10, job, f"poison: {row['error_code']} after {lost} attempts and {times} kills"


def no_transaction_during_work(evidence: Evidence) -> Iterator[Finding]:
    for entry in evidence.told("transaction"):
        yield 11, "", f"a transaction was open during {entry['doing']}"


def hung_work_ends(evidence: Evidence) -> Iterator[Finding]:
    left = Counter((entry["pid"], entry["upload"], entry["step"]) for entry in evidence.told("left"))
    for hung in evidence.told("hang"):
        job, step = hung["upload"], hung["step"]
        if evidence.steps[job][step]["attempt"] < 2:
            yield 12, job, f"hung in {step}, and was not tried again"
        if hung["pid"] in evidence.alive and not left[hung["pid"], job, step]:
            yield 12, job, f"still keeps a worker busy with {step}"


def files_are_whole(evidence: Evidence) -> Iterator[Finding]:
    for job, row in evidence.uploads.items():
        results = evidence.results[job] if row["stage"] == "complete" else []
        names = [row["original"], *(result[kind] for result in results for kind in ("full", "preview", "thumbnail"))]
        for name in names:
            try:
                with Image.open(evidence.media / name) as picture:
                    picture.load()
            except OSError as error:
                yield 14, job, f"{name}: {error}"
        for result in results:
            for kind, step in (("full", "store"), ("thumbnail", "store"), ("preview", "watermark")):
                if not result[kind].startswith(f"{job}/{step}/"):
                    yield 14, job, f"{kind} is {result[kind]}"


def a_shutdown_costs_no_attempt(evidence: Evidence) -> Iterator[Finding]:
    """Whoever held a step when its worker was told to stop finished it or handed it back."""
    for fault in evidence.told("fault"):
        held = _held(evidence, fault) if fault["how"] in {"term", "quit"} else None
        if held is None or held["upload"] in {entry["upload"] for entry in evidence.told("poison")}:
            continue
        job, step = held["upload"], held["step"]
        later = [c for c in evidence.told("claim") if c["upload"] == job and c["fence"] > held["fence"]]
        again = min(later, key=lambda claim: int(claim["fence"]), default=None)
        if again is None or any(begin < again["at"] and end > fault["at"] for begin, end in evidence.outages):
            continue
        if (again["step"], again["run"]) == (step, held["run"]) and again["attempt"] > held["attempt"]:
            yield 15, job, f"lost {step} to a SIGTERM: attempt {held['attempt']}, then {again['attempt']}"


def _held(evidence: Evidence, fault: dict[str, Any]) -> dict[str, Any] | None:
    """The claim that the process had at the fault, or took right after it."""
    claims = [
        claim
        for claim in evidence.told("claim")
        if (claim["pid"], claim["upload"], claim["step"]) == (fault["pid"], fault.get("upload"), fault["step"])
        and claim["fence"] >= fault["fence"]
    ]
    return min(claims, key=lambda claim: int(claim["fence"]), default=None)


def one_upload_for_a_key(evidence: Evidence) -> Iterator[Finding]:
    jobs = defaultdict(set)
    for sent in evidence.sent:
        jobs[sent.key].add(sent.job)
    for key, found in jobs.items():
        if len(found) > 1:
            yield 16, "", f"{len(found)} uploads for the key {key}"
    keys = Counter(row["idempotency_key"] for row in evidence.uploads.values())
    for key, times in keys.items():
        if times > 1:
            yield 16, "", f"{times} rows for the key {key}"


def what_is_drawn_is_drawn_once(evidence: Evidence) -> Iterator[Finding]:
    drawn = Counter(entry["upload"] for entry in evidence.told("commit") if entry["step"] == "generate")
    for job, times in drawn.items():
        if times > 1:
            yield 17, job, f"generate was committed {times} times over all runs"
    done = {entry["upload"]: entry["fence"] for entry in evidence.told("commit") if entry["step"] == "generate"}
    for claim in evidence.told("claim"):
        job, fence = claim["upload"], claim["fence"]
        if claim["step"] == "generate" and fence > done.get(job, fence):
            yield 17, job, f"was drawn again with fence {fence}, and had been with {done[job]}"


JUDGES: list[Callable[[Evidence], Iterator[Finding]]] = [
    ends_once_and_in_time,
    goes_on_soon,
    goes_on_with_a_broker,
    answers_are_well_formed,
    each_step_is_committed_once,
    stale_workers_change_nothing,
    nothing_seen_goes_back,
    one_end_one_result,
    events_have_no_gap,
    event_polls_have_no_gap,
    every_poller_has_all_events,
    poison_ends,
    no_transaction_during_work,
    hung_work_ends,
    files_are_whole,
    a_shutdown_costs_no_attempt,
    one_upload_for_a_key,
    what_is_drawn_is_drawn_once,
]


JUDGED = [*range(1, 13), *range(14, 18)]


def table(evidence: Evidence) -> str:
    faults = evidence.told("fault")
    completed = [step for steps in evidence.steps.values() for step in steps.values() if step["status"] == "completed"]
    recovered = recoveries(evidence)
    longest, middle = max(recovered.values(), default=0.0), median(recovered.values()) if recovered else 0.0
    hints = Counter(entry["fate"] for entry in evidence.told("hint"))
    told_to_stop = [fault for fault in faults if fault["how"] in {"term", "quit"}]
    found = Counter(number for number, _, _ in check(evidence))
    rows = {
        "uploads": f"{len(evidence.uploads)} ({Counter(row['stage'] for row in evidence.uploads.values())})",
        "faults": f"{len(faults)} ({dict(Counter(fault['how'] for fault in faults))})",
        "boundaries hit": len({(fault["point"], fault["step"]) for fault in faults}),
        "processes restarted": f"{sum(evidence.restarts.values())} ({dict(evidence.restarts)})",
        "SIGTERMs": f"{len(told_to_stop)}, {len(evidence.told('handed back'))} steps handed back",
        "without a broker": f"{len(evidence.without_broker)} accepted",
        "slowest acceptance": f"{max((sent.took for sent in evidence.sent), default=0.0):.1f} s",
        "hints": dict(hints),
        "executions": f"{len(evidence.told('claim'))} for {len(completed)} completed steps",
        "polls": f"{len(evidence.seen)} ({dict(Counter(seen.code for seen in evidence.seen))})",
        "longest recovery": f"{longest:.1f} s, median {middle:.1f} s of {len(recovered)}",
        "invariants": " ".join(f"{number}:{found[number] or 'ok'}" for number in JUDGED),
    }
    return "\n".join(f"{name:>20}  {value}" for name, value in rows.items())
