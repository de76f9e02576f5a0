"""Makes records of stored events again, as the app had sent them.

What the centre makes of them is the row that they were made from, so that each field
crosses unchanged. Only what an edge judged crosses as a judgement: of an event that came
twice here its name is not kept, but that it does not count is.
"""

from collections.abc import Iterable
from typing import Any, Final

import msgspec

from meterline.events import Flag, Kind
from meterline.usage_event import UsageEvent
from meterline.wire import RECORD_HEADER, encode_record, record_crc
from meterline_sidecar.store.edge.events import EventRow, LossRow
from meterline_sidecar.store.edge.forward import NamedEvent
from meterline_sidecar.usage import rolled_up
from meterline_sidecar.usage.fold import ROLLED_UP

OURS: Final = int(Flag.HELD | Flag.NAMED)
"""The centre sets these itself: by its clock, and by the name that comes along."""
DAMAGED: Final = "damaged: "
USE: Final = int(Kind.USE)
USAGE_FIELD: Final = len(UsageEvent.__struct_fields__)
"""Where in a record stands what was rolled up into it: behind all that an app says."""
RECORD_BYTES: Final = 80  # all but the subject and what was rolled up

_encode = msgspec.msgpack.Encoder().encode
_from_json = msgspec.json.Decoder().decode


def record_of(event: NamedEvent) -> bytes:
    """Return a stored event as the record that it came as."""
    # fmt: off
    (
        seq, time_ms, kind, subject, method, route, status, took_us, n_in, n_out, flags,
        quantities, properties,
    ) = event.event
    fields: tuple[Any, ...] = (
        time_ms, kind, subject, method or None, route or None, status, took_us, n_in,
        n_out, flags & ~OURS, _from_json(quantities) if quantities else None,
    )
    # fmt: on
    if flags & ROLLED_UP:
        assert properties is not None, "that is all there is in it"
        fields += (None, None, None, None, rolled_up.text_in(properties))
    elif properties or event.external_id is not None:
        said: dict[str, Any] = _from_json(properties) if properties else {}
        fields += (said.get("all"), said.get("parts"), event.external_id, event.source)
    return encode_record(seq, _encode(fields))


def bytes_of(events: Iterable[EventRow]) -> int:
    """Return how large rolled-up events are as records, or a little more."""
    return sum(
        len((event.properties or "").encode())
        + len((event.subject or "").encode())
        + RECORD_BYTES
        for event in events
    )


def record_of_refused(loss: LossRow) -> bytes:
    """Return what was refused here as it came, so that it is refused there as well."""
    assert loss.payload is not None
    low = loss.first_seq & 0xFFFFFFFF
    crc = record_crc(low, loss.payload)
    if loss.reason.startswith(DAMAGED):
        crc ^= 1
    return RECORD_HEADER.pack(len(loss.payload), crc, low) + loss.payload
