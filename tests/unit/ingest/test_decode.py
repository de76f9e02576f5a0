"""What of a batch is taken, by the checks that are not made for each event anew."""

from typing import Any

import msgspec
import pytest

from meterline import wire
from meterline.events import QUANTITIES_MAX
from meterline_sidecar.ingest import decode
from meterline_sidecar.ingest.decode import Intake, read_records
from tests.producer import NOON_MS, event


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode, "names_known", set[str]())


def read(*quantities: Any) -> Intake:
    records = b"".join(
        wire.encode_record(seq, msgspec.msgpack.encode(event(quantities=one)))
        for seq, one in enumerate(quantities, 1)
    )
    return read_records(records, first_seq=1, skip=0, now_ms=NOON_MS)[0]


@pytest.mark.parametrize("name", ["", "a b", "ü!", "x" * 65, "tokens\n"])
def test_a_bad_name_is_refused_also_behind_and_beside_good_ones(name: str) -> None:
    intake = read({"tokens": 1}, {"tokens": 2, name: 1}, {name: 1}, {"tokens": 3})

    assert [row.quantities for row in intake.events] == ['{"tokens":1}', '{"tokens":3}']
    assert [loss.first_seq for loss in intake.losses] == [2, 3]
    assert all("refused: Expected" in loss.reason for loss in intake.losses)


def test_a_name_that_was_refused_is_refused_again() -> None:
    intake = read({"a b": 1}, {"a b": 1}, {"ab": 1, "a b": 1}, {"ab": 1})

    assert [loss.first_seq for loss in intake.losses] == [1, 2, 3]


def test_amounts_are_checked_whether_their_names_are_known_or_not() -> None:
    intake = read({"n": 1}, {"n": -1}, {"n": "1.50"}, {"n": "1.5"}, {"n": None})

    assert [row.quantities for row in intake.events] == ['{"n":1}', '{"n":"1.5"}']
    assert [loss.first_seq for loss in intake.losses] == [2, 3, 5]


def test_no_more_quantities_are_taken_than_there_may_be() -> None:
    whole = {f"n{i}": i for i in range(QUANTITIES_MAX)}

    intake = read(whole, whole | {"one_more": 1})

    assert len(intake.events) == 1
    assert [loss.first_seq for loss in intake.losses] == [2]


def test_a_flood_of_names_is_taken_and_few_of_them_are_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(decode, "NAMES_KNOWN_MAX", 10)

    intake = read(*({f"n{i}": i} for i in range(100)), {"a b": 1})

    assert len(intake.events) == 100
    assert len(intake.losses) == 1
    assert len(decode.names_known) <= 10
