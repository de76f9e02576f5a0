"""Rolled-up events: what they say, how long they are, and who counts them."""

from typing import Any

import msgspec
import pytest

from meterline.events import Flag, Kind
from meterline.wire import RECORD_BYTES_MAX
from meterline_sidecar.meters import Meter
from meterline_sidecar.store.edge.usage import EventFacts
from meterline_sidecar.usage import rolled_up
from meterline_sidecar.usage.definition import Definition, Step
from meterline_sidecar.usage.fold import Folder, Place
from meterline_sidecar.usage.rolled_up import RolledUp
from tests.producer import NOON_MS

METERS = (
    Meter("calls", "count"),
    Meter("users", "unique", value="subject"),
    Meter("seats", "latest", value="quantities.seats"),
)
DEFINITION = Definition(
    name="one", meters={meter.name: (Step(0, 0, meter),) for meter in METERS}
)


def said(**changes: Any) -> RolledUp:
    fields: dict[str, Any] = {"generation": "one", "epoch": "0" * 8}
    return RolledUp(**(fields | changes))


def facts(rolled: RolledUp, event_id: int = 7) -> EventFacts:
    text = rolled_up.stored(rolled_up.encode(rolled))
    flags = int(Flag.ROLLED_UP)
    return EventFacts(
        event_id, NOON_MS, int(Kind.USE), 5, 1, 0, 0, 0, 0, flags, None, text
    )


def test_a_state_is_added_as_it_is_under_the_numbers_of_this_ledger() -> None:
    folder = Folder(DEFINITION, {}, generation=1)
    rolled = said(
        totals={"calls": 40, "seats": [3, NOON_MS, 123], "unknown": 1},
        unique={"users": [None]},
    )

    ((place, delta),) = folder.fold([facts(rolled)]).items()

    assert place == Place(5, NOON_MS, "{}")
    assert delta.totals == {"calls": 40, "seats": [3, NOON_MS, 7]}
    assert delta.unique == {"users": {"5"}}
    assert delta.last_event_id == 7


@pytest.mark.parametrize(
    "totals", [{"calls": [1, 2, 3]}, {"seats": 4}, {"users": 1}, {}]
)
def test_what_does_not_add_up_so_is_left_out(totals: dict[str, Any]) -> None:
    assert Folder(DEFINITION, {}, generation=1).fold([facts(said(totals=totals))]) == {}


def test_states_of_another_generation_count_only_for_an_epoch_that_is_kept() -> None:
    other = facts(said(generation="before", epoch="a" * 8, totals={"calls": 1}))
    kept = Definition(name="one", meters=DEFINITION.meters, kept={"a" * 8: "before"})

    assert Folder(DEFINITION, {}, generation=1).fold([other]) == {}
    assert len(Folder(kept, {}, generation=1).fold([other])) == 1
    # The edge itself counts none of them: it has the events.
    assert Folder(kept, {}).fold([other, facts(said(totals={"calls": 1}))]) == {}


def test_a_state_of_many_values_is_several_that_fit_into_records() -> None:
    users = [f"{n:0128d}" for n in range(300)]
    totals = {f"meter_{n}": 10**30 for n in range(300)}
    whole = said(
        events=9,
        labels='{"site":"' + "é" * 128 + '"}',
        totals=totals,
        unique={"users": [*users]},
    )
    covers = [(f"{n:032x}", 2**53) for n in range(700)]

    pieces = rolled_up.covering(list(rolled_up.in_pieces(whole)), covers)

    assert max(len(rolled_up.encode(one).encode()) for one in pieces) < 8_000
    assert RECORD_BYTES_MAX > 8_000 + 1_024
    assert {m: t for one in pieces for m, t in one.totals.items()} == totals
    assert [v for one in pieces for v in one.unique.get("users", ())] == users
    assert {p: n for one in pieces for p, n in one.covers.items()} == dict(covers)
    assert sum(one.events for one in pieces) == 9


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        '{"generation":"","epoch":"00000000"}',
        '{"generation":"one","epoch":"0000000"}',
        '{"generation":"one","epoch":"00000000","labels":"[]"}',
        '{"generation":"one","epoch":"00000000","totals":{"seats":[1]}}',
    ],
)
def test_what_no_edge_sends_is_refused(text: str) -> None:
    with pytest.raises((msgspec.DecodeError, ValueError), match=r"."):
        rolled_up.stored(text)
