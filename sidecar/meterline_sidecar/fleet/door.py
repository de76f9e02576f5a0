"""The centre's end: lets edges in over TLS, and hands on what they send.

It speaks the frames of ``meterline.wire``. What an edge sends goes the way of what local
workers send, through ``ingest``: a producer's next number and no other, acked after
COMMIT. Answers go out in the order of what they answer.
"""

import asyncio
import contextlib
import logging
import ssl
from collections import Counter
from collections.abc import Callable
from typing import Final, Self

from meterline import wire
from meterline.wire import (
    Ack,
    Ahead,
    Batch,
    Bye,
    EdgeHello,
    EdgeWelcome,
    FromCentre,
    Heartbeat,
    Hello,
    Lost,
    Refusal,
    Resume,
    Welcome,
    WireError,
)
from meterline_sidecar.access.tokens import TokenFile
from meterline_sidecar.clock import Clock
from meterline_sidecar.config.centre import Address
from meterline_sidecar.errors import (
    AlreadyRunning,
    ConfigError,
    DatabaseCorrupt,
    DiskFailed,
    MeterlineError,
    RetryLater,
    SequenceGap,
)
from meterline_sidecar.fleet.edge import Edge
from meterline_sidecar.fleet.edges import SILENT_S, Edges
from meterline_sidecar.fleet.tls import name_in
from meterline_sidecar.ingest.accept import Ingest
from meterline_sidecar.ingest.commit import Producer
from meterline_sidecar.ingest.decode import EDGES_FLAGS

CONNECTIONS_MAX: Final = 320  # 256 edges, and some that say nothing
HELLO_TIMEOUT_S: Final = 10.0
HELLO_BYTES_MAX: Final = 4 << 10  # of a stranger no more is read
WRITE_TIMEOUT_S: Final = 30.0
CHECK_EVERY_S: Final = 2.0
"""How soon a revoked token, or a retired edge, is cut off."""
BUFFER_BYTES: Final = 256 << 10

Answer = FromCentre | asyncio.Future[int] | Exception
"""What to send; a number to ack once it is committed; or why the connection ends."""

log = logging.getLogger(__name__)


def credentials_of(tokens: TokenFile) -> Callable[[str], bool]:
    """Return what says whether a credential still lets an edge in."""

    def is_valid(credential: str) -> bool:
        kind, _, name = credential.partition(" ")
        if kind != "token":
            return True  # a certificate: TLS has checked it; retire its edge
        return any(t.id == name and t.scope == "edge" for t in tokens.current())

    return is_valid


