"""The admin's page of figures: what the operator wants to know at a glance."""

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime

from django.contrib import admin
from django.contrib.auth.decorators import permission_required
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.dateformat import format as date_format
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_safe

from status import figures, plots
from status.figures import MOST_JOBS, SAMPLES, WINDOWS, Bucket, percentile
from status.plots import Plot, Series, Value
from uploads.changelist import COUNTED
from uploads.stages import StepName

LABELS = {"1h": (3, "H:i"), "24h": (6, "H:i"), "7d": (8, "d M")}
"""Every how many buckets, and how, a time stands under a plot."""
EACH = {"1h": _("For each 5 minutes, UTC."), "24h": _("For each hour, UTC."), "7d": _("For each 6 hours, UTC.")}
SAMPLED = {
    "1h": _("Of at most %(number)d for each 5 minutes, the latest."),
    "24h": _("Of at most %(number)d for each hour, the latest."),
    "7d": _("Of at most %(number)d for each 6 hours, the latest."),
}
NAMES = {"1h": _("1 hour"), "24h": _("24 hours"), "7d": _("7 days")}


@require_safe
@permission_required("uploads.view_upload", raise_exception=True)
def figures_page(request: HttpRequest) -> HttpResponse:
    asked = request.GET.get("window", "")
    window = asked if asked in WINDOWS else "24h"
    buckets = figures.read(window)
    queue = figures.queue()
    context = admin.site.each_context(request) | {
        "title": _("Figures"),
        "windows": NAMES,
        "window": window,
        "plots": _plots(window, buckets),
        "left_out": sum(not bucket.counted for bucket in buckets),
        "most": MOST_JOBS,
        "facts": _facts(buckets, queue),
    }
    return TemplateResponse(request, "admin/figures.html", context)


def _facts(buckets: Sequence[Bucket], queue: figures.Queue) -> list[tuple[str, str]]:
    ended = sum(bucket.ended for bucket in buckets)
    failed = sum(bucket.failed for bucket in buckets)
    return [
        (gettext("waiting to be begun"), _at_most(queue.waiting)),
        (gettext("the oldest of them"), _age(queue.oldest_waiting)),
        (gettext("not finished"), _at_most(queue.unfinished)),
        (gettext("the oldest of them"), _age(queue.oldest_unfinished)),
        (gettext("ended in this time"), f"{ended:,}"),
        (gettext("of which failed"), f"{failed / ended:.1%}" if ended else "–"),
        (gettext("cost"), plots.dollars(float(sum(bucket.cost_usd for bucket in buckets)))),
    ]


def _at_most(counted: int) -> str:
    return f"{counted:,}" + ("+" if counted == COUNTED else "")


def _age(seconds: float | None) -> str:
    return "–" if seconds is None else plots.seconds(seconds)


def _plots(window: str, buckets: Sequence[Bucket]) -> list[Plot]:
    labels = [date_format(bucket.start, "d M H:i") for bucket in buckets]
    every, shape = LABELS[window]
    across = plots.times([bucket.start for bucket in buckets], every, shape)
    each, samples = str(EACH[window]), str(SAMPLED[window]) % {"number": SAMPLES}

    def series(name: str, look: str, value: Callable[[Bucket], Value]) -> Series:
        return Series(name, look, [value(bucket) if bucket.counted else None for bucket in buckets])

    accepted = series(gettext("accepted"), "a", lambda bucket: bucket.accepted)
    completed = series(gettext("completed"), "b", lambda bucket: bucket.completed)
    failed = series(gettext("failed"), "c", lambda bucket: bucket.failed)
    stopped = series(gettext("stopped by somebody"), "d", lambda bucket: bucket.stopped)
    waits = [
        series(gettext("half waited less"), "b", lambda bucket: percentile(bucket.waits, 0.5)),
        series(gettext("95 of 100 waited less"), "a", lambda bucket: percentile(bucket.waits, 0.95)),
    ]
    return [
        plots.lined(Plot(gettext("Throughput"), each, [accepted, completed], labels, plots.count), across),
        plots.stacked(Plot(gettext("Outcomes"), each, [completed, stopped, failed], labels, plots.count), across),
        plots.lined(Plot(gettext("Queue: time before the first step"), samples, waits, labels, plots.seconds), across),
        _cost(window, buckets),
        *(_durations(step, samples, series, labels, across) for step in StepName),
        _by_code(buckets),
    ]


def _durations(
    step: StepName,
    note: str,
    series: Callable[[str, str, Callable[[Bucket], Value]], Series],
    labels: Sequence[str],
    across: Sequence[str],
) -> Plot:
    shares = {
        gettext("half took less"): ("b", 0.5),
        gettext("95 of 100 took less"): ("a", 0.95),
        gettext("99 of 100 took less"): ("c", 0.99),
    }

    def of(share: float) -> Callable[[Bucket], Value]:
        return lambda bucket: percentile(bucket.durations.get(step, []), share)

    lines = [series(name, look, of(share)) for name, (look, share) in shares.items()]
    return plots.lined(Plot(gettext("Step: %(step)s") % {"step": step}, note, lines, labels, plots.seconds), across)


def _by_code(buckets: Sequence[Bucket]) -> Plot:
    total: Counter[str] = sum((bucket.failures for bucket in buckets), Counter())
    codes = dict(total.most_common())
    one = Series(gettext("failed jobs"), "c", list(codes.values()))
    note = gettext("In all of this time.")
    return plots.ranked(Plot(gettext("Failures by code"), note, [one], list(codes), plots.count))


def _cost(window: str, buckets: Sequence[Bucket]) -> Plot:
    """By the day where there are days."""
    days = window == "7d"
    sums: dict[datetime, Value] = {}
    for bucket in buckets:
        start = bucket.start.replace(hour=0) if days else bucket.start
        known = float(bucket.cost_usd) if bucket.counted else None
        sums[start] = known if start not in sums or known is None else (sums[start] or 0) + known
    labels = [date_format(start, "d M" if days else "d M H:i") for start in sums]
    every, shape = (2, "d M") if days else LABELS[window]
    one = Series(gettext("cost of the paid calls"), "a", list(sums.values()))
    title, note = (gettext("Cost per day"), "UTC.") if days else (gettext("Cost"), str(EACH[window]))
    return plots.stacked(Plot(title, note, [one], labels, plots.dollars), plots.times(list(sums), every, shape))
