"""The edge's end of its files: has them written, and tells the centre of each.

The cursor is the centre's: it names the last file that it noted, and what was written
behind that one is told, again if need be. A ledger that does not know that file was put
back: it tells of all of its own, and the centre notes those that are new there.
"""

import contextlib
from typing import Final

from meterline.edge_wire import EdgeFile
from meterline_sidecar.errors import ArchiveFailed
from meterline_sidecar.fleet.line import Line
from meterline_sidecar.ledger.edge_files import EdgeFiles, Reached
from meterline_sidecar.store.edge import edge_files as store
from meterline_sidecar.store.edge import roll_ups
from meterline_sidecar.store.edge.edge_files import OWN, NewEdgeFile
from meterline_sidecar.store.port import Readable, Tx

ROWS_PER_READ: Final = 100


class Filing:
    """What an edge holds as files, and what its centre knows of that."""

    def __init__(self, database: Readable, files: EdgeFiles) -> None:
        self._database = database
        self.files = files
        self.reached: Reached | None = None
        """What the centre has; ``None`` before it first said so."""
        self.filed_ms = 0
        """When the last batch was stored that is in a file; 0 before that is known."""
        self._noted: int | None = None
        """Up to which row the centre has noted all; ``None``: it takes note of none."""

    async def run(self) -> int:
        """Write what is over of hours; return how many files that were.

        What cannot be written waits, and ``files.trouble`` says why.
        """
        n_files = 0
        with contextlib.suppress(ArchiveFailed):  # noted: the next run tries again
            while await self.write_next() is not None:
                n_files += 1
        return n_files

    async def write_next(self, *, is_urgent: bool = False) -> NewEdgeFile | None:
        """Write the next file; ``None``: there is nothing for one yet.

        Args:
            is_urgent: also of the hour that is not over.

        Raises:
            ArchiveFailed: it cannot be written, or read back; nothing is noted.
        """
        if self.reached is None:
            return None
        file = await self.files.write_next(self.reached, is_urgent=is_urgent)
        if file is not None:
            self.filed_ms = file.learned_ms
        return file

    async def begin(self, last: str | None) -> None:
        """Go on behind the file that the centre noted last.

        Args:
            last: its name; empty for none. ``None``: the centre is too old to note any.
        """
        async with self._database.reading() as tx:
            written = await store.last_file(tx, OWN)
            known = await store.file_named(tx, OWN, last or "")
        if written is not None:
            self.filed_ms = written.what.learned_ms
        self.reached = None  # of a centre that was put back nothing is known yet
        self._noted = None
        if last is not None:
            self._noted = 0 if known is None else known.id

    async def tell(self, line: Line) -> None:
        """Tell the centre of files that it has not noted."""
        while self._noted is not None:
            async with self._database.reading() as tx:
                rows = await store.files_after(
                    tx, self._noted, edge_id=OWN, limit=ROWS_PER_READ
                )
            if not rows:
                return
            await line.send_all([EdgeFile(*row.what[1:]) for row in rows])
            await line.until_answered()
            self._noted = rows[-1].id

    async def why_not_there(self, tx: Tx, file: store.EdgeFile) -> str | None:
        """Return what the centre does not have of a file; ``None``: nothing.

        It has noted it, and has its batches, or what their events come to by every
        counting that is followed here.
        """
        reached, what = self.reached, file.what
        if reached is None:
            return "the centre has not reported yet what it has"
        if self._noted is None or file.id > self._noted:
            return f"the centre has not noted {what.file} yet"
        last_event_id = what.first_event_id + what.events - 1
        if what.last_batch_id > reached.batch:
            return f"the centre does not have batch {what.last_batch_id} yet"
        if reached.event is None:
            return None
        followed = await roll_ups.list_roll_ups(tx)
        for one in followed:
            there = await roll_ups.rolled_up_to(tx, one, batch_id=reached.batch)
            if there < last_event_id:
                return f"the centre does not have what events up to {last_event_id} come to"
        return None if followed else "the centre has not said by which meters it counts"

    async def finish(self, line: Line) -> None:
        """Write all that the centre has, as the disk may vanish, and tell of it."""
        with contextlib.suppress(ArchiveFailed):  # noted, and nothing is lost here
            while await self.write_next(is_urgent=True) is not None:
                pass
        await self.tell(line)
        await line.until_answered()
