"""SQL for what producers recorded and has not arrived."""

from typing import Final, NamedTuple

from meterline_sidecar.store.edge.events import SELECT_PRODUCER, ProducerRow
from meterline_sidecar.store.facts import put_fact
from meterline_sidecar.store.port import Tx
from meterline_sidecar.store.sums import summed, whole

ACCEPTED: Final = "accepted gap "
"""With a producer behind it: a fact, up to which number it is given up."""
_SILENT: Final = (
    "WHERE recorded_seq > last_seq AND seen_ms < ? AND NOT EXISTS (SELECT 1 FROM facts"
    " WHERE facts.name = ? || producers.producer"
    " AND CAST(facts.value AS INTEGER) >= producers.recorded_seq)"
)


class Gap(NamedTuple):
    """Numbers that a producer recorded and that have not arrived."""

    producer: str
    app: str
    host: str
    pid: int
    first_seq: int
    last_seq: int
    seen_ms: int
    """When the producer was last heard of."""


async def open_gaps(tx: Tx, *, start_ms: int, end_ms: int) -> list[Gap]:
    """Return what producers recorded that may be of a span and has not arrived.

    By the order of numbers, and by our own clock; what the missing events' neighbours
    say of their time proves nothing, as an app's clock may have been wrong. What was
    recorded by the time that a producer was last heard of cannot be later, and one
    that neither started nor was heard of before the end has nothing from before.
    """
    rows = await tx.fetch_all(
        "SELECT p.producer, p.app, p.host, p.pid, p.last_seq + 1, p.recorded_seq,"
        " p.seen_ms FROM producers p WHERE p.recorded_seq > p.last_seq"
        # One whose first batch left for the archive is as old as can be.
        " AND p.seen_ms >= ? AND (p.started_ms < ? OR coalesce((SELECT"
        " CASE b.first_seq WHEN 1 THEN b.learned_ms ELSE 0 END"
        " FROM batches b WHERE b.producer_id = p.id ORDER BY b.id LIMIT 1),"
        " CASE p.last_seq WHEN 0 THEN p.seen_ms ELSE 0 END) < ?) ORDER BY +p.id",
        (start_ms, end_ms, end_ms),
    )
    return [Gap(*row) for row in rows]


async def accept_gap(tx: Tx, *, producer: str, last_seq: int) -> None:
    """Note that what a producer recorded up to a number, and is missing, is given up."""
    await put_fact(tx, f"{ACCEPTED}{producer}", str(last_seq))


class SilentGaps(NamedTuple):
    """What silent producers recorded and has not arrived."""

    producers: int
    events: int
    latest: ProducerRow | None
    """The one of them that was seen last."""


async def silent_gaps(tx: Tx, *, seen_before_ms: int) -> SilentGaps:
    """Return the gaps of producers that have not been heard of since a time.

    Those that somebody accepted are left out, unless more of them is missing since.
    """
    row = await tx.fetch_one(
        f"SELECT count(*), {summed('recorded_seq - last_seq')} FROM producers {_SILENT}",  # noqa: S608 - our own words
        (seen_before_ms, ACCEPTED),
    )
    assert row is not None
    if row[0] == 0:
        return SilentGaps(0, 0, None)
    latest = await tx.fetch_one(
        f"{SELECT_PRODUCER} {_SILENT} ORDER BY seen_ms DESC LIMIT 1",
        (seen_before_ms, ACCEPTED),
    )
    assert latest is not None
    return SilentGaps(row[0], whole(*row[1:]), ProducerRow(*latest))
