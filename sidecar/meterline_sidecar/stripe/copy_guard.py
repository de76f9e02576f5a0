"""How many rows were ever sent, kept outside the database.

A database that was restored from a copy knows less than Stripe does: it would send
again what it does not remember. The number beside it tells that this has happened.
"""

from pathlib import Path

from meterline_sidecar.files import LedgerFiles, replace_file


class SentMark:
    """A number in a file beside the database, that only grows."""

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
