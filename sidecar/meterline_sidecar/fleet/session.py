"""What one connected edge sends to its centre, and what it is answered, in that order."""

import asyncio
from functools import partial
from typing import Final

from meterline import edge_wire, wire
from meterline.edge_wire import (
    Ahead,
    EdgeFile,
    EdgeHello,
    Epochs,
    EventsTold,
    FromCentre,
    Heartbeat,
    Meters,
    Resume,
    Workers,
)
from meterline.wire import Ack, Batch, Bye, Hello, Lost, Welcome, WireError
from meterline_sidecar.fleet.asking import Asking
from meterline_sidecar.fleet.countings import Countings
from meterline_sidecar.fleet.edge import Edge
from meterline_sidecar.fleet.edges import SILENT_S, Edges
from meterline_sidecar.fleet.noted import NotedFiles
from meterline_sidecar.fleet.taking_over import covers_in, note_covers
from meterline_sidecar.ingest.accept import Ingest
from meterline_sidecar.ingest.commit import Producer
from meterline_sidecar.ingest.decode import EDGES_FLAGS

WRITE_TIMEOUT_S: Final = 30.0

Answer = FromCentre | asyncio.Future[int] | Exception
"""What to send; a number to ack once it is committed; or why the connection ends."""


class Session:
    """What one connected edge sends."""

    def __init__(
        self,
        ingest: Ingest,
        edges: Edges,
        countings: Countings,
        noted: NotedFiles,
        edge: Edge,
        life: str,
        reader: asyncio.StreamReader,
    ) -> None:
        self._life = life
        self._ingest = ingest
        self._edges = edges
        self._countings = countings
        self._noted = noted
        self._edge = edge
        self._reader = reader
        self._producers: dict[str, Producer] = {}
        self._speaking: Producer | None = None
        self.follows: Meters | None = None
        """By which meters the edge counts; ``None`` where it sends each event."""
        self.answers: asyncio.Queue[Answer] = asyncio.Queue(
            edge_wire.EDGE_FRAMES_IN_FLIGHT_MAX
        )
        self._asking = Asking(self.answers.put)

    async def read(self) -> None:
        """Read frames up to the error that ends the connection.

        The error takes its place among the answers: what was accepted before it is
        committed and acked all the same.
        """
        try:
            while True:
                await self._ingest.room()
                async with asyncio.timeout(SILENT_S):
                    message = await read_frame(self._reader)
                self._edge.frames += 1
                # Once more: all the others may have read a frame meanwhile.
                await self._ingest.room()
                await self.answers.put(await self._take(message))
        except Exception as error:  # noqa: BLE001 - raised again by `answer`, in its turn
            await self.answers.put(error)

    async def _take(self, message: edge_wire.FromEdge) -> Answer:
        match message:
            case Hello():
                return await self._hello(message)
            case Batch() | Lost() | Bye():
                if self._speaking is None:
                    raise WireError("unexpected", "no producer has said hello")
                return await self._accept(self._speaking, message)
            case Ahead():
                await self._edges.ahead(self._edge, message, life=self._life)
                return Ack(message.batch)
            case Heartbeat():
                await self._edges.beat(self._edge, message)
                # From now on it understands whatever comes unasked.
                self._edge.asking = self._asking
                return Ack(message.batch)
            case EdgeFile():
                await self._noted.note(self._edge, message)
                return Ack(message.last_batch_id)
            case EventsTold():
                self._asking.told(message)
                return Ack(message.number)
            case Epochs():
                return await self._countings.covered(self._edge, message)
            case Workers():
                for worker in message.producers:
                    begins = (message.begins or {}).get(worker, 1)
                    await self._edges.claim(self._edge, worker, begins=begins)
                return await self._countings.covered_elsewhere(self._edge, message)
            case EdgeHello() | Resume():
                raise WireError("unexpected", "only one hello to a connection")

    async def _accept(
        self, producer: Producer, message: Batch | Lost | Bye
    ) -> asyncio.Future[int]:
        note = None
        if self.follows is not None and isinstance(message, Batch):
            covers = covers_in(
                message, edge_id=self._edge.row.id, after_seq=producer.row.last_seq
            )
            for cover in covers:
                await self._edges.claim(self._edge, cover.producer)
            if covers:
                note = partial(note_covers, covers)
        next_seq = producer.next_seq
        done = self._ingest.accept(producer, message, when_stored=note)
        if isinstance(message, Batch):
            self._edge.events += producer.next_seq - next_seq
        return done

    async def _hello(self, hello: Hello) -> Answer:
        """Let a producer speak; the first time, note who it is."""
        producer = self._producers.get(hello.producer)
        if producer is None:
            await self._edges.claim(self._edge, hello.producer)
            if self.follows is None:
                await self._countings.check_counts_nowhere(hello.producer)
            producer = await self._ingest.hello(hello, flags_kept=EDGES_FLAGS)
            self._producers[hello.producer] = producer
        self._speaking = producer
        return Welcome(producer.row.last_seq)

    async def tell_meters(self) -> None:
        """Say by which meters the edge counts from now on, if they are others."""
        if self.follows is None:
            return
        meters = await self._countings.meters()
        if meters != self.follows:
            self.follows = meters
            await self.answers.put(meters)

    def forget(self) -> None:
        """Let others speak for its producers; nothing is asked of it any more."""
        if self._edge.asking is self._asking:
            self._edge.asking = None
        self._asking.end()
        for producer in self._producers.values():
            self._ingest.forget(producer)


async def answer(
    answers: "asyncio.Queue[Answer]", writer: asyncio.StreamWriter
) -> None:
    """Send answers in order.

    Raises:
        Exception: what ended the reading, or why a commit was not possible.
    """
    while True:
        answer = await answers.get()
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, asyncio.Future):
            # Only now, after COMMIT: the edge's cursor moves with it.
            answer = Ack(await asyncio.shield(answer))
        await send(writer, answer)


async def read_frame(
    reader: asyncio.StreamReader, *, bytes_max: int = wire.FRAME_BYTES_MAX
) -> edge_wire.FromEdge:
    """Return the next frame of an edge.

    Raises:
        WireError: it is too long, or none.
        OSError, IncompleteReadError: the connection is cut.
    """
    header = await reader.readexactly(wire.FRAME_HEADER.size)
    length = wire.body_length(header)
    if length > bytes_max:
        raise WireError(
            "frame_too_long", f"a first frame has at most {bytes_max} bytes"
        )
    return edge_wire.decode_from_edge(await reader.readexactly(length))


async def send(writer: asyncio.StreamWriter, message: FromCentre) -> None:
    """Send a frame.

    Raises:
        OSError, TimeoutError: the connection is cut.
    """
    writer.write(wire.encode_frame(message))
    async with asyncio.timeout(WRITE_TIMEOUT_S):
        await writer.drain()
