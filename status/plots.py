"""Plots as numbers of an SVG, for a template to write out: no script, and no style but classes."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import groupby
from typing import NamedTuple

from django.utils.dateformat import format as date_format

WIDTH, HEIGHT = 360, 190
LEFT, RIGHT, TOP, BOTTOM = 44, 8, 10, 26
GAP = 0.2
"""Of the place that each bar has."""
LETTER = 6.5
"""The width of one under a plot, at most on the average."""

Value = float | None


class Series(NamedTuple):
    name: str
    look: str
    """A class of the style sheet."""
    values: Sequence[Value]
    """One for each bucket; None where it is not known, or there is none."""


class Bar(NamedTuple):
    look: str
    x: float
    y: float
    width: float
    height: float
    said: str


class Line(NamedTuple):
    look: str
    points: str


class Dot(NamedTuple):
    look: str
    x: float
    y: float
    said: str


class Word(NamedTuple):
    x: float
    y: float
    text: str


class Tick(NamedTuple):
    at: float
    label: str


@dataclass
class Plot:
    title: str
    note: str
    series: Sequence[Series]
    labels: Sequence[str]
    """Of the buckets, in words that are clear without the plot."""
    form: Callable[[float], str]
    """A value in words."""
    ticks_across: list[Tick] = field(default_factory=list)
    ticks_up: list[Tick] = field(default_factory=list)
    bars: list[Bar] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    dots: list[Dot] = field(default_factory=list)
    words: list[Word] = field(default_factory=list)
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    bottom: int = HEIGHT - BOTTOM

    @property
    def empty(self) -> bool:
        return not any(value for series in self.series for value in series.values)

    @property
    def rows(self) -> list[tuple[str, list[str]]]:
        """The same as a table, for those who do not see the plot or want the numbers."""
        return [
            (label, [_said(self.form, series.values[index]) for series in self.series])
            for index, label in enumerate(self.labels)
        ]

    @property
    def place(self) -> float:
        """The width that each bucket has."""
        return (self.right - self.left) / max(len(self.labels), 1)

    def x(self, index: float) -> float:
        return self.left + self.place * index

    def y(self, value: float, top: float) -> float:
        return round(self.bottom - (self.bottom - TOP) * value / top, 2)


def _said(form: Callable[[float], str], value: Value) -> str:
    return "–" if value is None else form(value)


def stacked(plot: Plot, across: Sequence[str]) -> Plot:
    """One bar for each bucket, the series one on the other; `across` has a label, or "", for each."""
    totals = [sum(value or 0 for value in values) for values in zip(*(s.values for s in plot.series), strict=True)]
    top = _scale(plot, max(totals, default=0))
    for index, label in enumerate(plot.labels):
        below = 0.0
        for series in plot.series:
            value = series.values[index] or 0
            if not value:
                continue
            foot, head = plot.y(below, top), plot.y(below + value, top)
            said = f"{label}, {series.name}: {plot.form(value)}"
            x, width = round(plot.x(index + GAP / 2), 2), round(plot.place * (1 - GAP), 2)
            plot.bars.append(Bar(series.look, x, head, width, round(foot - head, 2), said))
            below += value
    _label_across(plot, across)
    return plot


def ranked(plot: Plot) -> Plot:
    """A bar from the left for each label, with its value; the plot grows with their number."""
    (series,) = plot.series
    top, row = max((value or 0 for value in series.values), default=0) or 1, 34
    plot.height = max(row * len(plot.labels), 1)
    for index, (label, value) in enumerate(zip(plot.labels, series.values, strict=True)):
        width = round((WIDTH - 50) * (value or 0) / top, 2)
        said = _said(plot.form, value)
        plot.bars.append(Bar(series.look, 0, row * index + 18, width, 11, f"{label}: {said}"))
        plot.words += [Word(0, row * index + 13, label), Word(width + 5, row * index + 28, said)]
    return plot


def lined(plot: Plot, across: Sequence[str]) -> Plot:
    """A line for each series, with a gap where nothing is known."""
    top = _scale(plot, max((value or 0 for series in plot.series for value in series.values), default=0))
    for series in plot.series:
        known = [
            (index, round(plot.x(index + 0.5), 2), None if value is None else plot.y(value, top))
            for index, value in enumerate(series.values)
        ]
        for there, part in groupby(known, key=lambda entry: entry[2] is not None):
            if there:
                plot.lines.append(Line(series.look, " ".join(f"{x},{y}" for _, x, y in part)))
        plot.dots += [
            Dot(series.look, x, y, f"{plot.labels[index]}, {series.name}: {plot.form(series.values[index] or 0)}")
            for index, x, y in known
            if y is not None
        ]
    _label_across(plot, across)
    return plot


def _scale(plot: Plot, most: float) -> float:
    top = nice(most)
    plot.ticks_up = [Tick(plot.y(top * part, top), plot.form(top * part)) for part in (0, 0.5, 1)]
    return top


def _label_across(plot: Plot, across: Sequence[str]) -> None:
    """Each in the middle of its bucket, but within the drawing, which ends soon after the last."""
    for index, label in enumerate(across):
        if label:
            half = len(label) * LETTER / 2
            at = min(max(plot.x(index + 0.5), half), plot.width - half)
            plot.ticks_across.append(Tick(round(at, 2), label))


def nice(most: float) -> float:
    """The least of 1, 2, 4, 5, 10, 20 … that is not less: halves of it are short numbers, too."""
    if most <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(most))
    return next(step * power for step in (1, 2, 4, 5, 10) if step * power >= most * (1 - 1e-9))


def times(starts: Sequence[datetime], every: int, shape: str) -> list[str]:
    """Labels under the axis: each `every`-th from the last on, so that the newest has one."""
    last = len(starts) - 1
    return [date_format(start, shape) if (last - index) % every == 0 else "" for index, start in enumerate(starts)]


def count(value: float) -> str:
    if value >= 10_000:
        return f"{value / 1000:.0f}k"
    return f"{value:.0f}" if value == int(value) else f"{value:.1f}"


def seconds(value: float) -> str:
    if value >= 7200:
        return f"{value / 3600:.3g} h"
    if value >= 120:
        return f"{value / 60:.3g} min"
    return f"{value:.3g} s"


def dollars(value: float) -> str:
    return f"${value:,.2f}" if value >= 0.1 or value == 0 else f"${value:.4f}"
