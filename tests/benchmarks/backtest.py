"""A simulator for estimates: jobs with known causes of their durations, forecast as they would have been.

`python -m tests.benchmarks.backtest` prints how the estimates would have done. Everything follows from the seed.
"""

import heapq
import random
from collections import deque
from dataclasses import dataclass, field
from itertools import count
from statistics import mean

from uploads import estimates
from uploads.estimates import Crew, Forecast, Sample
from uploads.stages import WORK, Stage, StepName


@dataclass(frozen=True)
class World:
    """How long steps take in it, in seconds: base × (size in MP / 12) ** power × noise × speed; and who does them."""

    base: dict[StepName, float]
    power: dict[StepName, float]
    noise: float = 0.25
    drift: float = 0.0
    """Growth of all durations from the first job to the last, as a share."""
    slower: float = 1.0
    """Factor of all durations from the middle on."""
    workers: int = 1
    together: int = 1
    """So many jobs are sent at once."""
    pause: float = 1000.0
    """Mean seconds from one sending to the next, by chance."""


SAME = dict.fromkeys(StepName, 0.0)
SHIPPED = dict(estimates.SHIPPED_SECONDS)


def times(factor: float) -> dict[StepName, float]:
    return {step: factor * took for step, took in SHIPPED.items()}


REMOTE = {StepName.VALIDATE: 0.4, StepName.GENERATE: 18.0, StepName.STORE: 0.3, StepName.WATERMARK: 0.3}
WORLDS = {
    "as shipped": World(SHIPPED, SAME),
    "three times slower": World(times(3), SAME),
    "by size": World(times(2), dict.fromkeys(StepName, 0.8)),
    "a remote model": World(REMOTE, SAME | {StepName.VALIDATE: 0.9}, noise=0.35),
    "slowing down": World(times(2), SAME, drift=1.0),
    "half as fast at once": World(times(2), SAME, slower=2.0),
    "a queue": World(SHIPPED, SAME, pause=7.0),
    "a queue for four": World(times(2), SAME, workers=4, pause=3.3),
    "albums of twenty": World(SHIPPED, SAME, workers=2, together=20, pause=300.0),
    "albums for four, by size": World(times(2), dict.fromkeys(StepName, 0.8), workers=4, together=30, pause=400.0),
}


@dataclass
class Outcome:
    covered: float
    """Share of jobs that were done by their estimate."""
    error: float
    """Mean absolute error of the median, in seconds."""
    fixed_error: float
    """The same of an estimate that never learns: the shipped averages."""
    least: float
    """The smallest estimate, in seconds."""


@dataclass
class Job:
    number: int
    megapixels: float
    sent: float
    likely: float = 0.0
    median: float = 0.0
    stage: Stage | None = None
    began: float = 0.0
    done: float = 0.0


STAGES = list(WORK)
QUEUE = {step: step if step is StepName.GENERATE else StepName.VALIDATE for step in StepName}


@dataclass
class Shop:
    """Workers in turn take from the two queues what has waited longest there."""

    world: World
    chance: random.Random
    jobs: int
    past: dict[StepName, list[Sample]] = field(default_factory=lambda: {step: [] for step in StepName})
    queues: dict[StepName, deque[Job]] = field(default_factory=lambda: {name: deque() for name in set(QUEUE.values())})
    unfinished: dict[int, Job] = field(default_factory=dict)
    busy: dict[Stage | None, int] = field(default_factory=lambda: dict.fromkeys(STAGES, 0))
    now: float = 0.0

    def run(self) -> list[Job]:
        order = count()
        agenda: list[tuple[float, int, Job, bool]] = []
        sent: list[Job] = []
        when = 0.0
        while len(sent) < self.jobs:
            when += self.chance.expovariate(1 / self.world.pause)
            for _ in range(self.world.together):
                sent.append(Job(len(sent), self.chance.choice([0.3, 2.0, 8.0, 12.0, 12.0, 16.0, 48.0]), when))
                heapq.heappush(agenda, (when, next(order), sent[-1], True))
        while agenda:
            self.now, _, job, is_new = heapq.heappop(agenda)
            self.arrive(job) if is_new else self.finish_step(job)
            while started := self.start_next():
                heapq.heappush(agenda, (started.done, next(order), started, False))
        return sent

    def arrive(self, job: Job) -> None:
        self.promise(job)
        self.unfinished[job.number] = job
        self.queues[QUEUE[StepName.VALIDATE]].append(job)

    def promise(self, job: Job) -> None:
        own = [_forecast(step, self.past[step], job.megapixels) for step in StepName]
        others: dict[Stage | None, int] = {}
        for other in self.unfinished.values():
            others[other.stage] = others.get(other.stage, 0) + 1
        steps = {step: estimates.typical(self.past[step], SHIPPED[step]) for step in StepName}
        turn = estimates.wait_for_turn(others, self.crew(), steps)
        job.likely = estimates.total([turn, *own])
        job.median = estimates.total([turn, *own], 0.5)

    def crew(self) -> Crew:
        return estimates.crew_of(self.past, self.busy)

    def start_next(self) -> Job | None:
        if sum(self.busy.values()) >= self.world.workers:
            return None
        for name in list(self.queues):
            self.queues[name] = self.queues.pop(name)  # to the end: the other one is next
            if self.queues[name]:
                job = self.next_of(self.queues[name])
                job.stage = job.stage or STAGES[0]
                self.busy[job.stage] += 1
                job.began, job.done = self.now, self.now + self.duration(job, WORK[job.stage].step)
                return job
        return None

    def next_of(self, queue: deque[Job]) -> Job:
        """What has begun goes before what has not."""
        job = next((job for job in queue if job.stage not in {None, STAGES[0]}), queue[0])
        queue.remove(job)
        return job

    def finish_step(self, job: Job) -> None:
        assert job.stage
        step = WORK[job.stage].step
        self.busy[job.stage] -= 1
        self.past[step].insert(0, Sample(self.now - job.began, job.megapixels, self.now))
        del self.past[step][estimates.RECENT :]
        if job.stage is STAGES[-1]:
            del self.unfinished[job.number]
        else:
            job.stage = STAGES[STAGES.index(job.stage) + 1]
            self.queues[QUEUE[WORK[job.stage].step]].append(job)

    def duration(self, job: Job, step: StepName) -> float:
        when = job.number / self.jobs
        size = (job.megapixels / 12) ** self.world.power[step]
        speed = (1 + self.world.drift * when) * (self.world.slower if when >= 0.5 else 1)
        return float(self.world.base[step] * size * speed * self.chance.lognormvariate(0, self.world.noise))


def backtest(world: World, jobs: int = 600, seed: int = 1) -> Outcome:
    """Each job is promised, when it is sent, when it will be done."""
    done = Shop(world, random.Random(seed), jobs).run()
    took = [job.done - job.sent for job in done]
    return Outcome(
        covered=mean(actual <= job.likely for actual, job in zip(took, done, strict=True)),
        error=mean(abs(actual - job.median) for actual, job in zip(took, done, strict=True)),
        fixed_error=mean(abs(actual - sum(SHIPPED.values())) for actual in took),
        least=min(job.likely for job in done),
    )


def _forecast(step: StepName, past: list[Sample], megapixels: float) -> Forecast:
    return estimates.forecast(past, SHIPPED[step], megapixels)


if __name__ == "__main__":
    print(f"{'world':26} {'done by then':>12} {'median off by':>14} {'fixed off by':>13}")
    for name, world in WORLDS.items():
        outcome = backtest(world)
        print(f"{name:26} {outcome.covered:12.0%} {outcome.error:12.2f} s {outcome.fixed_error:11.2f} s")