class Door:
    """Listens for edges.

    Args:
        needs_certificate: whether TLS asks for one, which then says who an edge is.
        on_fatal: called with an error after which the process must end.
    """

    def __init__(
        self,
        ingest: Ingest,
        edges: Edges,
        address: Address,
        *,
        tls: ssl.SSLContext,
        needs_certificate: bool,
        tokens: TokenFile,
        clock: Clock,
        on_fatal: Callable[[BaseException], None],
    ) -> None:
        self._ingest = ingest
        self._edges = edges
        self._address = address
        self._tls = tls
        self._needs_certificate = needs_certificate
        self._tokens = tokens
        self._clock = clock
        self._on_fatal = on_fatal
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.refusals: Counter[str] = Counter()
        """Connections that were refused since start, by ``Refusal.code``."""

    async def __aenter__(self) -> Self:
        """Listen.

        Raises:
            AlreadyRunning: somebody listens there already, or nobody can.
        """
        host, port = self._address.host, self._address.port
        try:
            self._server = await asyncio.start_server(
                self._serve,
                host,
                port,
                ssl=self._tls,
                ssl_handshake_timeout=HELLO_TIMEOUT_S,
                limit=BUFFER_BYTES,
            )
        except OSError as error:
            raise AlreadyRunning(
                f"cannot listen on {self._address}: {error.strerror}; set centre.listen"
                " to another address"
            ) from error
        log.info("edges: tls://%s", self._address)
        return self

    async def __aexit__(self, *error: object) -> None:
        """Stop listening, and say so to every edge."""
        assert self._server is not None
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(list(self._tasks))

    @property
    def port(self) -> int:
        """Where it listens."""
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    # --- one connection

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._converse(reader, writer)
        except WireError as error:
            await self._refuse(writer, Refusal(error.code, str(error)))
        except SequenceGap as error:
            refusal = Refusal("gap", str(error), resume_seq=error.resume_seq)
            await self._refuse(writer, refusal)
        except (RetryLater, ConfigError) as error:
            await self._refuse(writer, Refusal("not_ready", str(error)))
        except (DiskFailed, DatabaseCorrupt) as error:
            self._on_fatal(error)
            await self._refuse(writer, Refusal("stopping", "the disk failed"))
        except (asyncio.CancelledError, MeterlineError):
            await self._refuse(writer, Refusal("stopping", "the centre is stopping"))
        except (OSError, asyncio.IncompleteReadError, TimeoutError) as error:
            # The edge died, or the wire was cut: it will come back and resume.
            log.debug("an edge's connection is lost: %s", error)
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _converse(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        if len(self._tasks) > CONNECTIONS_MAX:
            raise RetryLater(f"{CONNECTIONS_MAX} connections are open", after_s=5)
        async with asyncio.timeout(HELLO_TIMEOUT_S):
            hello = await _read_frame(reader, bytes_max=HELLO_BYTES_MAX)
        if not isinstance(hello, EdgeHello):
            raise WireError("unexpected", "the first frame must be an edge's hello")
        if hello.version != wire.EDGE_VERSION:
            raise WireError(
                "version",
                f"version {hello.version} of an edge's wire is not spoken here, only"
                f" {wire.EDGE_VERSION}; install the same Meterline on both sides, at the"
                " centre first",
            )
        credential = self._credential(hello, writer)
        edge = await self._edges.enter(hello, credential)
        try:
            welcome = EdgeWelcome(edge.row.batch, edge.row.ahead, self._clock.now_ms())
            await _send(writer, welcome)
            async with asyncio.timeout(HELLO_TIMEOUT_S):
                resume = await _read_frame(reader, bytes_max=HELLO_BYTES_MAX)
            if not isinstance(resume, Resume):
                raise WireError("unexpected", "a resume must follow the hello")
            await self._edges.resume(edge, resume)
            await _send(writer, Ack(edge.row.batch))
            log.info("edge %s is connected", edge.row.name)
            session = _Session(self._ingest, self._edges, edge, hello.life, reader)
            check = (edge, hello.life, credential)
            await self._exchange(session, writer, check)
        finally:
            await self._edges.leave(edge, hello.life)

    def _credential(self, hello: EdgeHello, writer: asyncio.StreamWriter) -> str:
        """Return what an edge comes with: a token, or the name in its certificate."""
        if self._needs_certificate and not hello.token:
            name = name_in(writer.get_extra_info("peercert"))
            if name is None:
                raise WireError("unauthorized", "the certificate has no common name")
            return f"certificate {name}"
        token = self._tokens.find(hello.token)
        if token is None:
            raise WireError("unauthorized", "this token is unknown or was revoked")
        if not token.allows("edge"):
            raise WireError(
                "unauthorized",
                f"this token has the scope {token.scope}, an edge needs one of the scope"
                " edge",
            )
        return f"token {token.id}"

    async def _exchange(
        self,
        session: "_Session",
        writer: asyncio.StreamWriter,
        check: tuple[Edge, str, str],
    ) -> None:
        """Read frames while those before them are answered, until either ends."""
        tasks = [
            asyncio.ensure_future(session.read()),
            asyncio.ensure_future(self._watch(session, check)),
        ]
        try:
            await _answer(session.answers, writer)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            session.forget()

    async def _watch(self, session: "_Session", check: tuple[Edge, str, str]) -> None:
        """End the connection once the edge may not be here any more."""
        while True:
            await asyncio.sleep(CHECK_EVERY_S)
            try:
                self._edges.check(*check)
            except (WireError, ConfigError) as error:
                # In front of what waits for its commit: it is sent again if need be.
                session.end(error)
                return

    async def _refuse(self, writer: asyncio.StreamWriter, refusal: Refusal) -> None:
        self.refusals[refusal.code] += 1
        if refusal.code not in ("stopping", "not_ready"):
            log.warning("refused an edge: %s: %s", refusal.code, refusal.message)
        with contextlib.suppress(OSError, TimeoutError, asyncio.CancelledError):
            await _send(writer, refusal)


class _Session:
    """What one connected edge sends."""

    def __init__(
        self,
        ingest: Ingest,
        edges: Edges,
        edge: Edge,
        life: str,
        reader: asyncio.StreamReader,
    ) -> None:
        self._life = life
        self._ingest = ingest
        self._edges = edges
        self._edge = edge
        self._reader = reader
        self._producers: dict[str, Producer] = {}
        self._speaking: Producer | None = None
        self.answers: asyncio.Queue[Answer] = asyncio.Queue(
            wire.EDGE_FRAMES_IN_FLIGHT_MAX
        )

    async def read(self) -> None:
        """Read frames up to the error that ends the connection.

        The error takes its place among the answers: what was accepted before it is
        committed and acked all the same.
        """
        try:
            while True:
                await self._ingest.room()
                async with asyncio.timeout(SILENT_S):
                    message = await _read_frame(self._reader)
                self._edge.frames += 1
                # Once more: all the others may have read a frame meanwhile.
                await self._ingest.room()
                await self.answers.put(await self._take(message))
        except Exception as error:  # noqa: BLE001 - raised again by _answer, in its turn
            await self.answers.put(error)

    async def _take(self, message: wire.FromEdge) -> Answer:
        match message:
            case Hello():
                return await self._hello(message)
            case Batch() | Lost() | Bye():
                if self._speaking is None:
                    raise WireError("unexpected", "no producer has said hello")
                return self._accept(self._speaking, message)
            case Ahead():
                await self._edges.ahead(self._edge, message, life=self._life)
                return Ack(message.batch)
            case Heartbeat():
                await self._edges.beat(self._edge, message)
                return Ack(message.batch)
            case EdgeHello() | Resume():
                raise WireError("unexpected", "only one hello to a connection")

    def _accept(
        self, producer: Producer, message: Batch | Lost | Bye
    ) -> asyncio.Future[int]:
        next_seq = producer.next_seq
        done = self._ingest.accept(producer, message)
        if isinstance(message, Batch):
            self._edge.events += producer.next_seq - next_seq
        return done

    async def _hello(self, hello: Hello) -> Answer:
        """Let a producer speak; the first time, note who it is."""
        producer = self._producers.get(hello.producer)
        if producer is None:
            await self._edges.claim(self._edge, hello.producer)
            producer = await self._ingest.hello(hello, flags_kept=EDGES_FLAGS)
            self._producers[hello.producer] = producer
        self._speaking = producer
        return Welcome(producer.row.last_seq)

    def end(self, error: Exception) -> None:
        """Let the connection end now, whatever waits."""
        while not self.answers.empty():
            self.answers.get_nowait()
        self.answers.put_nowait(error)

    def forget(self) -> None:
        """Let others speak for its producers."""
        for producer in self._producers.values():
            self._ingest.forget(producer)


async def _answer(
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
        await _send(writer, answer)


async def _read_frame(
    reader: asyncio.StreamReader, *, bytes_max: int = wire.FRAME_BYTES_MAX
) -> wire.FromEdge:
    header = await reader.readexactly(wire.FRAME_HEADER.size)
    length = wire.body_length(header)
    if length > bytes_max:
        raise WireError(
            "frame_too_long", f"a first frame has at most {bytes_max} bytes"
        )
    return wire.decode_from_edge(await reader.readexactly(length))


async def _send(writer: asyncio.StreamWriter, message: FromCentre) -> None:
    writer.write(wire.encode_frame(message))
    async with asyncio.timeout(WRITE_TIMEOUT_S):
        await writer.drain()
