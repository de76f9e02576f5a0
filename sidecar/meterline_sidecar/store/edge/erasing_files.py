"""SQL for files of the archive that an erasure writes anew, until the old ones are gone."""

from typing import NamedTuple

import msgspec

from meterline_sidecar.store.edge.archive import NewMove
from meterline_sidecar.store.port import Tx


class Anew(NamedTuple):
    """A file that was written anew, and the one that it takes the place of."""

    old_file: str
    move: NewMove
    is_away: bool
    """Whether what it holds is away; else it is in the ledger, and no row names it."""


async def add(tx: Tx, anew: Anew) -> None:
    """Note a file that was written beside an old one."""
    await tx.execute(
        "INSERT INTO erasing_files (old_file, move, is_away) VALUES (?, ?, ?)",
        (anew.old_file, msgspec.json.encode(anew.move).decode(), int(anew.is_away)),
    )


async def waiting(tx: Tx) -> list[Anew]:
    """Return the files of which the old one is there still, in the order written."""
    rows = await tx.fetch_all(
        "SELECT old_file, move, is_away FROM erasing_files ORDER BY id"
    )
    return [
        Anew(row[0], msgspec.json.decode(row[1], type=NewMove), bool(row[2]))
        for row in rows
    ]


async def drop(tx: Tx, old_file: str) -> None:
    """Forget a file: the old one is deleted."""
    await tx.execute("DELETE FROM erasing_files WHERE old_file = ?", (old_file,))
