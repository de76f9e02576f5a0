"""What an erasure makes of events, texts and names that senders gave."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meterline_sidecar.ledger.erased import Erasing, forms
from meterline_sidecar.properties import said_in, stored_in
from meterline_sidecar.store.edge.events import EventRow, LossRow

NAME = 'jane "J" döe'
MAIL = "jane@example.org"
ALIAS = "erased-0011223344556677"
OTHER = "erased-8899aabbccddeeff"
ERASING = Erasing(
    id=1,
    subject=NAME,
    subject_id=1,
    alias=ALIAS,
    author="ann",
    reason="asked for",
    also={MAIL: OTHER},
    kept=("tenant",),
)
PIECES = st.lists(
    st.sampled_from([NAME, MAIL, *forms(NAME), " of ", "x", "ö", '"']), max_size=6
)


def row(**changes: object) -> EventRow:
    values: dict[str, object] = {
        **dict.fromkeys(EventRow._fields, 0),
        "subject": "acme",
        "method": "",
        "route": "",
        "quantities": None,
        "properties": None,
    }
    return EventRow(**(values | changes))  # type: ignore[arg-type] # as it is stored


@given(PIECES)
def test_no_form_of_a_word_is_left_in_a_text(pieces: list[str]) -> None:
    text = ERASING.text("".join(pieces))

    for word in (*forms(NAME), *forms(MAIL)):
        assert word not in text
    assert ERASING.text(text) == text


@given(
    st.dictionaries(st.sampled_from(["for", "mail", "tenant"]), PIECES.map("".join)),
    PIECES.map("".join),
)
def test_properties_keep_their_names_and_what_meters_look_at(
    whole: dict[str, str], own: str
) -> None:
    written = {"all": whole, "parts": [["tokens", 3, {"tenant": own, "for": own}]]}
    text = msgspec.json.encode(written).decode()

    after = ERASING.properties(text)

    assert after is not None
    found = stored_in(after)
    assert found.whole.keys() == whole.keys()
    assert found.whole.get("tenant") == whole.get("tenant")
    (_, amount, part) = found.parts[0]
    assert (amount, part["tenant"]) == (3, own)
    assert said_in(after).parts.keys() == {"tokens"}
    for value in (found.whole.get("for"), found.whole.get("mail"), part["for"]):
        assert value is None or not any(word in value for word in (NAME, MAIL))
    assert ERASING.properties(after) == after


def test_only_what_holds_a_word_is_changed() -> None:
    events = [row(), row(subject=NAME), row(properties='{"all":{"a":"b"}}')]

    after = ERASING.renamed(events)

    assert [event.subject for event in after] == ["acme", ALIAS, "acme"]
    assert after[0] is events[0]
    assert after[2] is events[2]
    assert ERASING.as_before(after) == events


def test_a_short_name_is_replaced_as_a_subject_and_in_no_text() -> None:
    short = msgspec.structs.replace(ERASING, subject="42", also={})
    said = '{"all":{"n":"42"}}'

    assert short.text("42 of 142") == "42 of 142"
    assert short.renamed([row(subject="42", properties=said)]) == [
        row(subject=ALIAS, properties=said)
    ]
    assert short.external_id("a-42", row(subject="42")) == f"a-{ALIAS}"
    assert short.external_id("a-42", row()) == "a-42"


@pytest.mark.parametrize("payload", [NAME.encode(), json.dumps([MAIL]).encode()])
def test_what_was_refused_is_replaced_as_a_whole(payload: bytes) -> None:
    kept = LossRow(1, 1, "refused", b"else")

    assert ERASING.renamed_losses([LossRow(1, 1, "refused", payload), kept]) == [
        LossRow(1, 1, "refused", ALIAS.encode()),
        kept,
    ]
