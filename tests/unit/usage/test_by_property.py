"""Meters by properties, against a slow reference that keeps every record by itself."""

import json
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import json as to_json

from meterline.events import Flag
from meterline_sidecar.meters import Aggregation, Meter
from meterline_sidecar.properties import NONE, OTHER, is_name, label_of, said_in
from meterline_sidecar.store.edge.usage import EventFacts
from meterline_sidecar.store.edge.values import ValueRow
from meterline_sidecar.usage.definition import first_definition
from meterline_sidecar.usage.fold import Folder
from meterline_sidecar.usage.values import Values
from meterline_sidecar.where import Where, fits
from tests.agreed import terms_of
from tests.producer import NOON_MS

ENDPOINTS: Final = {1: ("GET", "/v1/items")}
HOSTILE: Final = (
    *(
        "large",
        "small",
        "(none)",
        "(other)",
        "((other)",
        "none",
        "other",
        "*",
        "!",
        "*x",
    ),
    *(
        "!large",
        'say "hi"',
        "a,b",
        "line\nend",
        "__proto__",
        "é" * 128,
        "=1+1",
        "(",
        ")",
    ),
)


class Record(NamedTuple):
    """One call of ``record``."""

    amount: int
    own: dict[str, str]


class Event(NamedTuple):
    """What an app said in one request."""

    of_all: dict[str, str]
    records: tuple[Record, ...]


def facts(number: int, event: Event, **changes: Any) -> EventFacts:
    """Return the row that an app's records are stored as."""
    parts: dict[tuple[tuple[str, str], ...], int] = {}
    for amount, own in event.records:
        if own:
            key = tuple(sorted(own.items()))
            parts[key] = parts.get(key, 0) + amount
    said: dict[str, object] = {}
    if event.of_all:
        said["all"] = event.of_all
    if parts:
        said["parts"] = [["tokens", n, dict(key)] for key, n in parts.items()]
    total = sum(record.amount for record in event.records)
    row = EventFacts(
        id=number,
        time_ms=NOON_MS,
        kind=0,
        subject_id=7,
        endpoint_id=1,
        status=200,
        duration_us=1_500,
        bytes_in=0,
        bytes_out=100,
        flags=0,
        quantities=json.dumps({"tokens": total}) if event.records else None,
        properties=to_json.encode(said, order="deterministic").decode()
        if said
        else None,
    )
    return row._replace(**changes)


def tokens(aggregation: Aggregation = "sum", **changes: Any) -> Meter:
    return Meter("m", aggregation, value="quantities.tokens", **changes)


def used(
    meter: Meter, events: Iterable[EventFacts], values: Values | None = None
) -> dict[tuple[tuple[str, str], ...], object]:
    """Return what a meter comes to, by group."""
    folder = Folder(first_definition(terms_of(meter)), ENDPOINTS, values=values)
    return {
        tuple(sorted(json.loads(place.labels).items())): delta.totals.get(
            "m", delta.unique.get("m")
        )
        for place, delta in folder.fold(events).items()
    }


def group(**labels: str) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(labels.items()))


CHAT: Final = Event(
    {"region": "eu"},
    (
        Record(5, {"model": "large"}),
        Record(2, {"model": "small"}),
        Record(1, {}),
        Record(4, {"model": "large", "region": "us"}),
    ),
)


def test_records_of_one_quantity_are_told_apart_by_their_properties() -> None:
    found = used(tokens(group_by=("model",)), [facts(1, CHAT)])

    assert found == {
        group(model="large"): 9,
        group(model="small"): 2,
        group(model=NONE): 1,
    }


def test_a_record_has_the_events_properties_and_its_own_over_them() -> None:
    found = used(tokens(group_by=("region", "method")), [facts(1, CHAT)])

    assert found == {
        group(region="eu", method="GET"): 8,
        group(region="us", method="GET"): 4,
    }


def test_a_meter_that_names_no_property_takes_the_whole() -> None:
    assert used(tokens(), [facts(1, CHAT)]) == {(): 12}


@pytest.mark.parametrize(
    ("where", "total"),
    [
        ({"model": ("large",)}, 9),
        ({"model": ("!large",)}, 3),
        ({"model": ("*", "!(none)")}, 11),
        ({"model": ("(none)",)}, 1),
        ({"model": ("large",), "region": ("u*",)}, 4),
        ({"tier": ("(none)",)}, 12),
        ({"tier": ("gold",)}, None),
    ],
)
def test_filters_take_the_parts_that_fit(
    where: dict[str, tuple[str, ...]], total: int | None
) -> None:
    found = used(tokens(where=Where(properties=where)), [facts(1, CHAT)])

    assert found == ({} if total is None else {(): total})


