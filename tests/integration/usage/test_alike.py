"""Events that are counted as one where they are alike, against each by itself."""

import asyncio
import json
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from decimal import ROUND_HALF_EVEN, Decimal
from pathlib import Path
from typing import Any, Final
from unittest import mock

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from meterline.events import UNCOUNTED, Flag
from meterline_sidecar.meters import AGGREGATIONS, Aggregation, Meter, Totals, merge
from meterline_sidecar.store.edge import usage as store
from meterline_sidecar.store.edge.usage import Cut, EventFacts
from meterline_sidecar.store.port import Tx
from meterline_sidecar.usage import step as step_module
from meterline_sidecar.usage.definition import Definition, Step, encode
from meterline_sidecar.usage.parts import can_measure, kind_in_filters
from meterline_sidecar.usage.step import read_step
from meterline_sidecar.where import UNMATCHED, StatusRange, Where
from tests.fault.sim_database import SimDatabase
from tests.producer import NOON_MS

WINDOW_MS: Final = 900_000
ENDPOINTS: Final = {1: ("", ""), 2: ("GET", "/a"), 3: ("POST", "/a")}
VALUES: Final = (
    *("bytes_in", "bytes_out", "duration_us", "units"),
    *("quantities.n", "quantities.other"),
)
Found = dict[tuple[int, int, str, str], Any]
"""What it comes to, by subject, window, labels and meter."""


@pytest.fixture(scope="module")
def database() -> Iterator[SimDatabase]:
    with tempfile.TemporaryDirectory() as folder:
        database = SimDatabase(Path(folder) / "meterline.db", lambda: None)
        asyncio.run(database.bring_up_to_date())
        yield database
        asyncio.run(database.close())


@st.composite
def meters(draw: st.DrawFn, name: str, aggregation: Aggregation) -> Meter:
    """Return a meter that can be agreed."""
    adding = AGGREGATIONS[aggregation]
    values: list[str | None] = [*VALUES]
    if adding.takes_text:
        values += ["subject", "route", "method"]
    if not adding.needs_value:
        values.append(None)
    names = st.sampled_from(["route", "method", "status"] * 3 + ["model"])
    where = Where(
        kind=draw(st.sampled_from([(), (), ("request",), ("request", "use")])),
        status=draw(st.sampled_from([(), (), (StatusRange(200, 299),)])),
        route=draw(st.sampled_from([(), (), ("/a",)])),
        properties=draw(st.sampled_from([{}, {}, {"model": ("a", "(none)")}])),
    )
    value = draw(st.sampled_from(values))
    is_scaled = value is not None and "." in value and not adding.takes_text
    return Meter(
        name,
        aggregation,
        value=value,
        where=where,
        group_by=tuple(draw(st.lists(names, max_size=2, unique=True))),
        scale=draw(st.integers(0, 2)) if is_scaled else 0,
        counts_repeated=draw(st.booleans()),
    )


@st.composite
def definitions(draw: st.DrawFn) -> Definition:
    """Return some meters, of which a few change between events or times."""
    found: dict[str, tuple[Step, ...]] = {}
    for name in ("one", "two")[: draw(st.integers(1, 2))]:
        aggregation = draw(st.sampled_from(sorted(AGGREGATIONS)))
        steps = [Step(0, 0, draw(meters(name, aggregation)))]
        if draw(st.integers(0, 5)) == 0:
            changed = draw(st.none() | meters(name, aggregation))
            at_ms = draw(st.sampled_from([0, NOON_MS - 1, NOON_MS, NOON_MS + 1]))
            steps.append(Step(at_ms, draw(st.integers(0, 12)), changed))
        found[name] = tuple(steps)
    return Definition(meters=found)


SORTS: Final = st.builds(
    EventFacts,
    id=st.just(0),
    time_ms=st.just(0),
    kind=st.integers(0, 2),
    subject_id=st.integers(0, 2),
    endpoint_id=st.sampled_from(sorted(ENDPOINTS)),
    status=st.sampled_from([200, 404]),
    duration_us=st.integers(0, 1),
    bytes_in=st.sampled_from([0, 2**63 - 1]),
    bytes_out=st.integers(0, 2),
    flags=st.sampled_from(
        [0, 0, 0, Flag.OF_REQUEST, Flag.REPEATED, Flag.BAD_UNITS, Flag.HELD]
    ).map(int),
    quantities=st.sampled_from(
        [None, '{"n":3}', '{"n":"1.25"}', '{"n":0,"other":9223372036854775807}']
    )
    | st.sampled_from(['{"units":2}', '{"n":"0.375"}']),
    properties=st.sampled_from([None, None, '{"all":{"model":"a"}}'])
    | st.sampled_from(
        [
            '{"all":{"model":"b"}}',
            '{"all":{"model":"a"},"parts":[["n",1,{"model":"b"}]]}',
        ]
    ),
)
TIMES: Final = st.sampled_from(
    [NOON_MS - WINDOW_MS, NOON_MS - 1, NOON_MS, NOON_MS, NOON_MS + 1]
)


