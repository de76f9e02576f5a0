"""Lines of a file, each an event in plain JSON, read into what an import keeps.

An event is what ``external_forms`` says, with two rules more, since it happened before:
it has a time, and that is past.
"""

from collections.abc import Sequence
from hashlib import blake2b
from typing import Final

import msgspec

from meterline_sidecar.clock import format_time_ms
from meterline_sidecar.ingest.decode import possible_ms
from meterline_sidecar.ingest.external import NewEvent
from meterline_sidecar.ingest.import_chunks import Line, Lines
from meterline_sidecar.store.edge.imports import Fault
from meterline_sidecar.web.api.external_body import said_once
from meterline_sidecar.web.api.external_forms import (
    BadField,
    Refused,
    Sending,
    new_event,
    read_event,
)
from meterline_sidecar.web.api.external_shapes import PlainEvent
from meterline_sidecar.web.strict_json import NotReadable, read_json

LINES_MAX: Final = 2_000
"""At once: as many events are stored in one transaction, some tens of milliseconds."""
TOGETHER_LINES: Final = 100
"""Lines that are read at once where nothing is strange in any of them."""
EARLIEST_MS: Final = 946_684_800_000
"""2000-01-01. What is before that are seconds, taken for milliseconds."""
UNREADABLE: Final = "unreadable: "
"""How a line begins, as a JSON text, that whoever made the lines of a file could not
read, before what they say of it."""

Read = Sequence[NewEvent | Refused | None]

_decode = msgspec.json.Decoder(PlainEvent).decode_lines


def digest_of(body: bytes, sending: Sending) -> bytes:
    """Return what is the same only for the same lines, read in the same way."""
    return blake2b(f"{sending.default_source}\n".encode() + body).digest()


def read_lines(body: bytes, sending: Sending, *, first_line: int) -> Lines:
    """Return what the lines of a body come to."""
    lines = body.removesuffix(b"\n").split(b"\n")
    latest_ms = possible_ms(sending.now_ms)[1]
    events: list[Line] = []
    faults: list[Fault] = []
    for start in range(0, len(lines), TOGETHER_LINES):
        part = lines[start : start + TOGETHER_LINES]
        read: Read = _read_at_once(part, sending) or [
            _read_line(line, sending) for line in part
        ]
        for number, one in enumerate(read, first_line + start):
            judged = _judged(one, latest_ms) if isinstance(one, NewEvent) else one
            if isinstance(judged, NewEvent):
                events.append(Line(number, judged))
            elif judged is not None:
                faults.append(_fault(number, judged))
    return Lines(first_line, len(lines), digest_of(body, sending), events, faults)


def _read_at_once(lines: Sequence[bytes], sending: Sending) -> list[NewEvent] | None:
    """Return the events of lines where nothing is strange, else ``None``."""
    text = b"\n".join(lines)
    try:
        found = _decode(text)
        if len(found) != len(lines) or not said_once(found, text):
            return None
        return [new_event(event, sending) for event in found]
    except (ValueError, RecursionError, BadField):
        return None


def _read_line(line: bytes, sending: Sending) -> NewEvent | Refused | None:
    """Return what a line says; ``None`` of one that is empty."""
    if not line.strip():
        return None
    try:
        raw = read_json(line)
    except NotReadable as error:
        return Refused(str(error).replace("the body", "the line", 1), None)
    if isinstance(raw, str) and raw.startswith(UNREADABLE):
        return Refused(raw.removeprefix(UNREADABLE), None)
    return read_event(raw, sending)


def _judged(event: NewEvent, latest_ms: int) -> NewEvent | Refused:
    reason = None
    if not event.is_timed:
        reason = "is missing: say when it happened"
    elif event.row.time_ms < EARLIEST_MS:
        reason = (
            f"is {format_time_ms(event.row.time_ms)}, before 2000: a number is"
            " milliseconds since 1970, and not seconds"
        )
    elif event.row.time_ms > latest_ms:
        reason = (
            f"is {format_time_ms(event.row.time_ms)}, which is in the future: only"
            " past events can be imported"
        )
    return event if reason is None else Refused(reason, "time", *event.name)


def _fault(line: int, refused: Refused) -> Fault:
    return Fault(
        line=line,
        verdict="refused",
        source=refused.source,
        external_id=refused.external_id,
        field=refused.field,
        reason=refused.reason,
    )
