"""SQL for where the ledger begins: behind the batches that left it for the archive."""

from typing import Final, NamedTuple

from meterline_sidecar.errors import EventsArchived
from meterline_sidecar.store.port import Tx


class Begin(NamedTuple):
    """The last batch that left, its last event and loss, and the chain up to it."""

    batch_id: int
    event_id: int
    loss_id: int
    mac: bytes | None
    """``None`` while nothing has left."""


AT_THE_FIRST = Begin(0, 0, 0, None)
"""Where a ledger begins that nothing has left."""


IS_AWAY: Final = (
    " (m.is_out = 1 AND NOT EXISTS (SELECT 1 FROM archive_moves b WHERE b.is_out = 0"
    " AND b.id > m.id AND b.first_batch_id <= m.first_batch_id) AND NOT EXISTS"
    " (SELECT 1 FROM archive_moves n WHERE n.is_out = 1 AND n.id > m.id"
    " AND n.first_batch_id = m.first_batch_id))"
)
"""Whether what left by a move is still away, and in the file that it names: it did not
come back since, and was not written anew."""


async def begin(tx: Tx) -> Begin:
    """Return where the ledger begins: behind the newest of what is away."""
    row = await tx.fetch_one(
        "SELECT last_batch_id, first_event_id + events - 1, first_loss_id + losses - 1,"  # noqa: S608 - our own words
        f" mac FROM archive_moves m WHERE{IS_AWAY} ORDER BY first_batch_id DESC LIMIT 1"
    )
    return AT_THE_FIRST if row is None else Begin(*row)


async def check_here(tx: Tx, cursor: int) -> None:
    """Make sure that all events behind one are in the ledger.

    Raises:
        EventsArchived: some of them left it; the text names the file of the first one,
            with which all others come back.
    """
    wanted = cursor + 1
    if wanted > (await begin(tx)).event_id:
        return
    row = await tx.fetch_one(
        "SELECT m.file FROM archive_moves m WHERE m.first_event_id <= ?"  # noqa: S608 - our own words
        f" AND m.first_event_id + m.events > ? AND{IS_AWAY}",
        (wanted, wanted),
    )
    if row is None:
        raise EventsArchived(
            f"no file is noted of event {wanted}, which left the ledger: run `meterline"
            " verify`"
        )
    raise EventsArchived(
        f"event {wanted} left the ledger for {row[0]}; `meterline archive restore"
        f" {row[0]}` brings it back, with all that is newer"
    )
