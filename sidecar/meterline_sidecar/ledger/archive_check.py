"""Walks the files of the archive, from the first batch to where the ledger begins."""

from typing import Final

from meterline.events import LEFT_OUT, Flag
from meterline_sidecar.errors import ArchiveFailed
from meterline_sidecar.ledger.archived import Archived
from meterline_sidecar.ledger.away import Away
from meterline_sidecar.ledger.batches import note_hours, verify_held_of
from meterline_sidecar.ledger.bundle import Bundle
from meterline_sidecar.ledger.chain import GENESIS
from meterline_sidecar.ledger.external import verify_names_of
from meterline_sidecar.ledger.report import Progress, Report
from meterline_sidecar.store.edge import archive as store
from meterline_sidecar.store.edge import integrity
from meterline_sidecar.store.edge.archive import NewMove
from meterline_sidecar.store.edge.begin import begin
from meterline_sidecar.store.edge.events import LossRow
from meterline_sidecar.store.port import Tx

HELD: Final = int(Flag.HELD)  # arithmetic on enums costs ten times as much
RELEASED: Final = int(Flag.RELEASED)


async def look_at_archive(
    tx: Tx, key: bytes, report: Report, progress: Progress, archived: Archived | None
) -> Away:
    """Compare every file with what left for it, and all that is noted of its events.

    Args:
        archived: ``None``: the files are not read, and what they hold is not compared.
    """
    away = Away(await begin(tx))
    files = await store.files(tx)
    n_events = sum(move.events for move in files)
    away.beyond_ms = max((move.beyond_ms for move in files), default=0)
    if archived is None:
        away.is_read = not files
        report.archive_events_unread = n_events
        return away
    previous, last_id, done = GENESIS, 0, 0
    for move in files:
        if (move.first_batch_id, move.previous_mac) != (last_id + 1, previous):
            report.add(f"archive_moves: {move.file} does not follow on batch {last_id}")
        previous, last_id = move.mac, move.last_batch_id
        try:
            bundle = await archived.bundle(move)
        except ArchiveFailed as error:
            report.add(f"the archive: {error}")
            away.is_read = False
            report.archive_events_unread += move.events
            continue
        await _verify_around(tx, key, move, bundle, away, report)
        report.archive_files += 1
        done += move.events
        progress("archive", done, n_events)
    if (last_id, previous) != (away.begin.batch_id, away.begin.mac or GENESIS):
        report.add(
            f"archive_moves: the files end with batch {last_id}, and the ledger begins"
            f" behind batch {away.begin.batch_id}"
        )
    if not away.is_read:
        away.hours.clear()
        away.producers.clear()
    return away


async def _verify_around(
    tx: Tx, key: bytes, move: NewMove, bundle: Bundle, away: Away, report: Report
) -> None:
    """Note what a file comes to, and check what the ledger says of its events."""
    held: list[tuple[int, int, int, str | None, str]] = []
    released: list[int] = []
    for batch, producer, _, events, losses, _ in bundle.batches:
        note_hours(away.hours, batch, events)
        for event_id, event in enumerate(events, batch.first_event_id):
            if event.flags & HELD:
                noted = (batch.learned_ms, event.time_ms, event.subject, producer)
                held.append((event_id, *noted))
            if event.flags & RELEASED:
                released.append(event_id)
        of = away.producers[producer]
        of.last_seq = max(of.last_seq, batch.last_seq)
        of.counts = tuple(
            before + more
            for before, more in zip(
                of.counts,
                (
                    len(events),
                    sum(event.subject is None for event in events),
                    sum(event.flags & HELD != 0 for event in events),
                    sum(event.flags & LEFT_OUT != 0 for event in events),
                    sum(_n(one) for one in losses if one.payload is None),
                    sum(_n(one) for one in losses if one.payload is not None),
                ),
                strict=True,
            )
        )
    report.batches += len(bundle.batches)
    report.events += move.events
    report.losses += move.losses
    first_id, beyond_id = move.first_event_id, move.first_event_id + move.events
    await verify_held_of(tx, first_id, beyond_id, held, report, what=move.file)
    stand_for = await integrity.released_between(
        tx, first_id=first_id, beyond_id=beyond_id
    )
    if stand_for != released:
        report.add(f"held_events: what stands for them in {move.file} is not noted so")
    events_by_id = dict(bundle.numbered())
    await verify_names_of(tx, key, events_by_id, report)


def _n(loss: LossRow) -> int:
    return loss.last_seq - loss.first_seq + 1