@st.composite
def events_alike(draw: st.DrawFn) -> list[EventFacts]:
    """Return some events of a few sorts, which say how much each by itself."""
    sorts = st.sampled_from(draw(st.lists(SORTS, min_size=1, max_size=2)))
    return [
        draw(sorts)._replace(
            id=number, time_ms=draw(TIMES), bytes_out=draw(st.integers(0, 2))
        )
        for number in range(1, draw(st.integers(1, 14)) + 1)
    ]


CUTS: Final = st.sampled_from([[], [], [], [], [Cut(1, NOON_MS + 1, 4)]])


async def counted(
    database: SimDatabase, definition: Definition, events: list[EventFacts]
) -> tuple[Found, dict[str, tuple[int, int]]]:
    """Return what steps over stored events come to, and what did not fit."""
    async with database.transaction() as tx:
        generation = await store.add_generation(tx, encode(definition))
        await store.complete(tx, generation.id)
    found: dict[tuple[int, int, str], Totals] = {}
    distinct: dict[tuple[int, int, str, str], set[str]] = defaultdict(set)
    last: dict[tuple[int, int, str], int] = {}
    misfits: dict[str, tuple[int, int]] = {}
    cursor = 0
    while True:
        async with database.transaction() as tx:
            read = await read_step(tx, beside=False, endpoints={})
            assert read is not None
            step = read.folded()
            await store.advance(
                tx, generation.id, step.span.last_id, before=cursor, now_ms=1
            )
        if step.span.last_id == cursor:
            break
        cursor = step.span.last_id
        for place, delta in step.deltas.items():
            merge(
                found.setdefault(place, {}),
                more=delta.totals,
                aggregations=definition.aggregations,
            )
            last[place] = max(last.get(place, 0), delta.last_event_id)
            for meter, values in delta.unique.items():
                at = (place.subject_id, place.window_ms, place.labels, meter)
                distinct[at] |= values
        for meter, more in step.folder.misfits.items():
            rounded, left_out = misfits.get(meter, (0, 0))
            misfits[meter] = (rounded + more.rounded, left_out + more.left_out)
    flat: Found = {
        (*place, meter): total
        for place, totals in found.items()
        for meter, total in totals.items()
    }
    return flat | distinct | {(*place, ""): of for place, of in last.items()}, misfits


