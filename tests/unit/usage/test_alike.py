"""Events that are alike, told by whole columns, are those that one look at each tells."""

from array import array
from collections import defaultdict
from typing import Any, Final

from hypothesis import example, given
from hypothesis import strategies as st

from meterline_sidecar.store.edge.alike import alike_of
from meterline_sidecar.store.edge.fact_columns import FactColumns, of_events
from meterline_sidecar.store.edge.usage import EventFacts

WINDOW_MS: Final = 900_000
SKIPPED: Final = 1 << 4
FEW: Final = st.integers(0, 2)
MANY: Final = st.sampled_from([0, 1, 255, 256, 65_536, 1 << 24, 1 << 40])
TEXTS: Final = st.sampled_from([None, '{"n":1}', '{"n":2}'])
TIMES: Final = st.integers(0, 3 * WINDOW_MS) | st.integers(0, 200 * WINDOW_MS)
FACTS: Final = st.tuples(
    TIMES,
    *(FEW, FEW | MANY, FEW | MANY, st.sampled_from([200, 404])),
    *(MANY, FEW, MANY),
    st.sampled_from([0, 0, 1, SKIPPED]),
    *(TEXTS, TEXTS),
)
NUMBERS: Final = ("duration_us", "bytes_in", "bytes_out")
DIFFER_IN_ALL: Final = [
    (i * WINDOW_MS, i, i, i, 200 + i, i, i, i, i % 3, f"{i}", None) for i in range(9)
]


@st.composite
def some_alike(draw: st.DrawFn) -> list[tuple[Any, ...]]:
    """Return events that mostly differ in their time and in their subject alone."""
    sorts = draw(st.lists(FACTS, min_size=1, max_size=2))
    subjects = draw(st.lists(MANY, min_size=1, max_size=2))
    which = st.tuples(TIMES, st.sampled_from(sorts), st.sampled_from(subjects))
    drawn = draw(st.lists(which, min_size=1, max_size=20))
    return [(at_ms, sort[1], subject, *sort[3:]) for at_ms, sort, subject in drawn]


@example(
    events=[(i * WINDOW_MS, *[1] * 8, None, None) for i in (0, 1, 1, 2)],
    looked_at=set(),
    added_up=set(),
    is_in_order=True,
    is_laid=False,
)
@example(
    events=DIFFER_IN_ALL,
    looked_at={*NUMBERS, "quantities"},
    added_up=set(),
    is_in_order=True,
    is_laid=False,
)
@given(
    events=some_alike() | st.lists(FACTS, min_size=1, max_size=30),
    looked_at=st.sets(st.sampled_from([*NUMBERS, "quantities"])),
    added_up=st.sets(st.sampled_from(NUMBERS)),
    is_in_order=st.booleans(),
    is_laid=st.booleans(),
)
def test_events_are_alike_by_columns_as_they_are_one_by_one(
    events: list[tuple[Any, ...]],
    looked_at: set[str],
    added_up: set[str],
    is_in_order: bool,
    is_laid: bool,
) -> None:
    times = [event[0] for event in events]
    of = zip(sorted(times) if is_in_order else times, events, strict=True)
    facts = [EventFacts(i, at_ms, *event[1:]) for i, (at_ms, event) in enumerate(of, 1)]
    columns: FactColumns = {
        name: list(column) for name, column in of_events(facts).items()
    }
    if is_laid:  # as they lie in a pack
        for name in ("subject_id", "kind"):
            columns[name] = array("Q", columns[name])

    found = alike_of(
        columns,
        skip_flags=SKIPPED,
        looked_at=looked_at,
        added_up=added_up,
        window_ms=WINDOW_MS,
    )

    expected = _one_by_one(facts, looked_at, added_up)
    assert sorted(map(repr, map(_in_window, found))) == sorted(map(repr, expected))


def _in_window(event: EventFacts) -> EventFacts:
    return event._replace(time_ms=event.time_ms // WINDOW_MS)


def _one_by_one(
    facts: list[EventFacts], looked_at: set[str], added_up: set[str]
) -> list[EventFacts]:
    alike: defaultdict[EventFacts, list[EventFacts]] = defaultdict(list)
    sums = [name for name in NUMBERS if name in looked_at & added_up]
    zeros: dict[str, Any] = dict.fromkeys(sums, 0)
    unseen: dict[str, Any] = {name: 0 for name in NUMBERS if name not in looked_at}
    unseen |= {
        name: None for name in ("quantities", "properties") if name not in looked_at
    }
    for event in facts:
        seen = _in_window(event)._replace(**unseen)
        alike[seen._replace(id=0, **zeros)].append(seen)
    found: list[EventFacts] = []
    for of in alike.values():
        added: dict[str, Any] = {
            name: sum(getattr(event, name) for event in of) for name in sums
        }
        if not of[-1].flags & SKIPPED:
            found.append(of[-1]._replace(n_events=len(of), **added))
    return found
