"""What an event over HTTP may say, and which field it is where it may not."""

from typing import Any

import pytest

from meterline.usage_event import UsageEvent
from meterline_sidecar.ingest.decode import EVER, to_row
from meterline_sidecar.ingest.external import NewEvent
from meterline_sidecar.ingest.names import Name
from meterline_sidecar.ledger.external import name_mac
from meterline_sidecar.web.api.external_forms import (
    Form,
    Refused,
    Sending,
    read_event,
)
from meterline_sidecar.web.api.external_shapes import CloudEvent, PlainEvent
from tests.producer import NOON_MS
from tests.web.external import cloud, plain

KEY = bytes(32)


def read(
    raw: Any, kind: type[PlainEvent | CloudEvent], *, only_source: str | None = None
) -> NewEvent | Refused:
    """Read an event as it came."""
    return read_event(raw, Sending(Form(kind, None), NOON_MS, only_source, prepare))


def prepare(name: Name, event: UsageEvent, *, is_timed: bool) -> NewEvent:
    row = to_row(0, event, EVER)
    source, external_id = name
    mac = name_mac(
        KEY, source=source, external_id=external_id, is_timed=is_timed, event=row
    )
    return NewEvent(name, row, is_timed, mac)


@pytest.mark.parametrize(
    ("event", "field"),
    [
        ({"quantities": {}}, "id"),
        (plain(id=""), "id"),
        (plain(id=7), "id"),
        (plain(id="x" * 257), "id"),
        (plain(source=""), "source"),
        (plain(subject=""), "subject"),
        (plain(time="yesterday"), "time"),
        (plain(time="2026-11-06T12:00:00"), "time"),
        (plain(time="2026-W45-5T12:00:00Z"), "time"),
        (plain(time="2026-11-31T12:00:00Z"), "time"),
        (plain(time="1969-12-31T23:59:59Z"), "time"),
        (plain(time=-1), "time"),
        (plain(time=2**53 + 1), "time"),
        (plain(time=1.5), "time"),
        (plain(quantities={"tokens": 1.5}), "quantities.tokens"),
        (plain(quantities={"tokens": 1e300}), "quantities.tokens"),
        (plain(quantities={"a": 1, "tokens": -1}), "quantities.tokens"),
        (plain(quantities={"tokens": 2**63}), "quantities.tokens"),
        (plain(quantities={"tokens": True}), "quantities.tokens"),
        (plain(quantities={"tokens": "-5"}), "quantities.tokens"),
        (plain(quantities={"tokens": "5e0"}), "quantities.tokens"),
        (plain(quantities={"tokens": "5\n"}), "quantities.tokens"),
        (plain(quantities={"tokens": "0." + "1" * 19}), "quantities.tokens"),
        (plain(quantities={"tokens": None}), "quantities.tokens"),
        (plain(quantities={"no spaces": 1}), "quantities.no spaces"),
        (plain(quantities={f"q{i}": 1 for i in range(33)}), "quantities"),
        (plain(quantities=[1]), "quantities"),
        (plain(properties={"model": ""}), "properties.model"),
        (plain(properties={"model": "x" * 129}), "properties.model"),
        (plain(properties={"a": "b", "model": 1.5}), "properties.model"),
        (plain(properties={"model": 2**63}), "properties.model"),
        (plain(properties={"model": None}), "properties.model"),
        (plain(properties={"Model": "x"}), "properties.Model"),
        (plain(properties={"subject": "x"}), "properties.subject"),
        (plain(properties={"model": "\ud800"}), "properties.model"),
        (plain(properties={f"p{i}": "x" for i in range(17)}), "properties"),
        (plain(status=1_000), "status"),
        (plain(status="200"), "status"),
        (plain(kind="batch"), "kind"),
        (plain(quantity=5), "quantity"),
        (plain(data={}), "data"),
        (plain(subject="\ud800"), "subject"),
        (plain(id="\ud800"), "id"),
        (plain(route="\ud800"), "route"),
        (plain(**{"\ud800": 1}), "\\ud800"),
        (plain(kind="\ud800"), "kind"),
        (plain(quantities={"\ud800": 1}), "quantities.\\ud800"),
        (plain(**{"x" * 100_000: 1}), "x" * 256),
        (
            plain(**{"a` - at `$.data.quantities[...]": 1}),
            "a` - at `$.data.quantities[...]",
        ),
        (plain(kind="x" * 100_000), "kind"),
        (7, None),
        (None, None),
        ("text", None),
    ],
)
def test_what_cannot_be_taken_is_refused_with_its_field(
    event: Any, field: str | None
) -> None:
    refused = read(event, PlainEvent)

    assert isinstance(refused, Refused)
    assert refused.field == field
    assert 0 < len(refused.reason) <= 256


@pytest.mark.parametrize(
    ("event", "field"),
    [
        (cloud(specversion="0.3"), "specversion"),
        ({**plain()}, "specversion"),
        (cloud(type=""), "type"),
        (cloud(source=None), "source"),
        (cloud(datacontenttype="text/xml"), "datacontenttype"),
        (cloud(data_base64="e30="), "data_base64"),
        (cloud(data="{}"), "data"),
        (cloud(data={"tokens": 5}), "data.tokens"),
        (cloud(data={"route": "\ud800"}), "data.route"),
        (cloud(data={"quantities": {"tokens": 0.5}}), "data.quantities.tokens"),
    ],
)
def test_a_cloudevent_that_cannot_be_taken_is_refused_with_its_field(
    event: Any, field: str
) -> None:
    refused = read(event, CloudEvent)

    assert isinstance(refused, Refused)
    assert refused.field == field


def test_properties_are_texts_in_one_order() -> None:
    many = read(plain(properties={"b": True, "a": -7, "c": "x"}), PlainEvent)
    same = read(plain(properties={"c": "x", "a": "-7", "b": "true"}), PlainEvent)
    cloudy = read(
        cloud(data={"quantities": {"tokens": 5}, "properties": {"a": 1}}), CloudEvent
    )

    assert isinstance(many, NewEvent)
    assert many == same
    assert many.row.properties == '{"all":{"a":"-7","b":"true","c":"x"}}'
    assert isinstance(cloudy, NewEvent)
    assert cloudy.row.properties == '{"all":{"a":"1"}}'


def test_a_sender_of_one_source_need_not_name_it() -> None:
    named = read(plain(source="jobs"), PlainEvent, only_source="jobs")
    nameless = read(plain(source=None), PlainEvent, only_source="jobs")
    other = read(plain(source="other"), PlainEvent, only_source="jobs")

    assert named == nameless
    assert isinstance(other, Refused)
    assert other.field == "source"


@pytest.mark.parametrize(
    ("text", "stored"), [("1.50", '"1.5"'), ("01.5", '"1.5"'), ("2.0", "2"), ("5", "5")]
)
def test_a_fraction_is_a_text_and_stored_as_the_one_that_it_has(
    text: str, stored: str
) -> None:
    event = read(plain(quantities={"tokens": text}), PlainEvent)

    assert isinstance(event, NewEvent)
    assert event.row.quantities == f'{{"tokens":{stored}}}'
