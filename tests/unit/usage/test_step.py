"""Which events may be counted as one, and what these come to."""

from decimal import Decimal
from typing import Any

import pytest

from meterline_sidecar.meters import Meter
from meterline_sidecar.store.edge.usage import EventFacts, Span
from meterline_sidecar.usage.definition import Definition, Step, looked_at_of
from meterline_sidecar.usage.fold import Delta, Folder
from meterline_sidecar.usage.misfits import Misfits
from meterline_sidecar.where import Where
from tests.producer import NOON_MS

SPAN = Span(after_id=10, last_id=20, first_ms=NOON_MS, last_ms=NOON_MS + 10)
COUNT = Meter("m", "count")


def of(*meters: Meter | None, **changes: Any) -> Definition:
    steps = tuple(Step(0, 0, meter) for meter in meters)
    return Definition(meters={"m": steps}, **changes)


@pytest.mark.parametrize(
    ("meter", "looked_at"),
    [
        (COUNT, set[str]()),
        (Meter("m", "count", group_by=("route", "method", "status")), set[str]()),
        (Meter("m", "unique", value="subject"), set[str]()),
        (Meter("m", "sum", value="bytes_out"), {"bytes_out"}),
        (Meter("m", "max", value="duration_us"), {"duration_us"}),
        (Meter("m", "min", value="bytes_in"), {"bytes_in"}),
        (Meter("m", "sum", value="units"), {"quantities"}),
        (Meter("m", "sum", value="quantities.n"), {"quantities"}),
        (Meter("m", "count", where=Where(properties={"a": ("b",)})), {"properties"}),
    ],
)
def test_a_meter_looks_at_what_it_measures_and_filters(
    meter: Meter, looked_at: set[str]
) -> None:
    assert looked_at_of(of(meter), SPAN) == looked_at


@pytest.mark.parametrize(
    "meter",
    [
        Meter("m", "latest", value="bytes_out"),
        Meter("m", "sum", value="quantities.n", group_by=("model",)),
    ],
)
def test_where_the_order_of_events_matters_each_is_looked_at(meter: Meter) -> None:
    assert looked_at_of(of(meter), SPAN) is None
    assert looked_at_of(of(COUNT, meter), SPAN) is None


@pytest.mark.parametrize(
    ("from_ms", "after_event_id", "is_within"),
    [
        (NOON_MS, 0, False),
        (NOON_MS + 1, 0, True),
        (NOON_MS + 10, 0, True),
        (NOON_MS + 11, 0, False),
        (0, 10, False),
        (0, 11, True),
        (0, 19, True),
        (0, 20, False),
    ],
)
def test_where_a_meter_changes_among_them_each_is_looked_at(
    from_ms: int, after_event_id: int, is_within: bool
) -> None:
    steps = (Step(0, 0, COUNT), Step(from_ms, after_event_id, None))

    looked_at = looked_at_of(Definition(meters={"m": steps}), SPAN)

    assert (looked_at is None) == is_within


def test_what_does_not_fit_is_said_of_each_event() -> None:
    alike = EventFacts(
        *(9, NOON_MS, 2, 7, 1, 0, 0, 0, 0, 0),
        quantities='{"hours":"1.25"}',
        n_events=3,
    )
    found: list[tuple[Misfits, list[Delta]]] = []
    for scale in (1, 0):
        meter = Meter("m", "sum", value="quantities.hours", scale=scale)
        folder = Folder(of(meter), {1: ("", "")})
        deltas = folder.fold([alike])
        found.append((folder.misfits["m"], list(deltas.values())))

    (rounded, (delta,)), (left_out, nothing) = found
    assert (rounded, left_out) == (Misfits(rounded=3), Misfits(left_out=3))
    assert (str(delta.totals["m"]), delta.last_event_id) == (str(Decimal("3.6")), 9)
    assert nothing == []
