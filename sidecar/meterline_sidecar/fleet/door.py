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

from meterline import edge_wire
from meterline.edge_wire import EdgeHello, EdgeWelcome, Resume
from meterline.wire import Ack, Refusal, WireError
from meterline_sidecar.access.tokens import TokenFile
from meterline_sidecar.clock import Clock
from meterline_sidecar.config.centre import Address
from meterline_sidecar.errors import (
    AlreadyRunning,
    ConfigError,
    DatabaseCorrupt,
    DiskFailed,
    LedgerWentBack,
    MeterlineError,
    RetryLater,
    SequenceGap,
)
from meterline_sidecar.fleet.countings import Countings
from meterline_sidecar.fleet.edge import Edge
from meterline_sidecar.fleet.edges import Edges
from meterline_sidecar.fleet.noted import NotedFiles
from meterline_sidecar.fleet.session import Session, answer, read_frame, send
from meterline_sidecar.fleet.tls import name_in
from meterline_sidecar.ingest.accept import Ingest

CONNECTIONS_MAX: Final = 320  # 256 edges, and some that say nothing
HELLO_TIMEOUT_S: Final = 10.0
HELLO_BYTES_MAX: Final = 4 << 10  # of a stranger no more is read
CHECK_EVERY_S: Final = 2.0
"""How soon a revoked token, or a retired edge, is cut off."""
BUFFER_BYTES: Final = 256 << 10

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
        countings: Countings,
        noted: NotedFiles,
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
        self.countings = countings
        self._noted = noted
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
        except (DiskFailed, DatabaseCorrupt, LedgerWentBack) as error:
            self._on_fatal(error)
            await self._refuse(writer, Refusal("stopping", "the ledger failed"))
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
            hello = await read_frame(reader, bytes_max=HELLO_BYTES_MAX)
        if not isinstance(hello, EdgeHello):
            raise WireError("unexpected", "the first frame must be an edge's hello")
        if hello.version != edge_wire.EDGE_VERSION:
            raise WireError(
                "version",
                f"version {hello.version} of an edge's wire is not spoken here, only"
                f" {edge_wire.EDGE_VERSION}; install the same Meterline on both sides, at the"
                " centre first",
            )
        credential = self._credential(hello, writer)
        edge = await self._entered(hello, credential)
        sent_from = edge.row.batch
        try:
            welcome = EdgeWelcome(
                *(sent_from, edge.row.ahead, self._clock.now_ms()),
                file=await self._noted.last_of(edge),
            )
            await send(writer, welcome)
            async with asyncio.timeout(HELLO_TIMEOUT_S):
                resume = await read_frame(reader, bytes_max=HELLO_BYTES_MAX)
            if not isinstance(resume, Resume):
                raise WireError("unexpected", "a resume must follow the hello")
            await self._edges.resume(edge, resume)
            if resume.last_batch <= sent_from:
                self._ingest.storing.succeeded()  # else what comes now tells more
            await send(writer, Ack(sent_from))
            log.info("edge %s is connected", edge.row.name)
            session = Session(
                *(self._ingest, self._edges, self.countings, self._noted),
                *(edge, hello.life, reader),
            )
            if hello.forward == "usage":
                session.follows = await self.countings.meters()
                await send(writer, session.follows)
            check = (edge, hello.life, credential)
            await self._exchange(session, writer, check)
        except SequenceGap as gap:
            await self._edges.ask_for_all(edge, gap, sent_from=sent_from)
            raise
        finally:
            await self._edges.leave(edge, hello.life)

    async def _entered(self, hello: EdgeHello, credential: str) -> Edge:
        """Let an edge in; where that cannot be noted, none of its events can."""
        try:
            return await self._edges.enter(hello, credential)
        except RetryLater as error:
            self._ingest.storing.failed(error)
            raise

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
        session: "Session",
        writer: asyncio.StreamWriter,
        check: tuple[Edge, str, str],
    ) -> None:
        """Read frames while those before them are answered, until the connection ends.

        Who may not be here any more is cut off whatever its answers wait for: a commit,
        or a peer that does not read them.
        """
        reading = asyncio.ensure_future(session.read())
        endless = [
            asyncio.ensure_future(self._watch(*check)),
            asyncio.ensure_future(self._tell_meters(session)),
            asyncio.ensure_future(answer(session.answers, writer)),
        ]
        try:
            await asyncio.wait(endless, return_when=asyncio.FIRST_COMPLETED)
            for task in endless:
                if task.done():
                    task.result()  # an error, as none of them ends otherwise
        finally:
            for task in (reading, *endless):
                task.cancel()
            await asyncio.gather(reading, *endless, return_exceptions=True)
            session.forget()

    async def _watch(self, edge: Edge, life: str, credential: str) -> None:
        """Look again and again whether the edge may still be here, until it may not."""
        while True:
            self._edges.check(edge, life, credential)
            await asyncio.sleep(CHECK_EVERY_S)

    async def _tell_meters(self, session: "Session") -> None:
        """Say by which meters an edge counts, whenever they are others."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CHECK_EVERY_S):
                    await self.countings.when_changed()
            await session.tell_meters()

    async def _refuse(self, writer: asyncio.StreamWriter, refusal: Refusal) -> None:
        self.refusals[refusal.code] += 1
        if refusal.code not in ("stopping", "not_ready"):
            log.warning("refused an edge: %s: %s", refusal.code, refusal.message)
        with contextlib.suppress(OSError, TimeoutError, asyncio.CancelledError):
            await send(writer, refusal)
