"""Reads a body of events: at once where nothing in it is strange, else one by one."""

from collections.abc import Callable, Sequence
from typing import Any, Final, cast

import msgspec

from meterline_sidecar.ingest.external import NewEvent
from meterline_sidecar.web.api.external_forms import (
    BadField,
    Form,
    Refused,
    Sending,
    Unreadable,
    new_event,
    read_event,
)
from meterline_sidecar.web.api.external_shapes import CloudEvent, PlainEvent
from meterline_sidecar.web.strict_json import NotReadable, read_json

BATCH_EVENTS_MAX: Final = 1_000

Read = list[NewEvent | Refused]
_Found = PlainEvent | CloudEvent

_encode = msgspec.json.Encoder().encode
_DECODE: Final[dict[type[_Found], Callable[[bytes], _Found | list[_Found]]]] = {
    PlainEvent: msgspec.json.Decoder(PlainEvent | list[PlainEvent]).decode,
    CloudEvent: msgspec.json.Decoder(CloudEvent | list[CloudEvent]).decode,
}


def read_events(body: bytes, sending: Sending) -> tuple[Read, bool]:
    """Return what each event of a body comes to, and whether it is one alone.

    Raises:
        Unreadable: it is no JSON, or has no events in the form that it should.
    """
    return read_at_once(body, sending) or read_one_by_one(body, sending)


def read_at_once(body: bytes, sending: Sending) -> tuple[Read, bool] | None:
    """Return what ``read_one_by_one`` does where nothing is strange, else ``None``.

    It takes half the time. Of whatever cannot be taken, or only after a second look,
    nothing is said here.
    """
    form = sending.form
    if form.attributes is not None:
        return None
    try:
        found = _DECODE[form.kind](body)
    except (ValueError, RecursionError):
        return None
    is_alone = not isinstance(found, list)
    events = found if isinstance(found, list) else [found]
    if form.is_batch is is_alone or len(events) > BATCH_EVENTS_MAX:
        return None
    if not said_once(events, body):
        return None
    try:
        return [new_event(event, sending) for event in events], is_alone
    except BadField:
        return None


def said_once(events: Sequence[_Found], text: bytes) -> bool:
    """Say whether a text surely has nothing but these events, and nothing twice.

    Of a member that stands there twice, or is none of ours, nothing was read. Written
    anew, the events have fewer colons then: unless one was written as its number.
    """
    return _encode(events).count(b":") == text.count(b":") and b"\\u003" not in text


def read_one_by_one(body: bytes, sending: Sending) -> tuple[Read, bool]:
    """Return what each event of a body comes to, whatever else stands there.

    Raises:
        Unreadable: it is no JSON, or has no events in the form that it should.
    """
    raw, is_alone = _read_body(body, sending.form)
    return [read_event(one, sending) for one in raw], is_alone


def _read_body(body: bytes, form: Form) -> tuple[list[Any], bool]:
    """Return the events of a body as they stand there, and whether it is one alone."""
    if form.attributes is not None:
        data = {"data": _parsed(body)} if body else {}
        return [{**form.attributes, **data}], True
    found = _parsed(body)
    if form.is_batch and not isinstance(found, list):
        raise Unreadable("a batch is a list of events")
    if form.is_batch is False or not isinstance(found, list):
        return [found], True
    events = cast("list[object]", found)
    if len(events) > BATCH_EVENTS_MAX:
        raise Unreadable(f"a batch has at most {BATCH_EVENTS_MAX:,} events", status=413)
    return events, False


def _parsed(body: bytes) -> Any:
    try:
        return read_json(body)
    except NotReadable as error:
        raise Unreadable(str(error)) from error
