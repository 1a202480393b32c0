"""What a bench found: medians of interleaved rounds as a table, as JSON, and beside what is committed.

Only ratios mean anything: the machine is part of each number.
"""

import argparse
import json
import statistics
import sys
from pathlib import Path

COMMITTED = Path(__file__).parent / "committed.json"
WORSE = 1.5
"""A ratio that is so many times worse than the committed one fails `--check`."""


def options(description: str | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="also write the figures there, to those of other benches")
    parser.add_argument("--check", action="store_true", help="fail when a ratio is far below the committed one")
    parser.add_argument("--commit", action="store_true", help="make these ratios the committed ones")
    return parser


class Table:
    """Figures by name, several of each; `base` is what the others are compared with."""

    def __init__(
        self,
        title: str,
        unit: str,
        base: str,
        *,
        more_is_better: bool = True,
        guarded: tuple[str, ...] | None = None,
        at_best: float | None = None,
    ) -> None:
        """`guarded`: the names that `--check` looks at, all by default. What others have made is none of ours, and the
        hundredth part of a sample is never steady. `at_best`: a ratio that only chance makes better than that."""
        self.title, self.unit, self.base, self.more_is_better = title, unit, base, more_is_better
        self._guarded, self._at_best = guarded, at_best
        self.found: dict[str, list[float]] = {}

    def add(self, name: str, figure: float) -> None:
        self.found.setdefault(name, []).append(figure)

    @property
    def ratios(self) -> dict[str, float]:
        return self.beside(self.base)

    def beside(self, other: str) -> dict[str, float]:
        """Each figure beside that of the same round: what slows a round slows both."""
        return {name: statistics.median(ratios) for name, ratios in self._rounds(other).items()}

    def _rounds(self, other: str) -> dict[str, list[float]]:
        base = self.found[other]
        return {
            name: [figure / beside for figure, beside in zip(figures, base, strict=True)]
            for name, figures in self.found.items()
        }

    @property
    def guarded(self) -> dict[str, float]:
        """What is committed: the medians."""
        return self._of_ours(self.ratios)

    @property
    def at_best(self) -> dict[str, float]:
        """What is compared with it. Other programs make a round worse, and none makes it better than the code is."""
        best = max if self.more_is_better else min
        return self._of_ours({name: best(ratios) for name, ratios in self._rounds(self.base).items()})

    def _of_ours(self, ratios: dict[str, float]) -> dict[str, float]:
        limit = min if self.more_is_better else max
        return {
            name: ratio if self._at_best is None else limit(ratio, self._at_best)
            for name, ratio in ratios.items()
            if name != self.base and (self._guarded is None or name in self._guarded)
        }

    def show(self) -> None:
        print(f"\n{self.title:38} {self.unit:>14}   of {self.base}")
        for name, ratio in self.ratios.items():
            print(f"{name:38} {statistics.median(self.found[name]):14.4g} {ratio:12.2f}")

    def regressions(self, committed: dict[str, float]) -> list[str]:
        worse = []
        for name, ratio in self.at_best.items():
            if name not in committed:
                continue
            decline = committed[name] / ratio if self.more_is_better else ratio / committed[name]
            if decline > WORSE:
                worse.append(f"{self.title}, {name}: {ratio:.2f} of {self.base}; committed is {committed[name]:.2f}")
        return worse


def finish(tables: list[Table], chosen: argparse.Namespace) -> None:
    """Show, write, and compare."""
    for table in tables:
        table.show()
    if chosen.json:
        figures = json.loads(chosen.json.read_text()) if chosen.json.exists() else {}
        figures |= {table.title: {"figures": table.found, "ratios": table.ratios} for table in tables}
        chosen.json.write_text(json.dumps(figures, indent=1))
    committed = json.loads(COMMITTED.read_text()) if COMMITTED.exists() else {}
    tables = [table for table in tables if table.guarded]
    if chosen.commit:
        for table in tables:
            committed[table.title] = {name: round(ratio, 3) for name, ratio in table.guarded.items()}
        COMMITTED.write_text(json.dumps(committed, indent=1, sort_keys=True) + "\n")
    if chosen.check:
        worse = [line for table in tables for line in table.regressions(committed.get(table.title, {}))]
        if worse:
            sys.exit("\n".join(["", "Slower than it was:", *worse]))
