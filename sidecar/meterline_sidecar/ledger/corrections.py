"""Proof that what corrections are about is what was written.

The journal has a link for each correction, and a correction the digest of its events.
"""

from collections.abc import Iterable
from hashlib import sha256

from meterline_sidecar.ledger.report import Report
from meterline_sidecar.store.edge import corrections as store
from meterline_sidecar.store.edge import event_log
from meterline_sidecar.store.port import Tx


def digest_of(rows: Iterable[tuple[int, bool]]) -> bytes:
    """Return the digest of ``(event id, whether it is void)``, in order of the ids."""
    digest = sha256()
    for event_id, is_void in rows:
        digest.update(b"%d %d\n" % (event_id, is_void))
    return digest.digest()


async def verify_corrections(tx: Tx, report: Report) -> None:
    """Compare the events of each correction with what its row says of them."""
    last_id = await event_log.last_event_id(tx)
    for row in await store.corrections_up_to(tx, last_id):
        rows = await store.events_of(tx, row.id)
        if (len(rows), digest_of(rows)) != (row.events, row.digest):
            report.add(f"corrected_events: those of correction {row.id} were changed")
