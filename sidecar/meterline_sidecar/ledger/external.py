"""The names of events that came over HTTP, and what each event says: one mac to both.

The same name with the same mac is the same event, sent again. And a name that was
changed, moved to another event or taken away later is found: each mac can be made again
from its row and from the event, which the chain covers.
"""

import hmac
from collections.abc import Mapping
from hashlib import blake2b
from typing import Final

import msgspec

from meterline.events import Flag, Kind
from meterline_sidecar.ledger.erased import Erasing, under_way
from meterline_sidecar.ledger.report import Progress, Report
from meterline_sidecar.store.edge import external as store
from meterline_sidecar.store.edge.events import EventRow
from meterline_sidecar.store.port import Tx

MAC_BYTES: Final = 16
ROWS_PER_READ: Final = 2_000
WRONG_MAX: Final = 50  # of one kind; then the rest is surely wrong as well
EXTERNAL: Final = int(Flag.EXTERNAL)  # arithmetic on enums costs ten times as much
NAMED: Final = int(Flag.NAMED)
UNNAMED: Final = int(Flag.DUPLICATE | Flag.CONFLICT)
"""Came under a name that another event has."""
USE: Final = int(Kind.USE)
OURS: Final = -1
"""Stands in for a time that is not the sender's: sent again, it would be another."""

_encode = msgspec.msgpack.Encoder().encode


def name_mac(
    key: bytes, *, source: str, external_id: str, is_timed: bool, event: EventRow
) -> bytes:
    """Return the mac over an event's name and over what the event says.

    Not over its number, nor over flags: these are given to it here. Of one that an app
    recorded it is over whose it is, its quantities and its properties: whoever tries
    again may do so in another request.

    Raises:
        UnicodeEncodeError: a text holds half of a surrogate pair.
    """
    # Unpacked, and packed as a plain tuple: this is done for every event.
    # fmt: off
    (
        _, time_ms, kind, subject, method, route, status, took_us, n_in, n_out, flags,
        quantities, properties,
    ) = event
    # fmt: on
    if not is_timed:
        time_ms = OURS
    if flags & NAMED:
        kind, method, route, status = USE, "", "", 0
    # fmt: off
    said = (
        0, time_ms, kind, subject, method, route, status, took_us, n_in, n_out, 0,
        quantities, properties,
    )
    # fmt: on
    content = _encode((source, external_id, said))
    return blake2b(content, key=key, digest_size=MAC_BYTES).digest()


async def verify_names(
    tx: Tx, key: bytes, report: Report, progress: Progress, *, begins_behind: int
) -> None:
    """Check that every event that was given a name has it, and no other has one.

    Args:
        begins_behind: the last event that left the ledger; the names of those up to it
            are compared with their files, or not at all.
    """
    for event_id in await store.nameless(
        tx,
        named_flags=EXTERNAL | NAMED,
        but_flags=UNNAMED,
        limit=WRONG_MAX,
    ):
        report.add(f"external_events: event {event_id} has lost its name")
    for source in await store.unused_sources(tx, limit=WRONG_MAX):
        report.add(f"external_sources: nothing is of {source}")
    last_id, n_names = -(1 << 63), 0
    erasing = await under_way(tx)
    while rows := await store.names_after(tx, last_id, limit=ROWS_PER_READ):
        for row in rows:
            if 0 < row.event_id <= begins_behind:
                continue
            if not _is_right(key, row) and not _will_be(key, row, erasing):
                report.add(
                    f"external_events: the name of event {row.event_id} is wrong"
                )
        last_id = rows[-1].event_id
        n_names += len(rows)
        progress("external events", n_names, n_names)


async def verify_names_of(
    tx: Tx, key: bytes, events: Mapping[int, EventRow], report: Report
) -> None:
    """Check the names of events that left the ledger, whose ids have no hole."""
    if not events:
        return
    rows = await store.names_between(tx, min(events), max(events))
    erasing = await under_way(tx)
    for found in rows:
        row = found._replace(event=events[found.event_id])
        if not _is_right(key, row) and not _will_be(key, row, erasing):
            report.add(f"external_events: the name of event {row.event_id} is wrong")
    named = {row.event_id for row in rows}
    for event_id, event in events.items():
        is_free = event.flags & UNNAMED or not event.flags & (EXTERNAL | NAMED)
        if not is_free and event_id not in named:
            report.add(f"external_events: event {event_id} has lost its name")


def _will_be(key: bytes, row: store.Stored, erasing: Erasing | None) -> bool:
    """Say whether a name is right as soon as an erasure is done."""
    if erasing is None or row.event is None:
        return False
    (event,) = erasing.renamed([row.event])
    return _is_right(key, row._replace(event=event))


def _is_right(key: bytes, row: store.Stored) -> bool:
    if row.source is None or row.event is None or row.is_timed not in (0, 1):
        return False
    expected = name_mac(
        key,
        source=row.source,
        external_id=row.external_id,
        is_timed=bool(row.is_timed),
        event=row.event,
    )
    has_name = row.event.flags & (EXTERNAL | NAMED) != 0
    return has_name and hmac.compare_digest(expected, row.mac)
