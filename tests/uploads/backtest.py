"""A simulator for estimates: jobs with known causes of their durations, forecast as they would have been.

`python -m tests.uploads.backtest` prints how the estimates would have done. Everything follows from the seed.
"""

import random
from dataclasses import dataclass
from statistics import mean

from uploads import estimates
from uploads.estimates import Forecast, Sample
from uploads.stages import StepName


@dataclass(frozen=True)
class World:
    """How long steps take in it, in seconds: base × (size in MP / 12) ** power × noise, and the load drifts."""

    base: dict[StepName, float]
    power: dict[StepName, float]
    noise: float = 0.25
    drift: float = 0.0
    """Growth of all durations from the first job to the last, as a share."""


SAME = dict.fromkeys(StepName, 0.0)
WORLDS = {
    "as shipped": World(dict(estimates.SHIPPED_SECONDS), SAME),
    "three times slower": World({step: 3 * took for step, took in estimates.SHIPPED_SECONDS.items()}, SAME),
    "by size": World(
        {step: 2 * took for step, took in estimates.SHIPPED_SECONDS.items()}, dict.fromkeys(StepName, 0.8)
    ),
    "a remote model": World(
        {StepName.VALIDATE: 0.4, StepName.GENERATE: 18.0, StepName.STORE: 0.3, StepName.WATERMARK: 0.3},
        SAME | {StepName.VALIDATE: 0.9},
        noise=0.35,
    ),
    "slowing down": World({step: 2 * took for step, took in estimates.SHIPPED_SECONDS.items()}, SAME, drift=1.0),
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


def backtest(world: World, jobs: int = 600, seed: int = 1) -> Outcome:
    """Forecast every job from those before it, when it begins."""
    chance = random.Random(seed)
    past: dict[StepName, list[Sample]] = {step: [] for step in StepName}
    covered, errors, fixed_errors, least = [], [], [], []
    for number in range(jobs):
        megapixels = chance.choice([0.3, 2.0, 8.0, 12.0, 12.0, 16.0, 48.0])
        forecasts = [_forecast(step, past[step], megapixels) for step in StepName]
        took = {step: _duration(world, step, megapixels, number / jobs, chance) for step in StepName}
        actual = sum(took.values())
        likely = estimates.total(forecasts)
        covered.append(actual <= likely)
        errors.append(abs(actual - estimates.total(forecasts, 0.5)))
        fixed_errors.append(abs(actual - sum(estimates.SHIPPED_SECONDS.values())))
        least.append(likely)
        for step, seconds in took.items():
            past[step].insert(0, Sample(seconds, megapixels))
            del past[step][estimates.RECENT :]
    return Outcome(mean(covered), mean(errors), mean(fixed_errors), min(least))


def _forecast(step: StepName, past: list[Sample], megapixels: float) -> Forecast:
    return estimates.forecast(past, estimates.SHIPPED_SECONDS[step], megapixels)


def _duration(world: World, step: StepName, megapixels: float, when: float, chance: random.Random) -> float:
    size: float = (megapixels / 12) ** world.power[step]
    return world.base[step] * size * (1 + world.drift * when) * chance.lognormvariate(0, world.noise)


if __name__ == "__main__":
    print(f"{'world':20} {'done by then':>12} {'median off by':>14} {'fixed off by':>13}")
    for name, world in WORLDS.items():
        outcome = backtest(world)
        print(f"{name:20} {outcome.covered:12.0%} {outcome.error:12.2f} s {outcome.fixed_error:11.2f} s")
