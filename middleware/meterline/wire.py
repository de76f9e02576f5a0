"""What crosses the socket: the only definition.

A frame is ``u32 length (big endian) | MessagePack array``, whose first element
names its type. A conversation:

    app                                  sidecar
    Hello(version, producer, ...)   ->
                                    <-   Welcome(last_seq, ...)
    Batch(first_seq, records)       ->
                                    <-   Ack(seq)         after COMMIT
    Lost(first_seq, last_seq, ...)  ->
                                    <-   Ack(last_seq)    after COMMIT
    Bye(last_seq)                   ->
                                    <-   Ack(last_seq)    and the end

A producer numbers what it records 1, 2, 3 ... without a hole. The sidecar takes
only ``last_seq + 1``, trims what it already has, and answers anything else with a
``Refusal``, after which it closes the connection.

A batch carries its events as *records*, byte for byte as they stand in the spool:
``u32 length | u32 crc32 | u32 seq (little endian) | MessagePack of one UsageEvent``.
The CRC covers ``seq`` and payload. A record's number is its position; the ``seq``
inside it (the low 32 bits) only helps to find the place again after damage.

What passes between two sidecars is in ``edge_wire``.
"""

from collections.abc import Iterator
from functools import cache
from struct import Struct as Layout
from typing import Annotated, Final, TypeVar
from zlib import crc32

import msgspec
from msgspec import Meta, Struct

VERSION: Final = 2
VERSIONS_READ: Final = frozenset({1, VERSION})
"""What a sidecar takes. Events of version 1 have no properties, fractions or ids; a
sidecar that knows no other would drop them unseen, so it refuses version 2, and the
events wait."""
FRAME_BYTES_MAX: Final = 1 << 20  # a batch of 500 plain events is about 35 kB
RECORD_BYTES_MAX: Final = 16 << 10  # one event with every field at its limit
RECORDS_MAX: Final = 20_480
"""In one batch. The app's batches have at most 256 KiB, which is room for 20,164 records
of one byte; a frame that is full of them would be 80,000 refusals."""
BATCHES_IN_FLIGHT_MAX: Final = 8  # sent and not yet acked, per connection
SEQ_MAX: Final = 2**53

FRAME_HEADER: Final = Layout(">I")
RECORD_HEADER: Final = Layout("<III")

Seq = Annotated[int, Meta(ge=0, le=SEQ_MAX)]
ShortText = Annotated[str, Meta(max_length=256)]
T = TypeVar("T")
ProducerId = Annotated[str, Meta(pattern="^[0-9a-f]{32}$")]


class Hello(Struct, frozen=True, array_like=True, tag="hello"):
    """Opens a connection: which producer speaks, and what it knows of itself."""

    version: int
    """The wire's version. Read before anything else; see ``VERSION``."""
    producer: ProducerId
    """One worker process's life: 128 random bits."""
    app: ShortText
    host: ShortText
    pid: Seq
    started_ms: Seq
    recorded_seq: Seq = 0
    """The highest sequence number recorded so far."""
    spool: ShortText = "file"
    """Where events wait: ``file``, or ``memory: REASON`` when no file could be made."""
    ledger: Seq = 0
    """Of a dead producer: the number of the ledger that has begun to take its events.
    0: none has, or nobody has noted it; and for the living, who go wherever they are
    sent."""


class Welcome(Struct, frozen=True, array_like=True, tag="welcome"):
    """Answers ``Hello``: everything up to ``last_seq`` is on disk here."""

    last_seq: Seq
    version: int = VERSION
    frame_bytes_max: int = FRAME_BYTES_MAX
    batches_in_flight_max: int = BATCHES_IN_FLIGHT_MAX
    ledger: Seq = 0
    """The number of the ledger that takes the events. 0: this sidecar is too old to say."""


class Batch(Struct, frozen=True, array_like=True, tag="batch"):
    """Consecutive events from ``first_seq`` on. Empty: somebody waits for the acks."""

    first_seq: Seq
    recorded_seq: Seq
    """The highest sequence number recorded so far, sent or not."""
    records: bytes
    excluded: Seq = 0
    """How many requests this process has left out on purpose; they have no number. What
    does not know this reads over it."""


class Lost(Struct, frozen=True, array_like=True, tag="lost"):
    """These numbers were recorded and can never be sent."""

    first_seq: Seq
    last_seq: Seq
    """Inclusive: the last one lost."""
    reason: ShortText
    """In words: ``spool full``, ``spool damaged`` ..."""


class Bye(Struct, frozen=True, array_like=True, tag="bye"):
    """This producer recorded ``last_seq`` events and never will record another."""

    last_seq: Seq
    excluded: Seq = 0
    """As of a batch."""


class Ack(Struct, frozen=True, array_like=True, tag="ack"):
    """Everything up to ``seq`` is on disk."""

    seq: Seq


