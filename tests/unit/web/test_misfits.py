"""What msgspec refuses is told in words: which field, what is possible, what was given."""

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import inspect

from meterline_sidecar.web.answers.collection import NewPayment, StepReason
from meterline_sidecar.web.answers.credits import NewCredit
from meterline_sidecar.web.answers.customers import CustomerFields, NewCustomer
from meterline_sidecar.web.answers.imports import NewImport
from meterline_sidecar.web.api.all import OPERATIONS
from meterline_sidecar.web.api.corrections import NewCorrection
from meterline_sidecar.web.api.external_shapes import CloudEvent, PlainEvent
from meterline_sidecar.web.api.held import HeldQuery
from meterline_sidecar.web.api.usage import UsageQuery
from meterline_sidecar.web.app import DESCRIBED
from meterline_sidecar.web.misfits import SPELLED, misfit
from meterline_sidecar.web.strict_json import NotReadable, Twice, read_one_json

ADDED = {"subject": "a", "time": "2026-11-06T11:00:00Z"}


def kinds() -> Iterator[type[msgspec.Struct]]:
    """Everything that somebody can send."""
    for operation in OPERATIONS:
        yield operation.query
        if operation.body is not None:
            yield operation.body
    for described in DESCRIBED:
        if described.query is not None:
            yield described.query
        for body in described.bodies.values():
            if body.kind is not None:
                yield body.kind


@pytest.mark.parametrize(
    ("kind", "sent", "told"),
    [
        (NewCustomer, {}, "`id` is missing"),
        (NewImport, {"name": "", "file": "a"}, "`name` is empty"),
        (
            NewCustomer,
            {"id": "a", "nmae": "A"},
            "`nmae` is an unknown field; did you mean `name`?",
        ),
        (StepReason, {"reason": " \u3000\n"}, "`reason` is empty"),
        (StepReason, {"reason": " " * 501}, "`reason` is empty"),
        (NewCustomer, [], "the body must be an object, not a list"),
        (NewCustomer, None, "the body must be an object, not null"),
        (
            CustomerFields,
            {"from": "tomorrow"},
            "`from` must be a day such as 2026-11-30, not 'tomorrow'",
        ),
        (CustomerFields, {"subjects": "acct"}, "`subjects` must be a list, not 'acct'"),
        (CustomerFields, {"subjects": ["a", 7]}, "`subjects[1]` must be a text, not 7"),
        (
            NewCredit,
            {"amount": 5, "reason": "x"},
            '`amount` must be a text such as "25.00", not 5',
        ),
        (
            NewCredit,
            {"amount": "5", "reason": "x", "kind": "gift"},
            "`kind` must be goodwill or prepaid, not 'gift'",
        ),
        (
            NewCredit,
            {"amount": "5", "reason": "x", "priority": 1_001},
            "`priority` must be a whole number from 0 to 1000, not 1001",
        ),
        (
            NewCredit,
            {"amount": "5", "reason": "x" * 501},
            "`reason` has at most 500 characters, not 501",
        ),
        (
            NewPayment,
            {"amount": {}},
            '`amount` must be a text such as "49.00", not an object',
        ),
        (
            NewCorrection,
            {"reason": "x", "events": [1, 0]},
            "`events[1]` must be a whole number from 1 on, not 0",
        ),
        (
            NewCorrection,
            {"reason": "x", "events": [2**64]},
            f"`events[0]` must be a whole number from 1 to {2**63 - 1}, not {2**64}",
        ),
        (
            NewCorrection,
            {"reason": "x", "events": [1] * 1_001},
            "`events` has at most 1,000, not 1,001",
        ),
        (
            NewCorrection,
            {"reason": "x", "add": [{**ADDED, "quantities": {"a b": 1}}]},
            "`add[0].quantities.a b` is called letters, digits and _ . : -, not 'a b'",
        ),
        (
            NewCorrection,
            {"reason": "x", "add": [{**ADDED, "properties": {"model": 1.5}}]},
            "`add[0].properties.model` must be a text of 1 to 128 characters, true or"
            " false or a whole number, not 1.5",
        ),
        (
            PlainEvent,
            {"id": "a", "time": 1.5},
            '`time` must be a text such as "2026-11-22T08:00:00Z" or a whole number'
            " from 0 on, not 1.5",
        ),
        (
            PlainEvent,
            {"id": "a", "quantities": {f"q{i}": 1 for i in range(33)}},
            "`quantities` has at most 32, not 33",
        ),
        (CloudEvent, {"specversion": "0.3"}, "`specversion` must be 1.0, not '0.3'"),
    ],
)
def test_what_is_wrong_is_told_with_its_field(kind: Any, sent: Any, told: str) -> None:
    assert misfit(sent, kind).told("the body").startswith(told)


