"""Copies of the ledger that were made: backups, and what was set aside beside it.

Each backup is noted as a line of a file beside the ledger. A copy holds what the ledger
held then, names that were erased since among it, until somebody deletes it.
"""

from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from meterline_sidecar.files import LedgerFiles, replace_file
from meterline_sidecar.ledger import noted_lines

NOTED_MAX: Final = 10_000
"""Backups that are noted; of an hourly one that is more than a year."""
BYTES_MAX: Final = 8 << 20  # of the file: lines of twice the usual length
ASIDE: Final = (".before-restore-*", ".corrupt-*", ".rescued")
"""What the ledger's name is followed by where a copy was set aside."""


class Backup(msgspec.Struct, frozen=True, kw_only=True):
    """A backup that was made: a line of the file."""

    finished_ms: int
    file: str
    """Its path when it was made."""
    file_bytes: int
    digest: str
    """SHA-256 of it, in hex."""
    batches: int
    events: int


class Copy(NamedTuple):
    """A copy of the ledger, as far as is known."""

    file: str
    made_ms: int | None
    is_here: bool


def note(database: Path, backup: Backup) -> None:
    """Note a backup, durably; beyond the most that are kept, the oldest are forgotten."""
    path = LedgerFiles(database).backups
    noted_lines.append(path, backup)
    if path.stat().st_size > BYTES_MAX:
        kept = backups(database)[-NOTED_MAX // 2 :]
        lines = b"".join(msgspec.json.encode(one) + b"\n" for one in kept)
        replace_file(path, lines, durably=True)


def backups(database: Path) -> list[Backup]:
    """Return the backups that are noted, the oldest first."""
    return noted_lines.read(LedgerFiles(database).backups, Backup)[-NOTED_MAX:]


def copies_of(database: Path) -> list[Copy]:
    """Return all copies that are known: backups, and what was set aside."""
    path = LedgerFiles(database).database
    noted = [
        Copy(one.file, one.finished_ms, Path(one.file).exists())
        for one in backups(database)
    ]
    aside = sorted(
        found for end in ASIDE for found in path.parent.glob(path.name + end)
    )
    return noted + [Copy(str(found), None, is_here=True) for found in aside]
