from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meterline.events import Flag
from meterline_sidecar.meters import (
    AGGREGATIONS,
    Aggregation,
    Meter,
    Totals,
    merge,
    why_not_billable,
)
from meterline_sidecar.store.edge.usage import EventFacts
from meterline_sidecar.usage.counted import WINDOW_MS
from meterline_sidecar.usage.definition import first_definition
from meterline_sidecar.usage.fold import Folder, Place
from meterline_sidecar.where import StatusRange, Where
from tests.agreed import terms_of
from tests.producer import NOON_MS

ENDPOINTS = {1: ("GET", "/v1/items"), 2: ("POST", "/v1/items"), 3: ("GET", "")}


def folder(meter: Meter) -> Folder:
    return Folder(first_definition(terms_of(meter)), ENDPOINTS)


def facts(number: int = 1, **changes: Any) -> EventFacts:
    plain = EventFacts(
        id=number,
        time_ms=NOON_MS,
        kind=0,
        subject_id=7,
        endpoint_id=1,
        status=200,
        duration_us=1_500,
        bytes_in=10,
        bytes_out=100,
        flags=0,
        quantities=None,
    )
    return plain._replace(**changes)


def totals(meter: Meter, *events: EventFacts) -> dict[str, object]:
    """Return what the meter adds up, by group labels."""
    deltas = folder(meter).fold(events)
    return {
        place.labels: delta.totals.get(meter.name, delta.unique.get(meter.name))
        for place, delta in deltas.items()
    }


def test_count_counts_requests_and_not_uses() -> None:
    meter = Meter("calls", "count", where=Where(kind=("request", "websocket")))

    found = totals(meter, facts(1), facts(2, kind=1), facts(3, kind=2))

    assert found == {"{}": 2}


def test_sum_takes_a_named_quantity_and_passes_over_events_without_it() -> None:
    meter = Meter("tokens", "sum", value="quantities.tokens")

    found = totals(
        meter, facts(1, quantities='{"tokens":5}'), facts(2), facts(3, quantities="{}")
    )

    assert found == {"{}": 5}


def test_count_of_a_value_counts_the_events_that_have_it_texts_too() -> None:
    events = [facts(1), facts(2, endpoint_id=3), facts(3, endpoint_id=2)]

    assert totals(Meter("routed", "count", value="route"), *events) == {"{}": 2}
    assert totals(Meter("sent", "count", value="bytes_in"), *events) == {"{}": 3}


def test_every_aggregation_has_a_row_and_every_row_is_an_aggregation() -> None:
    assert list(AGGREGATIONS) == list(get_args(Aggregation))


ADDED_UP = [name for name, row in AGGREGATIONS.items() if not row.is_distinct]


@given(
    st.sampled_from(ADDED_UP),
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 3)), min_size=1, max_size=9),
    st.data(),
)
def test_events_come_to_the_same_however_they_are_split_and_in_any_order(
    aggregation: Aggregation, events: list[tuple[int, int]], data: st.DataObject
) -> None:
    meter = Meter("m", aggregation, value="quantities.v")
    found = [
        facts(i, time_ms=NOON_MS + later, quantities=f'{{"v":{value}}}')
        for i, (value, later) in enumerate(events, 1)
    ]
    (at_once,) = folder(meter).fold(found).values()

    split: Totals = {}
    for one in data.draw(st.permutations(found)):
        (delta,) = folder(meter).fold([one]).values()
        merge(split, more=delta.totals, aggregations={"m": aggregation})

    assert split == at_once.totals


def test_what_is_merged_in_stays_as_it_was() -> None:
    known: Totals = {}
    first, second = Totals(calls=1, top=7), Totals(top=9)

    for more in (first, second):
        merge(known, more=more, aggregations={"calls": "count", "top": "max"})

    assert (known, first, second) == (
        {"calls": 1, "top": 9},
        {"calls": 1, "top": 7},
        {"top": 9},
    )


