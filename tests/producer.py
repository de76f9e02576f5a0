"""A producer for tests: speaks the wire frame by frame, as badly as a test wants."""

import asyncio
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import msgspec

from meterline import wire
from meterline.events import Kind
from meterline.usage_event import Part, UsageEvent
from meterline.wire import Ack, Batch, FromApp, FromSidecar, Hello, Welcome

PRODUCER = "0" * 31 + "1"
NOON_MS = 1_793_966_400_000  # 2026-11-06T12:00:00Z


WITH_PROPERTIES: Final[dict[str, Any]] = {
    "quantities": {"tokens": 600},
    "properties": {"tenant": "eu-1"},
    "parts": [Part("tokens", 512, {"region": "eu", "model": "large"})],
}
"""What an event has of which 512 tokens have properties of their own."""


def event(**changes: Any) -> UsageEvent:
    """Return a plain event: one GET by ``acct_1``, a little after noon."""
    fields: dict[str, Any] = {
        "time_ms": NOON_MS,
        "kind": Kind.REQUEST,
        "subject": "acct_1",
        "method": "GET",
        "route": "/v1/items/{id}",
        "status": 200,
        "duration_us": 1_500,
        "bytes_in": 0,
        "bytes_out": 120,
    }
    return UsageEvent(**(fields | changes))


def records(*payloads: object, first_seq: int = 1) -> bytes:
    """Return the records of a batch; bytes are taken as they are."""
    return b"".join(
        wire.encode_record(
            first_seq + i,
            payload if isinstance(payload, bytes) else msgspec.msgpack.encode(payload),
        )
        for i, payload in enumerate(payloads)
    )


def batch(*payloads: object, first_seq: int = 1) -> Batch:
    """Return a batch of these events, which are all that was recorded."""
    last_seq = first_seq + len(payloads) - 1
    return Batch(first_seq, last_seq, records(*payloads, first_seq=first_seq))


class Connection:
    """One connection to a sidecar's socket."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def __aenter__(self) -> Self:
        """Connect."""
        self._reader, self.writer = await asyncio.open_unix_connection(self._path)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Hang up."""
        self.writer.close()

    async def send(self, message: FromApp) -> None:
        """Send one frame."""
        await self.send_bytes(wire.encode_frame(message))

    async def send_bytes(self, raw: bytes) -> None:
        """Send anything."""
        self.writer.write(raw)
        await self.writer.drain()

    async def receive(self) -> FromSidecar | None:
        """Return the next frame, or ``None`` when the sidecar hung up."""
        try:
            header = await self._reader.readexactly(wire.FRAME_HEADER.size)
            body = await self._reader.readexactly(wire.body_length(header))
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        return wire.decode_from_sidecar(body)

    async def hello(self, producer: str = PRODUCER, **changes: Any) -> int:
        """Say hello and return the number that the sidecar has on disk."""
        fields: dict[str, Any] = {
            "version": wire.VERSION,
            "producer": producer,
            "app": "tests",
            "host": "localhost",
            "pid": 1,
            "started_ms": NOON_MS,
        }
        await self.send(Hello(**(fields | changes)))
        welcome = await self.receive()
        assert isinstance(welcome, Welcome), welcome
        return welcome.last_seq

    async def ship(self, message: FromApp) -> int:
        """Send a message and return the number that was acked.

        A batch of nothing behind it says, as an app does, that somebody waits for it.
        """
        await self.send(message)
        if isinstance(message, Batch):
            await self.send(Batch(message.first_seq, message.recorded_seq, b""))
        ack = await self.receive()
        assert isinstance(ack, Ack), ack
        if isinstance(message, Batch):
            again = await self.receive()
            assert isinstance(again, Ack), again
        return ack.seq
