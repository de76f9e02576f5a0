"""From a line of an invoice down to what it was counted from.

A line says which meter, and by which tiers it was priced. Behind it stand the days and
the subjects of which its quantity is the sum, and behind these the raw events. All of it
is read in one snapshot. Of a final invoice the quantity is what was billed; what is
counted now may be more or less, which is an adjustment elsewhere.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from meterline_pricing import Line, Period
from meterline_sidecar.billing.statement import Statement
from meterline_sidecar.clock import DAY_MS
from meterline_sidecar.config.shape import Customer
from meterline_sidecar.decimals import Number
from meterline_sidecar.meters import AGGREGATIONS, Meter, Totals, aggregations_of, merge
from meterline_sidecar.store import subjects as subject_store
from meterline_sidecar.store import usage as store
from meterline_sidecar.store.port import Tx
from meterline_sidecar.store.usage import UsageRow
from meterline_sidecar.terms.book import Terms
from meterline_sidecar.usage.counted import Counted
from meterline_sidecar.usage.customer_usage import meter_usage

SUBJECTS_MAX: Final = 50


class OnDay(NamedTuple):
    """What was used on one day in UTC."""

    day_ms: int
    quantity: Number


class OfSubject(NamedTuple):
    """What one subject used."""

    subject: str
    quantity: Number


class InWindow(NamedTuple):
    """What was used in one window of a day."""

    window_ms: int
    quantity: Number


class Behind(NamedTuple):
    """What stands behind a line."""

    line: Line
    meter: Meter | None
    """As it measured at the end of the period; ``None`` for fees, taxes and the like."""
    counted: Number | None
    """What the meter comes to now."""
    days: tuple[OnDay, ...]
    """Only those on which something was used; none where days do not add up."""
    subjects: tuple[OfSubject, ...]
    """Those that used most, first."""
    n_subjects: int
    windows: tuple[InWindow, ...] = ()
    """Those of the day that was asked for."""


async def behind(
    tx: Tx,
    at: Counted,
    terms: Terms,
    customer: Customer,
    period: Period,
    statement: Statement,
    *,
    only: str | None = None,
    day: Period | None = None,
) -> list[Behind]:
    """Return what stands behind each line of an invoice, or behind those of one name.

    Args:
        at: of this snapshot; see ``counted``.
        only: the name of the lines that are asked for.
        day: whose windows are asked for.
    """
    lines = [
        line for line in statement.invoice.lines if only is None or line.name == only
    ]
    names = {line.meter for line in lines if line.meter is not None}
    found = (terms.meter(name, period.end - 1) for name in sorted(names))
    meters = {meter.name: meter for meter in found if meter is not None}
    rows: Sequence[UsageRow] = ()
    if meters:
        rows = await store.read_usage(
            tx, at.generation, customer=customer.id, start=period.start, end=period.end
        )
    days = _added(meters, ((row.window_ms // DAY_MS * DAY_MS, row) for row in rows))
    of_all = _added(meters, ((0, row) for row in rows))
    of_subjects = _added(meters, ((row.subject_id, row) for row in rows))
    windows = await _windows(tx, at, customer, day, meters)
    ids = {key for known in of_subjects.values() for key in known}
    texts = await subject_store.names_of(tx, sorted(ids)) if ids else {}
    behind_lines: list[Behind] = []
    for line in lines:
        meter = meters.get(line.meter or "")
        if meter is None:
            behind_lines.append(Behind(line, None, None, (), (), 0))
            continue
        is_distinct = AGGREGATIONS[meter.aggregation].is_distinct
        users = _most_first(of_subjects[meter.name], texts)
        behind_lines.append(
            Behind(
                line,
                meter,
                None if is_distinct else of_all[meter.name].get(0, 0),
                tuple(OnDay(*one) for one in sorted(days[meter.name].items())),
                tuple(users[:SUBJECTS_MAX]),
                len(users),
                tuple(InWindow(*one) for one in sorted(windows[meter.name].items())),
            )
        )
    return behind_lines


def _most_first(
    quantities: Mapping[int, Number], names: Mapping[int, str]
) -> list[OfSubject]:
    users = (OfSubject(names.get(i, ""), used) for i, used in quantities.items())
    return sorted(users, key=lambda one: (-one.quantity, one.subject))


async def _windows(
    tx: Tx,
    at: Counted,
    customer: Customer,
    day: Period | None,
    meters: Mapping[str, Meter],
) -> dict[str, dict[int, Number]]:
    rows: Iterable[tuple[int, str, Totals]] = ()
    if day is not None:
        rows = await store.read_windows(
            tx, at.generation, customer=customer.id, start=day.start, end=day.end
        )
    # Whose it is makes no difference in a window.
    return _added(
        meters,
        ((at_ms, UsageRow(0, at_ms, labels, totals)) for at_ms, labels, totals in rows),
    )


def _added(
    meters: Mapping[str, Meter], rows: Iterable[tuple[int, UsageRow]]
) -> dict[str, dict[int, Number]]:
    """Add usage up under keys, per meter: as a whole period is added up."""
    aggregations = aggregations_of(meters.values())
    sums: dict[int, dict[str, Totals]] = defaultdict(lambda: defaultdict(dict))
    for key, row in rows:
        asked = {name: t for name, t in row.totals.items() if name in meters}
        if asked:
            merge(sums[key][row.labels], more=asked, aggregations=aggregations)
    found: dict[str, dict[int, Number]] = {name: {} for name in meters}
    for key, groups in sums.items():
        for name, meter in meters.items():
            totals = {
                labels: known[name] for labels, known in groups.items() if name in known
            }
            if totals:
                usage = meter_usage(name, meter.aggregation, totals)
                found[name][key] = usage.quantity
    return found
