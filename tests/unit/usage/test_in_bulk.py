"""Whole columns of events come to what each of their events comes to by itself."""

from collections.abc import Sequence
from typing import Final

import msgspec
from hypothesis import example, given
from hypothesis import strategies as st

from meterline.events import UNCOUNTED, Flag
from meterline_sidecar.meters import Meter, merge
from meterline_sidecar.store.edge.fact_columns import of_events, picked
from meterline_sidecar.store.edge.usage import Cut, EventFacts
from meterline_sidecar.usage.definition import Definition, Step
from meterline_sidecar.usage.fold import Delta, Folder, Place
from meterline_sidecar.usage.in_bulk import BulkFolder, Deltas
from meterline_sidecar.usage.values import Values
from meterline_sidecar.where import Where

ENDPOINTS: Final = {0: ("", ""), 1: ("GET", "/a"), 2: ("POST", "/b")}
MINUTE_MS: Final = 60_000
METERS: Final = (
    Meter(name="calls", aggregation="count"),
    Meter(name="by_route", aggregation="count", group_by=("route",)),
    Meter(
        name="out", aggregation="sum", value="bytes_out", where=Where(method=("GET",))
    ),
    Meter(name="took", aggregation="max", value="duration_us"),
    Meter(name="in", aggregation="sum", value="bytes_in", group_by=("status",)),
    Meter(name="users", aggregation="unique", value="subject"),
    Meter(name="tokens", aggregation="sum", value="quantities.tokens"),
    Meter(name="models", aggregation="count", group_by=("model",)),
    Meter(name="last", aggregation="latest", value="bytes_in"),
)
MINUTES: Final = st.integers(0, 40).map(lambda minutes: minutes * MINUTE_MS)
TEXTS: Final = (None, None, '{"tokens":3}', '{"tokens":0}', '{"tokens":1.5}', '{"t":1}')
FACTS: Final = st.tuples(
    MINUTES,
    *(st.integers(0, 2), st.integers(0, 2), st.integers(0, 2)),
    st.sampled_from([200, 200, 404]),
    *(st.integers(0, 3), st.integers(0, 3), st.integers(0, 3)),
    st.sampled_from([0, 0, 0, int(Flag.HELD), int(Flag.DUPLICATE), int(Flag.PART)]),
    st.sampled_from(TEXTS),
    st.sampled_from([None, None, None, '{"all":{"model":"small"}}']),
)
OF_NOBODY: Final = (0, 0, 0, 1, 200, 0, 0, 0, 0, None, None)
OF_SOMEBODY: Final = (0, 0, 1, 1, 200, 0, 0, 0, 0, None, None)


@st.composite
def some_alike(draw: st.DrawFn) -> list[tuple[int, ...]]:
    """Return some events, of which many differ in their time and in one number alone."""
    sorts = st.sampled_from(draw(st.lists(FACTS, min_size=1, max_size=3)))
    return [
        (draw(MINUTES), *sort[1:7], draw(st.integers(0, 3)), *sort[8:])
        for sort in draw(st.lists(sorts, min_size=1, max_size=20))
    ]


@example(
    meters=[Meter(name="users", aggregation="unique", value="subject")],
    events=[OF_SOMEBODY, OF_NOBODY],
    after=0,
    cuts=(),
)
@given(
    meters=st.lists(
        st.sampled_from(METERS), unique_by=lambda meter: meter.name, min_size=1
    ),
    events=some_alike() | st.lists(FACTS, min_size=1, max_size=20),
    after=st.sampled_from([0, 0, 0, 5]),
    cuts=st.sampled_from([(), (), (Cut(1, 20 * MINUTE_MS, 0),)]),
)
def test_columns_come_to_what_their_events_come_to(
    meters: list[Meter],
    events: list[tuple[int, ...]],
    after: int,
    cuts: tuple[Cut, ...],
) -> None:
    definition = Definition(
        meters={meter.name: (Step(0, after, meter),) for meter in meters}
    )
    facts = [EventFacts(i, *event) for i, event in enumerate(events, 1)]  # type: ignore[arg-type]
    given_ = (definition, ENDPOINTS, cuts)
    folder = Folder(*given_, values=Values(values_max=10), generation=1)
    bulk = BulkFolder(*given_, values=Values(values_max=10), generation=1)

    columns = of_events(facts)
    parts = bulk.fold(columns)

    counting = [one for one in facts if not one.flags & UNCOUNTED]
    each = _plain(folder.fold(counting))
    is_simple = (
        not cuts and not after and not {"models", "last"} & {m.name for m in meters}
    )
    assert parts is not None or not is_simple
    if parts is not None:
        assert _plain(_whole(parts, definition)) == each
    whole = bulk.fold_all(picked(columns, [one in counting for one in facts]))
    assert _plain(_whole(whole, definition)) == each
    assert folder.takes(columns) == [bool(folder.fold([one])) for one in facts]
    assert folder.places(columns) == set(folder.fold(facts))


def _whole(parts: Sequence[Deltas], definition: Definition) -> Deltas:
    whole: Deltas = {}
    for place, delta in [item for part in parts for item in part.items()]:
        known = whole.setdefault(place, Delta())
        merge(known.totals, more=delta.totals, aggregations=definition.aggregations)
        for meter, values in delta.unique.items():
            known.unique.setdefault(meter, set()).update(values)
        known.last_event_id = max(known.last_event_id, delta.last_event_id)
    return whole


def _plain(deltas: dict[Place, Delta]) -> dict[Place, object]:
    return {place: msgspec.to_builtins(delta) for place, delta in deltas.items()}
