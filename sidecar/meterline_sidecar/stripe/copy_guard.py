"""Notices that a database is an older copy, and holds what it may send again.

Such a database knows less than Stripe does: it would send again what it does not
remember. The number of rows ever sent, kept outside the database, gives it away.
"""

import logging
from pathlib import Path

from meterline_sidecar.clock import HOUR_MS
from meterline_sidecar.files import LedgerFiles, replace_file
from meterline_sidecar.store import outbox
from meterline_sidecar.store import outbox_sending as sending
from meterline_sidecar.store.port import Tx

log = logging.getLogger(__name__)


class SentMark:
    """How many rows were ever sent: a file next to the database that only grows."""

    def __init__(self, database: Path) -> None:
        self._path = LedgerFiles(database).sent

    def read(self) -> int | None:
        """Return the number, ``None`` where there is none."""
        try:
            return int(self._path.read_text(encoding="ascii"))
        except (FileNotFoundError, ValueError):
            return None

    def write(self, sends: int) -> None:
        """Replace the number.

        Not flushed to the disk: it outlives a crash of the process, and after a loss
        of power it may only be too small, which does no harm.
        """
        replace_file(self._path, str(sends).encode("ascii"), durably=False)


class CopyGuard:
    """Compares the mark with the database once, and keeps it up to date from then on."""

    def __init__(self, mark: SentMark) -> None:
        self._mark = mark
        self._sends: int | None = None
        """Rows ever sent; ``None`` before the first check."""

    async def check(self, tx: Tx, *, now_ms: int) -> None:
        """Hold every row that an older copy of the ledger may have sent already.

        Only the first check of a process does anything.
        """
        if self._sends is not None:
            return
        cursor = await outbox.cursor(tx)
        assert cursor is not None, "the outbox was started, or nothing could be sent"
        self._sends = cursor.sends
        marked = self._mark.read()
        if marked is None and cursor.sends == 0:
            # From now on a missing mark means that this is not the first place.
            self._mark.write(0)
        elif marked is None or marked > cursor.sends:
            closed_ms = now_ms // HOUR_MS * HOUR_MS
            n_rows = await sending.suspect(tx, before_ms=closed_ms)
            log.error("the database is an older copy: %d row(s) unresolved", n_rows)

    def count(self, n_rows: int) -> None:
        """Add rows that are being sent from now on, before a socket is touched."""
        if n_rows:
            assert self._sends is not None, "checked before anything is sent"
            self._sends += n_rows
            self._mark.write(self._sends)
