"""SQL for where the ledger begins: behind the batches that left it for the archive."""

from typing import NamedTuple

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


async def begin(tx: Tx) -> Begin:
    """Return where the ledger begins: behind the last move out, or before one back."""
    row = await tx.fetch_one(
        "SELECT is_out, first_batch_id, last_batch_id, first_event_id, events,"
        " first_loss_id, losses, previous_mac, mac FROM archive_moves"
        " ORDER BY id DESC LIMIT 1"
    )
    if row is None:
        return AT_THE_FIRST
    is_out, batch, last_batch, event, n_events, loss, n_losses, before, mac = row
    if is_out:
        return Begin(last_batch, event + n_events - 1, loss + n_losses - 1, mac)
    if batch == 1:
        return AT_THE_FIRST
    return Begin(batch - 1, event - 1, loss - 1, before)


async def check_here(tx: Tx, cursor: int) -> None:
    """Make sure that all events behind one are in the ledger.

    Raises:
        EventsArchived: some of them left it.
    """
    last = (await begin(tx)).event_id
    if cursor < last:
        raise EventsArchived(
            f"events up to {last} are in the archive; `meterline archive list` names the"
            " files, and `meterline archive restore` brings them back"
        )
