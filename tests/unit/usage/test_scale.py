"""Meters with a scale, against a slow reference that keeps every use by itself."""

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Final, NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from meterline_sidecar.meters import Aggregation, Meter, Totals, merge, quantity
from meterline_sidecar.store.edge.usage import EventFacts
from meterline_sidecar.usage.definition import Definition, Step
from meterline_sidecar.usage.fold import Folder
from tests.producer import NOON_MS

ENDPOINTS: Final = {1: ("GET", "/v1/items")}
CHANGE_MS: Final = NOON_MS + 60_000
AGGREGATIONS: Final[dict[Aggregation, Callable[[Sequence[Decimal]], Decimal]]] = {
    "sum": sum,  # type: ignore[dict-item]  # 0 of none, which is never asked
    "max": max,
    "min": min,
    "latest": lambda values: values[-1],
}


class Use(NamedTuple):
    """One use, before or after the change of the meter."""

    amount: Decimal
    model: str
    is_after: bool


def facts(number: int, use: Use) -> EventFacts:
    is_whole = use.amount == int(use.amount)
    said = int(use.amount) if is_whole else f"{use.amount:f}".rstrip("0")
    return EventFacts(
        id=number,
        time_ms=CHANGE_MS + number if use.is_after else NOON_MS + number,
        kind=2,
        subject_id=7,
        endpoint_id=1,
        status=0,
        duration_us=0,
        bytes_in=0,
        bytes_out=0,
        flags=0,
        quantities=json.dumps({"hours": said}),
        properties=json.dumps({"all": {"model": use.model}}),
    )


USES: Final = st.lists(
    st.builds(
        Use,
        st.one_of(
            st.integers(0, 10**18).map(Decimal),
            st.decimals(0, 10, places=3),
            st.decimals(0, 1, places=9),
        ),
        st.sampled_from(["a", "b"]),
        st.booleans(),
    ),
    min_size=1,
    max_size=12,
)


@given(
    USES,
    st.sampled_from(sorted(AGGREGATIONS)),
    st.integers(0, 6),
    st.integers(0, 6),
    st.booleans(),
)
def test_a_scale_and_its_change_come_to_what_every_use_by_itself_does(
    uses: list[Use],
    aggregation: Aggregation,
    before: int,
    after: int,
    by_model: bool,
) -> None:
    uses.sort(key=lambda use: use.is_after)
    steps = tuple(
        Step(
            from_ms,
            0,
            Meter(
                "hours",
                aggregation,
                value="quantities.hours",
                group_by=("model",) if by_model else (),
                scale=scale,
            ),
        )
        for from_ms, scale in ((0, before), (CHANGE_MS, after))
    )
    folder = Folder(Definition(meters={"hours": steps}), ENDPOINTS)

    found: dict[str, Totals] = defaultdict(dict)
    rows = [facts(i, use) for i, use in enumerate(uses, 1)]
    middle = len(rows) // 2
    for some in (rows[:middle], rows[middle:]):
        for place, delta in folder.fold(some).items():
            merge(
                found[place.labels],
                more=delta.totals,
                aggregations={"hours": aggregation},
            )

    kept: dict[str, list[Decimal]] = defaultdict(list)
    misfits: Counter[str] = Counter()
    for use in uses:
        scale = after if use.is_after else before
        value = use.amount.quantize(Decimal(1).scaleb(-scale), ROUND_HALF_EVEN)
        if value != use.amount:
            misfits["rounded" if scale else "left_out"] += 1
            if not scale:
                continue
        label = json.dumps({"model": use.model}, separators=(",", ":"))
        kept[label if by_model else "{}"].append(value)
    expected = {
        labels: AGGREGATIONS[aggregation](values) for labels, values in kept.items()
    }
    assert {
        labels: quantity(totals["hours"]) for labels, totals in found.items() if totals
    } == expected
    noted = folder.misfits.get("hours")
    assert (noted.rounded if noted else 0) == misfits["rounded"]
    assert (noted.left_out if noted else 0) == misfits["left_out"]


def test_a_number_of_a_scaled_meter_says_its_scale() -> None:
    meter = Meter("hours", "sum", value="quantities.hours", scale=3)
    folder = Folder(Definition(meters={"hours": (Step(0, 0, meter),)}), ENDPOINTS)

    (delta,) = folder.fold([facts(1, Use(Decimal(2), "a", is_after=False))]).values()

    assert str(delta.totals["hours"]) == "2.000"


def test_counts_and_different_values_take_fractions_as_they_are() -> None:
    meters = (
        Meter("uses", "count", value="quantities.hours"),
        Meter("values", "unique", value="quantities.hours"),
    )
    steps: dict[str, tuple[Step, ...]] = {
        meter.name: (Step(0, 0, meter),) for meter in meters
    }
    folder = Folder(Definition(meters=steps), ENDPOINTS)

    uses = [Use(Decimal(text), "a", is_after=False) for text in ("0.5", "0.50", "1.5")]
    (delta,) = folder.fold(facts(i, use) for i, use in enumerate(uses, 1)).values()

    assert delta.totals == {"uses": 3}
    assert delta.unique == {"values": {"0.5", "1.5"}}
    assert folder.misfits == {}