class Reference:
    """Each event by itself, each meter by itself, and everything kept until the end."""

    def __init__(self, definition: Definition, cuts: list[Cut]) -> None:
        self._definition, self._cuts = definition, cuts
        self._kept: dict[tuple[int, int, str, str], list[tuple[Any, int, int]]] = (
            defaultdict(list)
        )
        self.misfits: dict[str, tuple[int, int]] = {}

    def add(self, event: EventFacts) -> None:
        """Add an event."""
        method, route = ENDPOINTS[event.endpoint_id]
        shown: dict[str, Any] = {
            "method": method or UNMATCHED,
            "route": route or UNMATCHED,
            "status": event.status,
        }
        said = json.loads(event.properties or "{}")
        kind = kind_in_filters(event.kind, event.flags)
        window_ms = event.time_ms // WINDOW_MS * WINDOW_MS
        for cut in self._cuts:
            if (
                cut.subject_id == event.subject_id
                and cut.cut_ms // WINDOW_MS * WINDOW_MS == window_ms
                and cut.cut_ms <= event.time_ms
                and cut.after_event_id < event.id
            ):
                window_ms = cut.cut_ms
        for name in self._definition.meters:
            meter = self._definition.meter_at(
                name, time_ms=event.time_ms, event_id=event.id
            )
            if (
                meter is None
                or not meter.takes(kind=kind, **shown)
                or not can_measure(meter, event.flags)
                or (value := self._value(meter, event)) is None
            ):
                continue
            sums: dict[str, Any] = {}
            for amount, properties in _parts(meter, value, said):
                of = properties.get("model")
                wanted = meter.where.properties.get("model")
                if wanted is not None and of not in ("a", None):
                    continue
                named = {"model": of or "(none)"} if "model" in meter.group_by else {}
                labels = meter.labels(**shown, properties=named)
                sums[labels] = sums[labels] + amount if labels in sums else amount
            for labels, amount in sums.items():
                fitted = self._fitted(meter, amount)
                if fitted is not None:
                    key = (event.subject_id, window_ms, labels, name)
                    self._kept[key].append((fitted, event.time_ms, event.id))

    @staticmethod
    def _value(meter: Meter, event: EventFacts) -> Any:
        method, route = ENDPOINTS[event.endpoint_id]
        said = json.loads(event.quantities or "{}")
        match (meter.value or "").split("."):
            case [""]:
                return 1
            case ["subject"]:
                return event.subject_id or None
            case ["method"]:
                return method or None
            case ["route"]:
                return route or None
            case ["units"]:
                unsaid = Flag.BAD_UNITS | Flag.UNITS_APART | Flag.PART
                value = said.get("units", None if event.flags & unsaid else 1)
            case ["quantities", name]:
                value = said.get(name)
            case _:
                assert meter.value is not None
                return getattr(event, meter.value)
        return Decimal(value) if isinstance(value, str) else value

    def _fitted(self, meter: Meter, value: Any) -> Any:
        if AGGREGATIONS[meter.aggregation].takes_text or isinstance(value, str):
            return value
        rounded, left_out = self.misfits.get(meter.name, (0, 0))
        if not meter.scale:
            if not isinstance(value, Decimal):
                return value
            self.misfits[meter.name] = (rounded, left_out + 1)
            return None
        fitted = Decimal(value).quantize(
            Decimal(1).scaleb(-meter.scale), ROUND_HALF_EVEN
        )
        if fitted != value:
            self.misfits[meter.name] = (rounded + 1, left_out)
        return fitted

    def totals(self) -> Found:
        """Return what it comes to, and under no meter the last event of each place."""
        found: Found = {}
        for key, kept in self._kept.items():
            values = [value for value, _, _ in kept]
            match self._definition.aggregations[key[3]]:
                case "count":
                    found[key] = len(kept)
                case "sum":
                    found[key] = sum(values)
                case "max":
                    found[key] = max(values)
                case "min":
                    found[key] = min(values)
                case "unique":
                    found[key] = {str(value) for value in values}
                case "latest":
                    _, at_ms, number = last = max(kept, key=lambda one: one[1:])
                    found[key] = [last[0], at_ms, number]
            place = (key[0], key[1], key[2], "")
            found[place] = max(found.get(place, 0), kept[-1][2])
        return found


def _parts(meter: Meter, value: Any, said: Any) -> Iterator[tuple[Any, dict[str, str]]]:
    """Yield what of a value has which properties."""
    of_all = said.get("all", {})
    if meter.names_properties and meter.quantity is not None:
        for name, amount, own in said.get("parts", ()):
            if name == meter.quantity:
                yield amount, of_all | own
                value -= amount
                if not value:
                    return
    yield value, of_all


async def stored(tx: Tx, events: list[EventFacts], cuts: list[Cut]) -> None:
    for table in ("events", "generations", "endpoints", "window_cuts"):
        await tx.execute(f"DELETE FROM {table}")
    await tx.execute_many(
        "INSERT INTO endpoints (id, method, route) VALUES (?, ?, ?)",
        [(number, *of) for number, of in ENDPOINTS.items()],
    )
    await tx.execute_many(
        f"INSERT INTO events (producer_id, seq, {store.COUNTED.listed})"
        f" VALUES (1, 1, {store.COUNTED.marks})",
        [event[:-1] for event in events],
    )
    await tx.execute_many(
        "INSERT INTO window_cuts (subject_id, cut_ms, after_event_id) VALUES (?, ?, ?)",
        cuts,
    )


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    deadline=None,
    max_examples=150,
)
@given(
    events_alike(), definitions(), CUTS, st.sampled_from([3, 5, 100]), st.integers(1, 8)
)
def test_what_is_counted_as_one_comes_to_what_each_event_does(
    database: SimDatabase,
    events: list[EventFacts],
    definition: Definition,
    cuts: list[Cut],
    step_events: int,
    tried_events: int,
) -> None:
    async def run() -> tuple[Found, dict[str, tuple[int, int]]]:
        async with database.transaction() as tx:
            await stored(tx, events, cuts)
        return await counted(database, definition, events)

    with (
        mock.patch.object(step_module, "STEP_EVENTS", step_events),
        mock.patch.object(step_module, "TRIED_EVENTS", tried_events),
    ):
        found, misfits = asyncio.run(run())

    reference = Reference(definition, cuts)
    for event in events:
        if not event.flags & UNCOUNTED:
            reference.add(event)
    wanted = reference.totals()
    assert found == wanted
    for key, total in wanted.items():
        if isinstance(total, Decimal):  # with just as many digits
            assert str(found[key]) == str(total)
    assert misfits == reference.misfits