class Refusal(Struct, frozen=True, array_like=True, tag="refusal"):
    """Why the sidecar closes this connection.

    ``code`` is one of: ``frame_too_long``, ``malformed``, ``version``, ``gap``,
    ``uid``, ``unexpected``, ``duplicate_producer``, ``another_ledger``, ``not_ready``,
    ``stopping``. To an edge also: ``unauthorized``, ``duplicate_edge``,
    ``not_the_same``, ``retired``.
    """

    code: str
    message: str
    resume_seq: int | None = None
    """After a gap: the number to go on from."""


FromApp = Hello | Batch | Lost | Bye
FromSidecar = Welcome | Ack | Refusal

_encode = msgspec.msgpack.Encoder().encode


# Made when they are asked for: neither side needs that of the other, and the app its own
# only where it is connected.
@cache
def _from_app() -> msgspec.msgpack.Decoder[FromApp]:
    return msgspec.msgpack.Decoder(FromApp)


@cache
def _from_sidecar() -> msgspec.msgpack.Decoder[FromSidecar]:
    return msgspec.msgpack.Decoder(FromSidecar)


@cache
def _hello() -> msgspec.msgpack.Decoder[Hello]:
    return msgspec.msgpack.Decoder(Hello)


class WireError(ValueError):
    """Bytes that are not what this module describes: ``code`` as in ``Refusal``."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def ledger_text(ledger: int) -> str:
    """Return a ledger's number as people read it: 12 hexadecimal digits."""
    return f"{ledger:012x}"


def encode_frame(message: Struct) -> bytes:
    """Return the bytes of one frame, header included."""
    body = _encode(message)
    return FRAME_HEADER.pack(len(body)) + body


def body_length(header: bytes) -> int:
    """Return how many bytes follow a frame's 4-byte header.

    Raises:
        WireError: ``frame_too_long`` above ``FRAME_BYTES_MAX``, so that a broken
            peer cannot make anybody reserve 4 GiB.
    """
    (length,) = FRAME_HEADER.unpack(header)
    if length > FRAME_BYTES_MAX:
        raise WireError(
            "frame_too_long",
            f"a frame of {length} bytes is over the limit of {FRAME_BYTES_MAX}",
        )
    return int(length)


def decode_from_app(body: bytes) -> FromApp:
    """Return what the app side sent.

    Raises:
        WireError: ``malformed`` when it is none of the frames above.
    """
    return decoded(_from_app(), body)


def decode_from_sidecar(body: bytes) -> FromSidecar:
    """Return what the sidecar sent.

    Raises:
        WireError: ``malformed`` when it is none of the frames above.
    """
    return decoded(_from_sidecar(), body)


def decode_hello(body: bytes) -> Hello:
    """Return who a producer is, as its spool has it.

    Raises:
        WireError: ``malformed`` when it does not say so.
    """
    return decoded(_hello(), body)


def decoded(decoder: "msgspec.msgpack.Decoder[T]", body: bytes) -> T:
    """Return what a decoder finds in a frame's body.

    Raises:
        WireError: ``malformed`` when it is none of its frames.
    """
    try:
        return decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise WireError(
            "malformed", f"not a frame of this protocol: {error}"
        ) from error


def record_crc(seq: int, payload: bytes | memoryview) -> int:
    """Return the CRC32 of a record: over its number's low 32 bits and its payload."""
    return crc32(payload, seq & 0xFFFFFFFF)


def encode_record(seq: int, payload: bytes) -> bytes:
    """Return ``payload`` (one encoded event) as the record number ``seq``."""
    low = seq & 0xFFFFFFFF
    return RECORD_HEADER.pack(len(payload), crc32(payload, low), low) + payload


def split_records(records: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Yield ``(crc, seq, payload)`` for every record of a batch; CRCs are not checked.

    Raises:
        WireError: ``malformed`` when the bytes do not end where a record ends, or
            when there are more than ``RECORDS_MAX``.
    """
    unpack, header_bytes = RECORD_HEADER.unpack_from, RECORD_HEADER.size
    end = len(records)
    start = n_records = 0
    while start < end:
        n_records += 1
        if n_records > RECORDS_MAX:
            raise WireError("malformed", f"more than {RECORDS_MAX} records in a batch")
        if end - start < header_bytes:
            raise WireError("malformed", f"{end - start} bytes after the last record")
        length, crc, seq = unpack(records, start)
        start += header_bytes
        stop = start + length
        if not 0 < length <= RECORD_BYTES_MAX or stop > end:
            raise WireError(
                "malformed",
                f"a record of {length} bytes at byte {start} of {end}; "
                f"the limit is {RECORD_BYTES_MAX}",
            )
        yield crc, seq, records[start:stop]
        start = stop