@pytest.mark.parametrize(
    ("aggregation", "large"),
    [("max", 9), ("min", 9), ("latest", [9, NOON_MS, 1]), ("unique", {"9"})],
)
def test_parts_in_one_group_are_one_value(
    aggregation: Aggregation, large: object
) -> None:
    found = used(tokens(aggregation, group_by=("model",)), [facts(1, CHAT)])

    assert found[group(model="large")] == large


def test_what_is_counted_or_measured_of_an_event_has_the_events_properties() -> None:
    row = facts(1, CHAT)
    for meter, comes_to in (
        (Meter("m", "count", group_by=("region", "model")), 1),
        (
            Meter(
                "m", "count", value="quantities.tokens", group_by=("region", "model")
            ),
            1,
        ),
        (Meter("m", "sum", value="bytes_out", group_by=("region", "model")), 100),
        (Meter("m", "unique", value="subject", group_by=("region", "model")), {"7"}),
        (Meter("m", "sum", value="units", group_by=("region", "model")), 1),
    ):
        assert used(meter, [row]) == {group(region="eu", model=NONE): comes_to}


def test_units_are_told_apart_like_any_quantity() -> None:
    row = facts(1, CHAT)
    said = (row.properties or "").replace("tokens", "units")
    row = row._replace(properties=said, quantities='{"units":12}')

    found = used(Meter("m", "sum", value="units", group_by=("model",)), [row])

    assert found[group(model="large")] == 9
    assert used(Meter("m", "sum", value="units"), [row]) == {(): 12}


def test_a_use_while_a_stream_was_open_has_its_own_properties() -> None:
    row = facts(1, CHAT, kind=2, flags=int(Flag.OF_REQUEST))

    assert used(tokens(group_by=("region",)), [row]) == {
        group(region="eu"): 8,
        group(region="us"): 4,
    }


def test_nothing_recorded_is_nothing_and_zero_is_zero() -> None:
    nothing, zero = Event({"model": "large"}, ()), Event({}, (Record(0, {}),))

    assert used(tokens(group_by=("model",)), [facts(1, nothing)]) == {}
    assert used(tokens("min", group_by=("model",)), [facts(1, zero)]) == {
        group(model=NONE): 0
    }


def test_events_without_meters_for_them_are_not_read() -> None:
    row = facts(1, CHAT)._replace(properties="this is never parsed")

    assert used(tokens(), [row]) == {(): 12}
    assert (
        used(tokens(where=Where(method=("POST",), properties={"a": ("b",)})), [row])
        == {}
    )


def test_labels_of_a_meter_by_properties_are_in_one_order() -> None:
    one, other = (
        tokens(group_by=("model", "route")),
        tokens(group_by=("route", "model")),
    )

    texts = [
        meter.labels(method="GET", route="/", status=200, properties={"model": "a"})
        for meter in (one, other)
    ]

    assert texts == ['{"model":"a","route":"/"}'] * 2


@given(st.text(min_size=1, max_size=128) | st.sampled_from(HOSTILE), st.data())
def test_no_two_values_have_one_label(value: str, data: st.DataObject) -> None:
    other = data.draw(st.just(f"({value}") | st.sampled_from(HOSTILE))

    assert label_of(value) not in (NONE, OTHER, label_of(None))
    assert (label_of(value) == label_of(other)) == (value == other)


def test_values_are_told_apart_as_they_were_recorded() -> None:
    events = [
        facts(i, Event({}, (Record(i, {"m": v}),))) for i, v in enumerate(HOSTILE, 1)
    ]

    found = used(tokens(group_by=("m",)), events)

    assert found == {group(m=label_of(v)): i for i, v in enumerate(HOSTILE, 1)}
    assert [v for v in HOSTILE if label_of(v) != v] == ["(none)", "(other)", "((other)"]


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        *(("model", True), ("_a1", True), ("__proto__", True), ("x" * 64, True)),
        *(
            ("x" * 65, False),
            ("Model", False),
            ("1a", False),
            ("a-b", False),
            ("", False),
        ),
        *(("route", False), ("subject", False), ("a\n", False), ("é", False)),
    ],
)
def test_what_a_property_can_be_called(name: str, is_one: bool) -> None:
    assert is_name(name) is is_one


@pytest.mark.parametrize(
    ("text", "pattern", "is_one"),
    [
        *(("large", "large", True), ("large", "larg", False), ("", "*", True)),
        *(("gpt-4", "gpt-*", True), ("gpt", "gpt-*", False), ("a.b", "a*b", True)),
        *(("ab", "ab*b", False), ("abb", "ab*b", True), ("a\nb", "a*b", True)),
        *(("xaybz", "*a*b*", True), ("xbya", "*a*b*", False), ("aa", "a*a*a", False)),
        *(("a+", "a+", True), ("aaa", "a+", False), ("[x]", "[*]", True)),
    ],
)
def test_only_a_star_is_a_mark_in_a_pattern(
    text: str, pattern: str, is_one: bool
) -> None:
    assert fits(text, pattern) is is_one


