"""Where a customer's periods begin, as their plans and their anchor have it.

How long periods are is the plan's to say; on which days they begin, the customer's.
Another length or another anchor holds from where the running period ends; from there a
shorter one may lead to the next day of the new grid.
"""

from collections.abc import Iterator
from datetime import date, timedelta
from typing import Final, NamedTuple

from msgspec.structs import replace

from meterline_pricing import NotFound
from meterline_pricing.grid import Grid, Length
from meterline_sidecar.terms.book import Terms, timeline, value_at
from meterline_sidecar.terms.change import PlanChange
from meterline_sidecar.terms.days import Days

MONTHS: Final = Grid()
DAY: Final = timedelta(days=1)
Steps = list[tuple[int, Grid]]
"""The grid that is agreed from when on, in order of time."""


class Segment(NamedTuple):
    """From which day on periods begin on the days of one grid."""

    first: date
    """A period begins on it, be it a day of the grid or not."""
    grid: Grid


class Grids:
    """The days on which a customer's periods begin."""

    def __init__(self, segments: tuple[Segment, ...]) -> None:
        self.segments = segments

    def of(self, day: date) -> Segment:
        """Return what holds for the period that a day lies in."""
        last = self.segments[-1]
        if last.first <= day:
            return last
        return next(s for s in reversed(self.segments) if s.first <= day)

    def floor(self, day: date) -> date:
        """Return the first day of the period that a day lies in."""
        first, grid = self.of(day)
        begun = grid.floor(day)
        return max(begun, first)

    def after(self, day: date) -> date:
        """Return the first day of the period behind that."""
        return self.of(day).grid.after(day)


ALL_MONTHS: Final[Steps] = [(0, MONTHS)]
MONTHLY: Final = Grids((Segment(date.min, MONTHS),))


def grids_of(terms: Terms, customer_id: str, days: Days, starts: date | None) -> Grids:
    """Return where the periods of a customer begin.

    Args:
        starts: their first day: what is agreed then holds before it, too.
    """
    steps = _steps(terms, customer_id, days)
    if steps is ALL_MONTHS:
        return MONTHLY
    grid = steps[0][1]
    if starts is not None:
        starts_ms = days.edge(starts)
        grid = value_at(steps, starts_ms, grid)
        steps = [step for step in steps if step[0] > starts_ms]
    found = Grids((Segment(date.min, grid),))
    for from_ms, _ in steps:
        first = _first_from(found, days, from_ms)
        grid = value_at(steps, days.edge(first), grid)
        if grid != found.segments[-1].grid:
            found = Grids((*found.segments, Segment(first, grid)))
    return found


def _first_from(grids: Grids, days: Days, from_ms: int) -> date:
    """Return the first day of the first period that begins at a time or later."""
    first = grids.floor(days.day(from_ms) - DAY)
    while days.edge(first) < from_ms:
        first = grids.after(first)
    return first


def _steps(terms: Terms, customer_id: str, days: Days) -> Steps:
    plans = terms.field(customer_id, "plan")
    anchors = terms.field(customer_id, "anchor")
    changes = [
        (entry.from_ms, entry.change.plan)
        for name in {name for _, name in plans if name is not None}
        for entry in terms.entries("plan", name)
        if isinstance(entry.change, PlanChange)
    ]
    if all(anchor is None for _, anchor in anchors) and all(
        plan is None or plan.period == "month" for _, plan in changes
    ):
        return ALL_MONTHS  # as nearly all have it
    times = {from_ms for from_ms, _ in (*plans, *anchors, *changes)}
    times |= {days.start_of(plan.effective) for _, plan in changes if plan is not None}
    lengths = list(_lengths(terms, plans, days, sorted(times)))
    steps: Steps = []
    known: list[Length] = [said for _, said in lengths if said is not None]
    length: Length | None = known[0] if known else None
    for from_ms, said in lengths:
        length = said or length  # without a plan it stays as it was
        grid = MONTHS if length is None else Grid(length)
        anchor = value_at(anchors, from_ms)
        steps.append(
            (from_ms, grid if anchor is None else replace(grid, anchor=anchor))
        )
    return timeline(steps)


def _lengths(
    terms: Terms, plans: list[tuple[int, str | None]], days: Days, times: list[int]
) -> Iterator[tuple[int, Length | None]]:
    """Yield how long a period is that begins at each of these times, if that is said."""
    for at_ms in times:
        name = value_at(plans, at_ms)
        try:
            plan = name and terms.plan_held(name, day=days.day(at_ms), at_ms=at_ms)
            yield at_ms, plan.period if plan else None
        except NotFound:
            yield at_ms, None
