"""Lines of a file become events, or are named with what is wrong."""

import json
from typing import Any, Final

import pytest

from meterline_sidecar.ingest.import_chunks import Lines
from meterline_sidecar.web.api.external_forms import Form, Sending
from meterline_sidecar.web.api.external_shapes import PlainEvent
from meterline_sidecar.web.api.import_lines import digest_of, read_lines
from tests.producer import NOON_MS
from tests.unit.web.test_external_forms import prepare
from tests.web.external import plain

SENDING: Final = Sending(
    Form(PlainEvent, None), NOON_MS, None, prepare, default_source="old"
)


def line(**changes: Any) -> bytes:
    return json.dumps(plain(**changes)).encode()


def read(*lines: bytes) -> Lines:
    return read_lines(b"\n".join(lines) + b"\n", SENDING, first_line=11)


def test_an_event_keeps_the_number_of_its_line_between_empty_ones() -> None:
    found = read(line(id="a"), b"", b" \r", line(id="b") + b"\r", b"")

    assert [(one.line, one.event.name.external_id) for one in found.events] == [
        (11, "a"),
        (14, "b"),
    ]
    assert (found.first_line, found.n_lines, found.faults) == (11, 5, [])


def test_one_strange_line_takes_no_other_with_it() -> None:
    usual = [line(id=f"e-{i}") for i in range(250)]

    found = read(*usual[:130], b"{}", *usual[130:])

    assert [one.line for one in found.events] == [n for n in range(11, 262) if n != 141]
    (fault,) = found.faults
    assert (fault.line, fault.field, fault.reason) == (141, "id", "is missing")


def test_an_event_of_no_source_is_of_the_one_that_is_given() -> None:
    one = json.dumps({key: v for key, v in plain().items() if key != "source"})

    (found,) = read(one.encode()).events

    assert found.event.name.source == "old"


def test_the_same_lines_under_another_source_are_others() -> None:
    assert digest_of(b"{}", SENDING) != digest_of(
        b"{}", SENDING._replace(default_source="new")
    )


@pytest.mark.parametrize(
    ("text", "field", "why"),
    [
        (line(time=NOON_MS // 1000), "time", "before 2000"),
        (line(time=None), "time", "is missing"),
        (line(time="2026-11-06T12:06:00Z"), "time", "in the future"),
        (line(time="yesterday"), "time", "since 1970, not 'yesterday'"),
        (line(quantities={"tokens": float("nan")}), None, "NaN is no number"),
        (
            line(quantities={"tokens": 1.5}),
            "quantities.tokens",
            'in a text, such as "1.25", not 1.5',
        ),
        (b'{"id": "a", "id": "b"}', "id", "given twice"),
        (line(tokens=5), "tokens", "unknown field"),
        (b"[1]", None, "must be an object, not a list"),
        (b'"so"', None, "must be an object, not 'so'"),
        (b'"unreadable: has 3 cells"', None, "has 3 cells"),
        (b"\xff", None, "the line is not UTF-8"),
        (b"[" * 9_999, None, "nested too deeply"),
    ],
)
def test_a_bad_line_is_named_with_what_is_wrong(
    text: bytes, field: str | None, why: str
) -> None:
    found = read(line(), text)

    assert [one.line for one in found.events] == [11]
    (fault,) = found.faults
    assert (fault.line, fault.field, fault.verdict) == (12, field, "refused")
    assert why in fault.reason


def test_the_last_moments_of_a_clock_that_is_ahead_are_past() -> None:
    assert len(read(line(time="2026-11-06T12:04:59Z")).events) == 1
    assert len(read(line(time="2000-01-01T00:00:00Z")).events) == 1
