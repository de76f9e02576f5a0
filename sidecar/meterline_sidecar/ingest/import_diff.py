"""What committing an import would add, and what it would not: nothing is changed."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b

from meterline_sidecar.ingest.external import NewEvent
from meterline_sidecar.ingest.import_chunks import opened, waiting
from meterline_sidecar.ingest.names import Known, Names
from meterline_sidecar.store.edge.events import EventRow
from meterline_sidecar.store.port import Readable
from meterline_sidecar.store.sqlite.scratch import Seen


@dataclass(slots=True)
class Sorted:
    """What would become of the events of an import."""

    new: int = 0
    duplicates: int = 0
    conflicts: int = 0
    unattributed: int = 0
    """New ones without a subject."""

    def is_new(self, event: NewEvent, known: Known | None, before: int | None) -> bool:
        """Say whether an event would count, and note what would become of it.

        Args:
            known: what is stored under its name.
            before: what was said under its name earlier in the file.
        """
        if known is None and before is None:
            self.new += 1
            self.unattributed += event.row.subject is None
            return True
        is_same = (
            before == _numbers(event)[1] if known is None else known.mac == event.mac
        )
        self.duplicates += is_same
        self.conflicts += not is_same
        return False


async def sorted_out(
    database: Readable, names: Names, key: bytes, import_id: int, into: Sorted
) -> AsyncIterator[list[EventRow]]:
    """Yield the events that an import would add, and note what it would not.

    Args:
        key: of the ledger's chain.

    Raises:
        ImportRefused: it is not what was put aside.
    """
    with Seen() as seen:
        async for chunk in waiting(database, import_id):
            events = [one.event for one in await opened(key, chunk)]
            wanted = {event.name for event in events}
            known = await database.read(partial(names.find, names=wanted))
            said = await asyncio.to_thread(seen.add, list(map(_numbers, events)))
            yield [
                event.row
                for event, before in zip(events, said, strict=True)
                if into.is_new(event, known.get(event.name), before)
            ]


def _numbers(event: NewEvent) -> tuple[int, int]:
    """Return a number of an event's name, and one of what it says."""
    name = blake2b("\n".join(event.name).encode(), digest_size=8).digest()
    return (
        int.from_bytes(name, signed=True),
        int.from_bytes(event.mac[:8], signed=True),
    )
