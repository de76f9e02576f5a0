"""Chunks of an import: some lines of a file as they are kept aside, each with its proof."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from hashlib import blake2b
from typing import Final, NamedTuple

import msgspec

from meterline_sidecar.errors import MeterlineError
from meterline_sidecar.ingest.external import NewEvent
from meterline_sidecar.store.edge import imports as store
from meterline_sidecar.store.edge.imports import Chunk, Fault
from meterline_sidecar.store.port import Readable

MAC_BYTES: Final = 16


class ImportRefused(MeterlineError):
    """This cannot be done with an import as it is; the text says why."""


class Line(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """An event of a file, and where it stands there."""

    line: int
    event: NewEvent


class Lines(NamedTuple):
    """Some lines of a file in a row, as far as they can be read."""

    first_line: int
    n_lines: int
    digest: bytes
    """Of the lines as they came."""
    events: Sequence[Line]
    faults: Sequence[Fault]


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[Line]).decode


async def closed(key: bytes, import_id: int, lines: Lines) -> Chunk:
    """Return lines as they are kept.

    Args:
        key: of the ledger's chain.
    """
    content = await asyncio.to_thread(_encode, lines.events)
    return Chunk(
        import_id=import_id,
        first_line=lines.first_line,
        lines=lines.n_lines,
        events=len(lines.events),
        bad=len(lines.faults),
        first_ms=min((one.event.row.time_ms for one in lines.events), default=None),
        digest=lines.digest,
        mac=_mac(key, import_id, lines.first_line, content),
        content=content,
    )


async def waiting(database: Readable, import_id: int) -> AsyncIterator[Chunk]:
    """Yield what waits of an import, in order."""
    line = 0
    while True:
        async with database.reading() as tx:
            chunk = await store.next_chunk(tx, import_id, after=line)
        if chunk is None:
            return
        line = chunk.first_line
        yield chunk


async def opened(key: bytes, chunk: Chunk) -> list[Line]:
    """Return the events of a chunk.

    Raises:
        ImportRefused: it is not what was put aside.
    """
    mac = _mac(key, chunk.import_id, chunk.first_line, chunk.content)
    if mac != chunk.mac:
        raise ImportRefused(
            f"what was put aside of lines {chunk.first_line} to"
            f" {chunk.first_line + chunk.lines - 1} of import {chunk.import_id} has"
            " been changed since, and is not counted: restore a backup from before, or"
            " import the file again under another name"
        )
    return await asyncio.to_thread(_decode, chunk.content)


def _mac(key: bytes, import_id: int, first_line: int, content: bytes) -> bytes:
    place = f"{import_id} {first_line} ".encode()
    return blake2b(place + content, key=key, digest_size=MAC_BYTES).digest()
