"""A record that is made of a stored event says what the event said."""

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from meterline.events import QUANTITIES_MAX, QUANTITY_MAX, TIME_MS_MAX, Flag, Kind
from meterline.usage_event import Part
from meterline.wire import encode_record
from meterline_sidecar.fleet.records import record_of, record_of_refused
from meterline_sidecar.ingest.decode import APPS_FLAGS, EDGES_FLAGS, read_records
from meterline_sidecar.store.edge.events import LossRow
from meterline_sidecar.store.edge.forward import NamedEvent
from tests.producer import NOON_MS, event

texts = st.text(
    st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20
) | st.just("\0 x")
names = st.from_regex(r"[a-z][a-z0-9_]{0,9}", fullmatch=True)
amounts = st.integers(0, QUANTITY_MAX) | st.sampled_from(["1.25", "0.000001"])
properties = st.dictionaries(names, texts, min_size=1, max_size=3)


@st.composite
def events(draw: st.DrawFn) -> Any:
    quantities = draw(
        st.none() | st.dictionaries(names, amounts, min_size=1, max_size=QUANTITIES_MAX)
    )
    whole = {n: a for n, a in (quantities or {}).items() if isinstance(a, int) and a}
    parts = None
    if whole:
        name = draw(st.sampled_from(sorted(whole)))
        parts = draw(st.none() | st.just([Part(name, 1, {"region": "eu"})]))
    return event(
        time_ms=draw(st.integers(0, TIME_MS_MAX)),
        kind=draw(st.sampled_from([int(kind) for kind in Kind])),
        subject=draw(st.none() | texts),
        method=draw(st.none() | texts),
        route=draw(st.none() | texts),
        status=draw(st.sampled_from([0, 200, 204, 999])),
        bytes_out=draw(st.integers(0, QUANTITY_MAX)),
        flags=draw(st.integers(0, APPS_FLAGS)),
        quantities=quantities,
        properties=draw(st.none() | properties),
        parts=parts,
        external_id=draw(st.none() | texts),
        source=draw(st.none() | texts),
    )


def taken(records: bytes, first_seq: int, flags_kept: int = APPS_FLAGS) -> Any:
    return read_records(
        records, first_seq=first_seq, skip=0, now_ms=NOON_MS, flags_kept=flags_kept
    )[0]


@given(events(), st.integers(1, 2**53))
def test_what_crosses_is_stored_as_it_was(one: Any, seq: int) -> None:
    here = taken(encode_record(seq, msgspec.msgpack.encode(one)), seq)
    (row,) = here.events
    ids = here.ids[0][1:] if here.ids else (None, None)

    there = taken(record_of(NamedEvent(row, *ids)), seq, EDGES_FLAGS)

    assert there == here


def test_what_an_edge_judged_stays_and_its_clock_does_not_count() -> None:
    row = taken(encode_record(1, msgspec.msgpack.encode(event())), 1).events[0]
    held = row._replace(flags=int(Flag.HELD))
    twice = row._replace(flags=int(Flag.NAMED | Flag.DUPLICATE), time_ms=1)
    again = row._replace(flags=int(Flag.REPEATED))

    found = [
        taken(record_of(NamedEvent(one, None, None)), 1, EDGES_FLAGS).events[0].flags
        for one in (held, twice, again)
    ]

    assert found == [0, Flag.DUPLICATE, Flag.REPEATED]


def test_an_app_cannot_set_what_an_edge_may() -> None:
    sent = event(flags=int(Flag.DUPLICATE | Flag.REPEATED))

    (row,) = taken(encode_record(1, msgspec.msgpack.encode(sent)), 1).events

    assert row.flags == 0


def test_what_was_refused_is_refused_there_with_the_same_bytes() -> None:
    for payload, reason in ((b"\xc1", "refused: x"), (b"abc", "damaged: wrong CRC")):
        loss = LossRow(7, 7, reason, payload)

        (found,) = taken(record_of_refused(loss), 7).losses

        assert found.payload == payload
        assert found.reason.startswith(reason.partition(":")[0])


@given(st.lists(events() | st.just(event(quantities={"a b": 1})), min_size=2))
def test_what_is_stored_of_events_is_the_same_whatever_comes_beside(
    several: list[Any],
) -> None:
    records = [
        encode_record(seq, msgspec.msgpack.encode(one))
        for seq, one in enumerate(several, 1)
    ]

    together = taken(b"".join(records), 1)
    alone = [taken(record, seq) for seq, record in enumerate(records, 1)]

    assert together.events == [row for one in alone for row in one.events]
    assert together.losses == [loss for one in alone for loss in one.losses]
    assert together[2:5] == tuple(
        map(sum, zip(*(one[2:5] for one in alone), strict=True))
    )
    assert [own[1:] for own in together.ids] == [
        own[1:] for one in alone for own in one.ids
    ]