def test_a_pattern_full_of_stars_takes_no_time() -> None:
    assert not fits("a" * 128, "*a" * 30 + "*b")


NAMES: Final = ("model", "region")
PROPERTIES: Final = st.dictionaries(
    st.sampled_from([*NAMES, "else"]), st.sampled_from(["a", "b", "c", OTHER, "*"])
)
EVENTS: Final = st.builds(
    Event,
    PROPERTIES,
    st.lists(st.builds(Record, st.integers(0, 3), PROPERTIES), max_size=4).map(tuple),
)
FILTERS: Final = st.dictionaries(
    st.sampled_from(NAMES), st.sampled_from([("a", "b"), ("!a",), (NONE, "c"), ("*",)])
)


class Reference:
    """Usage by group as every record by itself comes to it: slow, and plain."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._admitted: dict[str, list[str]] = {name: [] for name in NAMES}
        self._by_event: list[dict[tuple[tuple[str, str], ...], int]] = []

    def add(self, event: Event, values_max: int) -> None:
        """Add an event as it comes; its groups never change any more."""
        found: dict[tuple[tuple[str, str], ...], int] = {}
        with_own = [r for r in event.records if r.own]
        rest = sum(r.amount for r in event.records if not r.own)
        shares = [(r.amount, {**event.of_all, **r.own}) for r in with_own]
        if event.records and (rest or not with_own):
            shares.append((rest, event.of_all))
        for amount, properties in shares:
            if all(
                self._fits(label_of(properties.get(name)), texts)
                for name, texts in self._meter.where.properties.items()
            ):
                labels = tuple(
                    (name, self._label(name, properties.get(name), values_max))
                    for name in sorted(self._meter.group_by)
                )
                found[labels] = found.get(labels, 0) + amount
        self._by_event.append(found)

    @staticmethod
    def _fits(label: str, texts: Sequence[str]) -> bool:
        named = [text for text in texts if text[0] != "!"]
        return (
            not named or "*" in named or label in named
        ) and f"!{label}" not in texts

    def _label(self, name: str, value: str | None, values_max: int) -> str:
        if value is None:
            return NONE
        known = self._admitted[name]
        if value not in known and len(known) < values_max:
            known.append(value)
        return label_of(value) if value in known else OTHER

    def used(self) -> dict[tuple[tuple[str, str], ...], int]:
        """Return what all events so far come to."""
        found: dict[tuple[tuple[str, str], ...], int] = {}
        for groups in self._by_event:
            for labels, amount in groups.items():
                if self._meter.aggregation == "max":
                    found[labels] = max(found.get(labels, 0), amount)
                else:
                    found[labels] = found.get(labels, 0) + amount
        return found


@given(
    st.lists(st.tuples(st.lists(EVENTS, max_size=4), st.integers(0, 3)), max_size=5),
    st.sampled_from(["sum", "max"]),
    st.sets(st.sampled_from(NAMES)).map(lambda names: tuple(sorted(names))),
    FILTERS,
)
def test_usage_by_group_is_what_every_record_by_itself_comes_to(
    steps: list[tuple[list[Event], int]],
    aggregation: Aggregation,
    group_by: tuple[str, ...],
    filters: dict[str, tuple[str, ...]],
) -> None:
    meter = tokens(aggregation, group_by=group_by, where=Where(properties=filters))
    reference, rows = Reference(meter), list[EventFacts]()
    stored: list[ValueRow] = []
    for events, values_max in steps:
        for event in events:
            reference.add(event, values_max)
            rows.append(facts(len(rows) + 1, event))
        # Each step as after a restart: what is known is what was stored.
        counted = len(rows) - len(events)
        values = Values(stored, values_max=values_max, counted_up_to=counted)
        used(meter, rows[counted:], values)
        stored += values.learned

        again = Values(stored, values_max=0)
        assert used(meter, rows, again) == reference.used()
        assert again.learned == []
    assert len({(row.name, row.value) for row in stored}) == len(stored)


def test_what_is_stored_of_properties_is_read_as_it_was() -> None:
    said = said_in('{"all":{"a":"1"},"parts":[["t",5,{"b":"2"}],["t",1,{"a":"3"}]]}')

    assert said.of_all == {"a": "1"}
    assert said.parts == {"t": ((5, {"a": "1", "b": "2"}), (1, {"a": "3"}))}
