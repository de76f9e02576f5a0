"""The archive's plain form: JSON Lines in gzip, which needs no package to be read.

The first line says what follows. Then comes each batch, a line, with its events and its
losses behind it, a line each. Texts of JSON within an event are kept as they are: the
chain is over their very bytes.
"""

import gzip
import zlib
from collections.abc import Iterator
from io import BytesIO
from typing import Final

import msgspec
from msgspec import UNSET, UnsetType
from msgspec.structs import astuple

from meterline_sidecar.errors import ArchiveFailed
from meterline_sidecar.ledger.bundle import Bundle, Stored
from meterline_sidecar.store.edge.events import BatchRow, EventRow, LossRow

SUFFIX: Final = ".jsonl.gz"
FORM: Final = 1
TEXT_BYTES_MAX: Final = 512 << 20  # as for what is read of a shelf
GZIP_LEVEL: Final = 6
NEWLINE: Final = b"\n"


class Head(msgspec.Struct, frozen=True, tag="meterline archive", tag_field="is"):
    """The first line."""

    form: int
    previous_mac: str
    batches: int


class BatchLine(msgspec.Struct, frozen=True, tag="batch", tag_field="is"):
    """A batch and its link of the chain."""

    id: int
    producer: str
    first_seq: int
    last_seq: int
    first_event_id: int
    events: int
    first_loss_id: int
    losses: int
    learned_ms: int
    mac: str
    seal: str | UnsetType = UNSET
    """Of one that a name was taken out of."""


class EventLine(msgspec.Struct, frozen=True, tag="event", tag_field="is"):
    """A usage event: its id, and what the chain hashes, in its order."""

    id: int
    seq: int
    time_ms: int
    kind: int
    subject: str | None
    method: str
    route: str
    status: int
    duration_us: int
    bytes_in: int
    bytes_out: int
    flags: int
    quantities: str | None
    properties: str | None


class LossLine(msgspec.Struct, frozen=True, tag="loss", tag_field="is"):
    """Numbers that never became events."""

    id: int
    first_seq: int
    last_seq: int
    reason: str
    payload: bytes | None
    """In Base64."""


FACTS: Final = tuple(name for name in BatchRow._fields if name != "producer_id")
"""What a line says of a batch: the number of its producer is of one ledger alone."""
Line = Head | BatchLine | EventLine | LossLine

encode_line: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(Line).decode


def encode(bundle: Bundle) -> bytes:
    """Return a file; the same batches always make the same one."""
    text = b"".join(encode_line(line) + NEWLINE for line in lines_of(bundle))
    return gzip.compress(text, GZIP_LEVEL, mtime=0)


def decode(content: bytes) -> Bundle:
    """Return what a file holds.

    Raises:
        ArchiveFailed: it is no such file, or not all of it.
    """
    try:
        with gzip.open(BytesIO(content)) as file:
            text = file.read(TEXT_BYTES_MAX + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise ArchiveFailed(f"it is no gzip: {error}") from error
    if len(text) > TEXT_BYTES_MAX:
        raise ArchiveFailed("it is larger than any file of the archive")
    return batches_of(read_lines(text))


def lines_of(bundle: Bundle) -> Iterator[Line]:
    """Yield the lines that say all of a bundle."""
    yield Head(FORM, bundle.previous_mac.hex(), len(bundle.batches))
    for batch, producer, mac, events, losses, seal in bundle.batches:
        facts = {name: getattr(batch, name) for name in FACTS}
        sealed = UNSET if seal is None else seal.hex()
        yield BatchLine(**facts, producer=producer, mac=mac.hex(), seal=sealed)
        for event_id, event in enumerate(events, batch.first_event_id):
            yield EventLine(event_id, *event)
        for loss_id, loss in enumerate(losses, batch.first_loss_id):
            yield LossLine(loss_id, *loss)


def read_lines(text: bytes) -> Iterator[Line]:
    """Yield lines that stand below each other.

    Raises:
        ArchiveFailed: one cannot be read.
    """
    try:
        for line in text.splitlines():
            yield _decode(line)
    except (ValueError, RecursionError) as error:
        raise ArchiveFailed(f"a line of it cannot be read: {error}") from error


def batches_of(lines: Iterator[Line]) -> Bundle:
    """Return the bundle that lines say.

    Raises:
        ArchiveFailed: they say none, or not all of one.
    """
    head = next(lines, None)
    if not isinstance(head, Head) or head.form != FORM:
        raise ArchiveFailed("it does not begin as a file of the archive does")
    batches = list(_batches(lines))
    if len(batches) != head.batches:
        raise ArchiveFailed(f"{len(batches)} batches are in it, not {head.batches}")
    return Bundle(_bytes(head.previous_mac), batches)


def _batches(lines: Iterator[Line]) -> Iterator[Stored]:
    for line in lines:
        if not isinstance(line, BatchLine):
            raise ArchiveFailed("an event or a loss stands in it without its batch")
        events = [_event(line.first_event_id + i, lines) for i in range(line.events)]
        losses = [_loss(line.first_loss_id + i, lines) for i in range(line.losses)]
        facts = {name: getattr(line, name) for name in FACTS}
        batch = BatchRow(producer_id=0, **facts)
        seal = None if isinstance(line.seal, UnsetType) else _bytes(line.seal)
        yield Stored(batch, line.producer, _bytes(line.mac), events, losses, seal)


def _event(event_id: int, lines: Iterator[Line]) -> EventRow:
    line = next(lines, None)
    if not isinstance(line, EventLine) or line.id != event_id:
        raise ArchiveFailed(f"event {event_id} is missing in it")
    return EventRow(*astuple(line)[1:])


def _loss(loss_id: int, lines: Iterator[Line]) -> LossRow:
    line = next(lines, None)
    if not isinstance(line, LossLine) or line.id != loss_id:
        raise ArchiveFailed(f"loss {loss_id} is missing in it")
    return LossRow(*astuple(line)[1:])


def _bytes(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError as error:
        raise ArchiveFailed(f"{text[:80]!r} in it is no link of the chain") from error
