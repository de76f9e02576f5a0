"""The forms in which events come over HTTP, read into what is stored.

CloudEvents 1.0, one, a batch, or one whose attributes are headers; and plain JSON.

Source: github.com/cloudevents/spec, v1.0.2: spec.md, formats/json-format.md and
bindings/http-protocol-binding.md, read 2026-11-26.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, cast
from urllib.parse import unquote

import msgspec
from starlette.datastructures import Headers

from meterline.events import NAME_CHARS_MAX, RESERVED_NAMES
from meterline.quantities import checked_quantity, is_unicode
from meterline.usage_event import UsageEvent
from meterline_sidecar.clock import parse_time_ms
from meterline_sidecar.ingest.external import NewEvent
from meterline_sidecar.ingest.names import DEFAULT_SOURCE, Name
from meterline_sidecar.web.answers.events import KINDS
from meterline_sidecar.web.api.external_shapes import (
    CloudEvent,
    EventData,
    PlainEvent,
)
from meterline_sidecar.web.misfits import misfit

REASON_CHARS_MAX: Final = 256
NO_DATA: Final = EventData()
JSON_TYPE: Final = "application/json"
CLOUD_TYPE: Final = "application/cloudevents+json"
BATCH_TYPE: Final = "application/cloudevents-batch+json"
CLOUD_HEADER: Final = "ce-"
RFC_3339: Final = re.compile(
    r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII
)
_QUOTED: Final = re.compile(r'"((?:[^"\\]|\\.)*)"')


class Unreadable(Exception):
    """A body that is no list of events at all; the text says what was expected."""

    def __init__(self, text: str, *, status: int = 400) -> None:
        super().__init__(text)
        self.status = status


class Refused(NamedTuple):
    """An event that can never be taken as it is."""

    reason: str
    field: str | None
    source: str | None = None
    external_id: str | None = None


class Form(NamedTuple):
    """How events stand in a body."""

    kind: type[PlainEvent | CloudEvent]
    is_batch: bool | None
    """``None`` where that is said by the body."""
    attributes: dict[str, str] | None = None
    """Of a CloudEvent whose attributes are headers, and whose data is the body."""


class Sending(NamedTuple):
    """What is known of a request besides its body."""

    form: Form
    now_ms: int
    only_source: str | None
    """The only one that the sender may send events of."""
    prepare: Callable[..., NewEvent]
    default_source: str = DEFAULT_SOURCE
    """Of events that name none, where the sender may send of any."""


def form_of(headers: Headers) -> Form:
    """Return in which form a request has its events.

    Raises:
        Unreadable: in none that is known here.
    """
    if headers.get("content-encoding", "identity").lower() != "identity":
        raise Unreadable("send the body without Content-Encoding", status=415)
    media_type, _, more = headers.get("content-type", "").partition(";")
    charset = re.search(r"charset\s*=\s*\"?([\w-]+)", more)
    if charset is not None and charset[1].lower() not in ("utf-8", "us-ascii"):
        raise Unreadable(f"send UTF-8, not {charset[1][:50]}", status=415)
    match media_type.strip().lower():
        case "application/cloudevents+json":
            return Form(CloudEvent, is_batch=False)
        case "application/cloudevents-batch+json":
            return Form(CloudEvent, is_batch=True)
        case "application/json" if f"{CLOUD_HEADER}specversion" in headers:
            return Form(CloudEvent, is_batch=False, attributes=_attributes(headers))
        case "application/json":
            return Form(PlainEvent, is_batch=None)
        case _:
            raise Unreadable(
                f"send events as {JSON_TYPE}, {CLOUD_TYPE} or {BATCH_TYPE}", status=415
            )


def read_event(raw: Any, sending: Sending) -> NewEvent | Refused:
    """Return an event as it is stored, or why it cannot be."""
    try:
        return _read_event(raw, sending)
    except msgspec.ValidationError as error:
        why = misfit(raw, sending.form.kind, said=error)
        reason, field = why.reason, why.field or None
    except BadField as error:
        reason, field = error.reason, error.field
    except UnicodeEncodeError:
        reason, field = "half of a surrogate pair is no Unicode", _broken_field(raw)
    return Refused(
        _printed(reason),
        None if field is None else _printed(field),
        _shown(raw, "source"),
        _shown(raw, "id"),
    )


class BadField(Exception):
    """One field of an event cannot be taken."""

    def __init__(self, reason: str, field: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.field = field


def _read_event(raw: Any, sending: Sending) -> NewEvent:
    event = msgspec.convert(raw, sending.form.kind)
    if isinstance(event, CloudEvent) and "data_base64" in raw:
        raise BadField("what is used stands in `data`, as JSON", "data_base64")
    return new_event(event, sending)


def new_event(event: PlainEvent | CloudEvent, sending: Sending) -> NewEvent:
    """Return an event of the right shape as it is stored.

    Raises:
        BadField: it cannot be taken all the same.
        UnicodeEncodeError: a text holds half of a surrogate pair.
    """
    route: str | None
    if isinstance(event, CloudEvent):
        if event.datacontenttype is not None and not _is_json(event.datacontenttype):
            raise BadField("data must be JSON", "datacontenttype")
        data, source = event.data or NO_DATA, event.source
        route = data.route or event.type
    else:
        data = event
        route = event.route
        source = event.source or sending.only_source or sending.default_source
    if source != (sending.only_source or source):
        raise BadField(
            f"this token sends events of {sending.only_source} and no other source",
            "source",
        )
    used = UsageEvent(
        time_ms=sending.now_ms if event.time is None else _time_ms(event.time),
        kind=KINDS.index(data.kind),
        subject=event.subject,
        method=data.method,
        route=route,
        status=data.status or 0,
        duration_us=data.duration_us,
        bytes_in=data.bytes_in,
        bytes_out=data.bytes_out,
        quantities=amounts(data.quantities) if data.quantities else None,
        properties=texts(data.properties) if data.properties else None,
    )
    name = Name(source, event.id)
    return sending.prepare(name, used, is_timed=event.time is not None)


def amounts(quantities: Mapping[str, int | str]) -> dict[str, int | str]:
    """Return quantities as they are stored: what says the same is the same.

    They are in one order, and of each number, however it is written, there is one.
    """
    return {
        name: quantity if type(quantity) is int else _amount(name, quantity)
        for name, quantity in sorted(quantities.items())
    }


def _amount(name: str, quantity: int | str) -> int | str:
    _, exact, why = checked_quantity(name, quantity)
    if why:  # a line end behind the number
        raise BadField(why, f"quantities.{name}")
    return exact


def texts(properties: Mapping[str, str | int]) -> dict[str, str]:
    """Return properties as they are stored.

    Raises:
        BadField: an event has something of that name already.
    """
    if not RESERVED_NAMES.isdisjoint(properties):
        reserved = min(properties.keys() & RESERVED_NAMES)
        raise BadField(
            "an event has something of this name already; choose another",
            f"properties.{reserved}",
        )
    return {
        name: value if isinstance(value, str) else str(value).lower()
        for name, value in properties.items()
    }


def _time_ms(when: str | int) -> int:
    if isinstance(when, int):
        return when
    try:
        # What else Python reads, such as weeks, is no RFC 3339.
        known = RFC_3339.fullmatch(when)
        time_ms = None if known is None else parse_time_ms(when.upper())
    except ValueError:  # the 31st of June
        time_ms = None
    if time_ms is None:
        raise BadField(
            "must be an RFC 3339 time with its zone, such as 2026-11-22T08:00:00Z, or"
            f" milliseconds since 1970, not {when!r}",
            "time",
        )
    if time_ms < 0:
        raise BadField("is before 1970", "time")
    return time_ms


def _attributes(headers: Headers) -> dict[str, str]:
    """Return the attributes of a CloudEvent that are headers, without their escapes."""
    try:
        return {
            name.removeprefix(CLOUD_HEADER): unquote(_unquoted(value), errors="strict")
            for name, value in headers.items()
            if name.startswith(CLOUD_HEADER)
        }
    except UnicodeDecodeError as error:
        raise Unreadable("a ce- header is not UTF-8 in percent escapes") from error


def _unquoted(value: str) -> str:
    """Return a header without the quotes that earlier versions of CloudEvents set."""
    found = _QUOTED.fullmatch(value)
    return value if found is None else re.sub(r"\\(.)", r"\1", found[1])


def _broken_field(raw: Any) -> str | None:
    """Return the first field with a text, or a name, that is no Unicode."""
    fields = dict(_members(raw))
    for path in ("data", "properties", "data.properties"):
        inner = _members(fields.get(path))
        fields |= {f"{path}.{name}": value for name, value in inner.items()}
    for name, value in fields.items():
        if not is_unicode(name) or (isinstance(value, str) and not is_unicode(value)):
            return name
    return None


def _members(raw: Any) -> dict[str, Any]:
    return cast("dict[str, Any]", raw) if isinstance(raw, dict) else {}


def _shown(raw: Any, name: str) -> str | None:
    """Return a text of an event that was refused, if it is one."""
    text = _members(raw).get(name)
    if isinstance(text, str) and len(text) <= NAME_CHARS_MAX and is_unicode(text):
        return text
    return None


def _printed(text: str) -> str:
    """Return a text that holds a part of what came, so that it can be answered."""
    return text[:REASON_CHARS_MAX].encode(errors="backslashreplace").decode()


def _is_json(media_type: str) -> bool:
    plain = media_type.partition(";")[0].strip().lower()
    return plain == JSON_TYPE or plain.endswith(("/json", "+json"))