def test_stripe_hears_by_the_hour_only_of_what_adds_up_to_a_month() -> None:
    refused = {
        (name, mode)
        for name in AGGREGATIONS
        for mode in ("set", "delta")
        if why_not_billable(Meter("m", name, value="units"), mode) is not None
    }

    assert refused == {
        (name, mode) for name in ("max", "min", "unique") for mode in ("set", "delta")
    } | {("latest", "delta")}
    least = Meter("m", "min", value="units")
    assert str(why_not_billable(least, "set")).endswith("use count, sum or latest")
    hours = Meter("m", "sum", value="quantities.hours", scale=3)
    assert why_not_billable(hours, "set") is None


def test_units_are_one_unless_the_app_recorded_them() -> None:
    meter = Meter("units", "sum", value="units")

    assert totals(meter, facts(1), facts(2, quantities='{"units":3}')) == {"{}": 4}


def test_units_that_could_not_be_taken_are_not_one() -> None:
    meter = Meter("units", "sum", value="units")
    bad, tokens = Flag.BAD_QUANTITY | Flag.BAD_UNITS, Flag.BAD_QUANTITY

    found = totals(
        meter,
        facts(1, flags=bad),
        facts(2, flags=bad, quantities='{"units":3}'),
        facts(3, flags=tokens),
    )

    assert found == {"{}": 4}


@pytest.mark.parametrize(
    ("part", "kind"),
    [(Flag.OF_REQUEST, "request"), (Flag.OF_WEBSOCKET, "websocket")],
)
def test_a_use_of_a_request_has_its_status_and_kind_in_filters(
    part: Flag, kind: Any
) -> None:
    value, use = "quantities.t", facts(1, kind=2, flags=part, quantities='{"t":5}')
    where = Where(kind=(kind,), status=(StatusRange(200, 299),), method=("GET",))

    taken = Meter("t", "sum", value=value, where=where)
    other = Meter("t", "sum", value=value, where=Where(kind=("use",)))

    assert totals(taken, use, facts(2, kind=2, quantities='{"t":9}')) == {"{}": 5}
    assert totals(taken, use._replace(status=404)) == {}
    assert totals(other, use) == {}


@pytest.mark.parametrize("part", [Flag.OF_REQUEST, Flag.OF_WEBSOCKET])
def test_a_use_of_a_request_is_no_call_and_has_no_duration_of_its_own(
    part: Flag,
) -> None:
    use = facts(2, kind=2, flags=part, duration_us=0, quantities='{"t":5}')

    for meter in (
        Meter("calls", "count"),
        Meter("calls", "count", value="quantities.t"),
        Meter("units", "sum", value="units"),
        Meter("fastest", "min", value="duration_us"),
        Meter("bytes", "sum", value="bytes_out"),
    ):
        assert totals(meter, use) == {}


def test_units_that_were_written_apart_count_once() -> None:
    meter = Meter("units", "sum", value="units")

    found = totals(
        meter,
        facts(1, kind=2, flags=Flag.OF_REQUEST, quantities='{"units":3}'),
        facts(2, flags=Flag.UNITS_APART),
        facts(3, flags=Flag.UNITS_APART, quantities='{"units":4}'),
    )

    assert found == {"{}": 7}


def test_sums_go_beyond_64_bits() -> None:
    meter = Meter("tokens", "sum", value="quantities.t")
    huge = f'{{"t":{2**63 - 1}}}'

    found = totals(meter, facts(1, quantities=huge), facts(2, quantities=huge))

    assert found == {"{}": 2**64 - 2}


def test_latest_is_by_the_time_of_the_event_then_by_its_arrival() -> None:
    meter = Meter("seats", "latest", value="quantities.seats")

    found = totals(
        meter,
        facts(1, quantities='{"seats":1}', time_ms=NOON_MS + 5),
        facts(2, quantities='{"seats":2}', time_ms=NOON_MS + 9),
        facts(3, quantities='{"seats":3}', time_ms=NOON_MS + 9),
        facts(4, quantities='{"seats":4}', time_ms=NOON_MS + 1),
    )

    assert found == {"{}": [3, NOON_MS + 9, 3]}