def test_a_parameter_is_a_text_and_may_be_a_number_all_the_same() -> None:
    sent = {"limit": "7", "customer": "x" * 101}

    why = misfit(sent, UsageQuery, strict=False)

    assert why.told("") == "`customer` has at most 100 characters, not 101"


def test_a_parameter_that_is_too_large_is_told_how_large_it_may_be() -> None:
    why = misfit({"after": "9" * 20}, HeldQuery, strict=False)

    assert why.told("") == (
        f"`after` must be a whole number from 0 to {2**63 - 1}, not '{'9' * 20}'"
    )


def test_what_is_given_twice_is_found_wherever_it_stands() -> None:
    with pytest.raises(NotReadable, match=r"`a\[1\].c.d` stands in the body more"):
        read_one_json(b'{"a": [{"b": 1}, {"c": {"d": 1, "d": 2}}]}')
    assert read_one_json(b'{"a": [{"b": 1}, {"b": 2}]}') == {"a": [{"b": 1}, {"b": 2}]}
    assert misfit({"id": Twice()}, NewCustomer).told("") == "`id` is given twice"


def test_nothing_that_needs_a_reason_takes_a_blank_one() -> None:
    reasons = {
        kind: field
        for kind in kinds()
        for field in msgspec.structs.fields(kind)
        if field.name == "reason" and field.required
    }

    assert len(reasons) > 5
    assert [
        kind.__name__ for kind, field in reasons.items() if _takes(" ", field.type)
    ] == []


def _takes(given: Any, kind: Any) -> bool:
    try:
        msgspec.convert(given, kind)
    except msgspec.ValidationError:
        return False
    return True


def test_every_pattern_that_something_may_have_to_match_is_spelled_out() -> None:
    def patterns(info: inspect.Type) -> Iterator[str]:
        match info:
            case inspect.StrType(pattern=str(pattern)):
                yield pattern
            case inspect.Metadata(type=inner):
                yield from patterns(inner)
            case inspect.UnionType(types=parts):
                for part in parts:
                    yield from patterns(part)
            case inspect.StructType(fields=fields):
                for field in fields:
                    yield from patterns(field.type)
            case (
                inspect.ListType(item_type=item) | inspect.VarTupleType(item_type=item)
            ):
                yield from patterns(item)
            case inspect.DictType(key_type=key, value_type=value):
                yield from patterns(key)
                yield from patterns(value)
            case _:
                pass

    found = {one for kind in kinds() for one in patterns(inspect.type_info(kind))}

    assert found == set(SPELLED)


PHRASES = (
    *(" must be ", "is missing", "is empty", "unknown field", " has at most "),
    " is called ",
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(("id", "add", "events", "quantities", "time", "from", "x")),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(JSON, st.sampled_from(sorted(set(kinds()), key=lambda kind: kind.__name__)))
def test_whatever_does_not_fit_is_told_without_the_words_of_a_program(
    sent: Any, kind: type[msgspec.Struct]
) -> None:
    try:
        msgspec.convert(sent, kind)
    except msgspec.ValidationError:
        told = misfit(sent, kind).told("the body")

        assert "cannot be read" not in told
        assert any(words in told for words in PHRASES)
