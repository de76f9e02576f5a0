"""A small HTTP/1.1 server over asyncio that can also misbehave on the wire.

A web framework would answer politely whatever happens. Here a handler may ask for
a connection that is reset, half a body, or no answer at all, as the network does.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from http import HTTPStatus
from typing import Final
from urllib.parse import parse_qsl, urlsplit

HEAD_BYTES_MAX: Final = 64 * 1024
BODY_BYTES_MAX: Final = 4 * 1024 * 1024


class Wire(Enum):
    """What happens to an answer on its way to the client."""

    WHOLE = "whole"
    RESET = "reset"
    """The connection is reset and nothing of the answer is sent."""
    HALF = "half"
    """Half of the body is sent, then the connection is closed."""
    BLOCK = "block"
    """Nothing is sent and the connection stays open."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request, its header names in lower case."""

    method: str
    path: str
    query: tuple[tuple[str, str], ...]
    headers: Mapping[str, str]
    body: bytes


@dataclass(slots=True)
class Response:
    """One answer and how it travels."""

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict[str, str])
    wire: Wire = Wire.WHOLE
    delay_s: float = 0.0


Handler = Callable[[Request], Awaitable[Response] | Response]


def _parse_head(head: bytes) -> Request:
    start, *lines = head.decode("latin-1").split("\r\n")
    method, target, _ = start.split(" ")
    headers: dict[str, str] = {}
    for line in lines:
        if line:
            name, value = line.split(":", 1)
            headers[name.strip().lower()] = value.strip()
    url = urlsplit(target)
    query = tuple(parse_qsl(url.query, keep_blank_values=True))
    return Request(method, url.path, query, headers, b"")


def encode(response: Response) -> bytes:
    """Return the bytes of ``response``, whole."""
    head = [f"HTTP/1.1 {response.status} {HTTPStatus(response.status).phrase}"]
    head += [f"{name}: {value}" for name, value in response.headers.items()]
    head += [f"Content-Length: {len(response.body)}", "", ""]
    return "\r\n".join(head).encode("latin-1") + response.body


class HttpServer:
    """Serves ``handler`` on a port of 127.0.0.1, keep-alive, until closed."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, port: int = 0) -> int:
        """Listen and return the port; 0 lets the system choose one."""
        self._server = await asyncio.start_server(
            self._serve, "127.0.0.1", port, limit=HEAD_BYTES_MAX
        )
        return int(self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Stop listening and drop every connection."""
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            while await self._exchange(reader, writer):
                pass
        except (
            asyncio.CancelledError,
            asyncio.IncompleteReadError,
            ConnectionError,
        ):
            pass
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _exchange(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        """Answer one request; return whether the connection lives on."""
        head = await reader.readuntil(b"\r\n\r\n")
        request = _parse_head(head[:-4])
        size = int(request.headers.get("content-length", "0"))
        if size > BODY_BYTES_MAX:
            return False
        body = await reader.readexactly(size)
        request = Request(
            request.method, request.path, request.query, request.headers, body
        )
        answer = self._handler(request)
        response = answer if isinstance(answer, Response) else await answer
        if response.delay_s:
            await asyncio.sleep(response.delay_s)
        match response.wire:
            case Wire.RESET:
                writer.transport.abort()
                return False
            case Wire.BLOCK:
                await reader.read()
                return False
            case Wire.HALF:
                raw = encode(response)
                writer.write(raw[: len(raw) - (len(response.body) + 1) // 2])
                await writer.drain()
                return False
            case Wire.WHOLE:
                writer.write(encode(response))
                await writer.drain()
                return True