def test_max_and_unique() -> None:
    events = [facts(1, bytes_out=5), facts(2, bytes_out=9, endpoint_id=2), facts(3)]

    assert totals(Meter("top", "max", value="bytes_out"), *events) == {"{}": 100}
    assert totals(Meter("low", "min", value="bytes_out"), *events) == {"{}": 5}
    assert totals(Meter("who", "unique", value="route"), *events) == {
        "{}": {"/v1/items"}
    }


@pytest.mark.parametrize(
    ("where", "taken"),
    [
        (Where(), {1, 2, 3}),
        (Where(route=("/v1/*",)), {1, 2}),
        (Where(route=("unmatched",)), {3}),
        (Where(method=("POST",)), {2}),
        (Where(status=(StatusRange(200, 299),)), {1, 3}),
        (Where(status=(StatusRange(200, 200), StatusRange(500, 599))), {1, 2, 3}),
        (Where(route=("!/v1/*",)), {3}),
        (Where(route=("*", "!unmatched")), {1, 2}),
        (Where(method=("!POST",)), {1, 3}),
        (Where(status=(StatusRange(500, 599, is_left_out=True),)), {1, 3}),
        (
            Where(
                status=(StatusRange(200, 599), StatusRange(500, 500, is_left_out=True))
            ),
            {1, 3},
        ),
    ],
)
def test_where_takes_events_by_route_method_and_status(
    where: Where, taken: set[int]
) -> None:
    meter = Meter("ids", "unique", value="quantities.id", where=where)
    events = [
        facts(
            i, endpoint_id=i, status=500 if i == 2 else 200, quantities=f'{{"id":{i}}}'
        )
        for i in (1, 2, 3)
    ]

    assert totals(meter, *events) == {"{}": {str(i) for i in taken}}


def test_groups_are_labelled_by_their_dimensions() -> None:
    meter = Meter("calls", "count", group_by=("route", "method"))

    found = totals(meter, facts(1), facts(2, endpoint_id=2), facts(3, endpoint_id=3))

    assert found == {
        '{"route":"/v1/items","method":"GET"}': 1,
        '{"route":"/v1/items","method":"POST"}': 1,
        '{"route":"unmatched","method":"GET"}': 1,
    }


@given(st.integers(min_value=0, max_value=2**50))
def test_every_event_falls_into_the_window_that_holds_it(time_ms: int) -> None:
    deltas = folder(Meter("calls", "count")).fold([facts(time_ms=time_ms)])

    (place,) = deltas
    assert place.window_ms <= time_ms < place.window_ms + WINDOW_MS
    assert place == Place(7, place.window_ms, "{}")


@pytest.mark.parametrize(
    ("pattern", "route", "fits"),
    [
        ("/v1/*", "/v1/items/{id}", True),
        ("/v1/*", "/v2/items", False),
        ("/*/items", "/v1/items", True),
        ("*", "unmatched", True),
        ("/v1/[0-9]+", "/v1/[0-9]+", True),
        ("/v1/[0-9]+", "/v1/7+", False),
        ("/v1/[!a]", "/v1/b", False),
        ("/v1/(?:x)?", "/v1/(?:x)?", True),
        ("/v1/x?", "/v1/xy", False),
        ("/v1", "/v1\n", False),
        ("/v1*", "/v1\nx", True),
    ],
)
def test_only_a_star_is_a_mark_in_a_route(pattern: str, route: str, fits: bool) -> None:
    meter = Meter("calls", "count", where=Where(route=(pattern,)))

    assert meter.takes(kind=0, method="GET", route=route, status=200) == fits


def test_what_is_left_out_of_statuses_leaves_uses_without_one() -> None:
    where = Where(status=(StatusRange(400, 599, is_left_out=True),))

    assert [s for s in (0, 200, 399, 400, 599) if where.takes_status(s)] == [
        0,
        200,
        399,
    ]
