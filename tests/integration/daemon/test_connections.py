"""HTTP connections of clients that are slow, many, or both."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager

import pytest
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from meterline_sidecar.daemon import connection
from meterline_sidecar.daemon.listen import HttpServer, bind
from meterline_sidecar.web.clients import Clients
from tests.patience import PATIENCE_S

GET = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"
HALF = b"GET / HTTP/1.1\r\nHost: localhost\r\nX: "
BODY = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nx"


class Server:
    """A server whose app answers at once, or with more than anybody reads."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._clients: list[Client] = []
        self.begun = asyncio.Event()
        """A first request has reached the app."""
        self.http: HttpServer

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.begun.set()
        if scope["method"] == "POST":
            await receive()
        body = b"x" * (64 << 20) if scope["path"] == "/large" else b"ok"
        await PlainTextResponse(body)(scope, receive, send)

    async def connect(self, first: bytes) -> "Client":
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        writer.write(first)
        await writer.drain()
        client = Client(reader, writer)
        self._clients.append(client)
        return client

    async def hang_up(self) -> None:
        for client in self._clients:
            client.writer.close()
            with contextlib.suppress(ConnectionError):
                await client.writer.wait_closed()

    async def get(self) -> bytes:
        client = await self.connect(GET)
        async with asyncio.timeout(PATIENCE_S):
            line = await client.reader.readline()
        client.writer.close()
        return line.strip()


class Client:
    """One connection to it."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.reader = reader
        self.writer = writer

    async def is_cut_off(self) -> bool:
        """Tell whether the end has come, however it came; it may be on its way."""
        with contextlib.suppress(ConnectionError):
            try:
                async with asyncio.timeout(PATIENCE_S):
                    await self.reader.read(100)
            except TimeoutError:
                return False
        return True


@asynccontextmanager
async def serving(*, trusted: tuple[str, ...] = ()) -> AsyncGenerator[Server]:
    listener = bind("127.0.0.1:0")
    server = Server(listener.getsockname()[1])
    http = HttpServer(server.app, clients=Clients(trusted), stop_timeout_s=1)
    server.http = http
    running = asyncio.create_task(http.serve([listener]))
    try:
        yield server
    finally:
        await server.hang_up()
        http.stop()
        await running
        listener.close()


@pytest.fixture
def hasty() -> Iterator[None]:
    """Let time run out soon."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(connection, "REQUEST_TIMEOUT_S", 0.2)
        patch.setattr(connection, "ANSWER_TIMEOUT_S", 0.2)
        yield


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize(
    "begun", [b"", HALF, BODY, GET + HALF], ids=["nothing", "half", "body", "second"]
)
async def test_a_request_that_never_ends_is_cut_off(begun: bytes) -> None:
    async with serving() as server:
        client = await server.connect(begun)

        if begun.startswith(GET):
            async with asyncio.timeout(PATIENCE_S):
                await client.reader.readuntil(b"ok")

        assert await _is_cut_off_while_it_dribbles(client)


async def _is_cut_off_while_it_dribbles(client: Client) -> bool:
    with contextlib.suppress(ConnectionError):
        for _ in range(40):  # ten times as long as it may take
            client.writer.write(b"x")
            await client.writer.drain()
            await asyncio.sleep(0.05)
        return False
    return True


@pytest.mark.usefixtures("hasty")
async def test_an_answer_that_nobody_reads_is_given_up() -> None:
    async with serving() as server:
        client = await server.connect(GET.replace(b"/livez", b"/large"))
        async with asyncio.timeout(PATIENCE_S):
            await server.begun.wait()
            while server.http.server_state.connections:
                await asyncio.sleep(0.01)

        read = 0
        with contextlib.suppress(ConnectionError):
            while chunk := await client.reader.read(1 << 20):
                read += len(chunk)

        assert read < 64 << 20


async def test_an_answer_does_not_wait_for_the_ack_of_its_head() -> None:
    async with serving() as server:
        client = await server.connect(GET)
        await client.reader.readuntil(b"ok")
        (protocol,) = server.http.server_state.connections

        peer = protocol.transport.get_extra_info("socket")

        # Else Nagle's algorithm and a delayed ack take 40 ms, each time.
        assert peer.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


async def test_whoever_asks_gets_in_past_those_who_only_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connection, "ADDRESS_CONNECTIONS_MAX", 5)
    monkeypatch.setattr(connection, "REQUEST_TIMEOUT_S", 3600)  # not for their slowness
    async with serving() as server:
        slow = [await server.connect(HALF) for _ in range(20)]

        answers = [await server.get() for _ in range(3)]

        assert answers == [b"HTTP/1.1 200 OK"] * 3
        assert await slow[0].is_cut_off()


async def test_a_proxy_may_have_as_many_connections_as_all_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connection, "ADDRESS_CONNECTIONS_MAX", 2)
    monkeypatch.setattr(connection, "CONNECTIONS_MAX", 8)
    async with serving(trusted=("127.0.0.1",)) as server:
        waiting = [await server.connect(HALF) for _ in range(7)]
        assert await server.get() == b"HTTP/1.1 200 OK"
        for client in waiting:
            client.writer.write(b"y\r\n\r\n")
        kept = [(await client.reader.readline()).strip() for client in waiting]

    assert kept == [b"HTTP/1.1 200 OK"] * 7
