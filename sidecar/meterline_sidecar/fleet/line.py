"""One connection to the centre: frames out, and what is due for each."""

import asyncio
import os
import re
import socket
import ssl
from collections import deque
from collections.abc import Sequence
from typing import Final

from meterline import edge_wire, wire
from meterline.edge_wire import Covered, FromCentre, FromEdge, Workers
from meterline.wire import Batch, Refusal
from meterline_sidecar.config.centre import Address
from meterline_sidecar.errors import MeterlineError
from meterline_sidecar.fleet.backlog import Slice

ANSWER_TIMEOUT_S: Final = 30.0  # a heartbeat is answered every 2 s
WRITE_TIMEOUT_S: Final = 30.0
HURRY: Final = Batch(1, 0, b"")
"""A batch of nothing, at a number that is there already: somebody waits for the acks."""


CONNECT_TIMEOUT_S: Final = 10.0
"""For all addresses of a name together."""
CALL: Final = re.compile(r"\[Errno (\d+)\] Connect call failed \('([^']*)'")
"""How asyncio tells of an address that nobody answers at."""


class Refused(MeterlineError):
    """The centre refuses this edge; the text says why."""


def in_words(error: Exception) -> str:
    """Say why a connection failed."""
    text = str(error)
    if call := CALL.search(text):
        code, ip = call.groups()
        return f"{os.strerror(int(code)).lower()} at {ip}"
    if isinstance(error, asyncio.IncompleteReadError):
        return "the connection was closed"  # The text counts bytes.
    if isinstance(error, TimeoutError) and not text:
        return "no answer in time"
    # Empty is that of a connection that was closed in the middle.
    return text or "the connection was cut"


async def addresses(address: Address) -> list[str]:
    """Return what a name stands for, in the order of the system.

    Raises:
        OSError: it is not known.
    """
    found = await asyncio.get_running_loop().getaddrinfo(
        address.host, address.port, type=socket.SOCK_STREAM
    )
    return list(dict.fromkeys(str(at[0]) for *_, at in found))


async def reach(
    address: Address, *, tls: ssl.SSLContext, limit: int
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect to a centre, at the first of its addresses that answers.

    Each gets its part of the time: of several centres with one name, one that is gone may
    not say so.

    Raises:
        OSError: nobody answers as the centre; the text is the same in whichever order
            addresses were tried.
    """
    async with asyncio.timeout(CONNECT_TIMEOUT_S):
        found = await addresses(address)
    failed: set[str] = set()
    for ip in found:
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S / len(found)):
                return await asyncio.open_connection(
                    ip, address.port, ssl=tls, server_hostname=address.host, limit=limit
                )
        except TimeoutError:
            failed.add(f"no answer at {ip}")
        except OSError as error:
            failed.add(in_words(error))
    raise OSError(", ".join(sorted(failed)))


class Line:
    """Sends frames and keeps what each answer moves, in their order."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._due: deque[Slice | None] = deque()
        self._moved = asyncio.Event()
        self._told: deque[asyncio.Future[Covered]] = deque()
        self.in_flight_max = edge_wire.EDGE_FRAMES_IN_FLIGHT_MAX

    async def send(self, message: FromEdge) -> None:
        """Send a frame of the greeting.

        Raises:
            OSError, TimeoutError: the connection is cut.
        """
        self._writer.write(wire.encode_frame(message))
        async with asyncio.timeout(WRITE_TIMEOUT_S):
            await self._writer.drain()

    async def send_all(
        self, frames: Sequence[FromEdge], part: Slice | None = None
    ) -> None:
        """Send frames as the window allows.

        Args:
            frames: each of which is answered.
            part: what they are of: all of it is acked with the last answer.
        """
        last = len(frames) - 1
        for i, frame in enumerate(frames):
            await self._until(self.in_flight_max - 1)
            self._due.append(part if i == last else None)
            await self.send(frame)

    async def ask(self, workers: Workers) -> Covered:
        """Return what the centre has of workers whose events are to be rolled up."""
        told: asyncio.Future[Covered] = asyncio.get_running_loop().create_future()
        self._told.append(told)
        await self.send_all([workers])
        return await told

    def told(self, covered: Covered) -> None:
        """Take in the answer to what was asked first.

        Raises:
            WireError: nothing was.
        """
        if not self._told:
            raise wire.WireError("unexpected", "an answer to nothing")
        told = self._told.popleft()
        if not told.done():
            told.set_result(covered)

    async def until_answered(self) -> None:
        """Wait until nothing is due."""
        await self._until(0)

    async def _until(self, n_due: int) -> None:
        while len(self._due) > n_due:
            self._moved.clear()
            await self._moved.wait()

    async def receive(self) -> FromCentre:
        """Return the next frame.

        Raises:
            Refused: the centre ends the connection, and says why.
            OSError, TimeoutError, IncompleteReadError: it is cut.
            WireError: it speaks something else.
        """
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            header = await self._reader.readexactly(wire.FRAME_HEADER.size)
            body = await self._reader.readexactly(wire.body_length(header))
        message = edge_wire.decode_from_centre(body)
        if isinstance(message, Refusal):
            raise Refused(message.message)
        return message

    def answered(self) -> Slice | None:
        """Take an answer off what is due; return what is acked with it.

        Raises:
            WireError: nothing was due.
        """
        if not self._due:
            raise wire.WireError("unexpected", "an answer to nothing")
        part = self._due.popleft()
        self._moved.set()
        return part
