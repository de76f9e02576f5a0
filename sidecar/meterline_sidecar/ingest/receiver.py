"""The socket: frames in, acks out, and a clear word to whoever breaks the rules."""

import asyncio
import contextlib
import logging
import os
from collections import Counter
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Final, Self

from meterline import wire
from meterline.wire import Ack, Batch, Bye, Hello, Lost, Refusal, Welcome, WireError
from meterline_sidecar.errors import (
    DatabaseCorrupt,
    DiskFailed,
    MeterlineError,
    PlaceGone,
    RetryLater,
    SequenceGap,
)
from meterline_sidecar.files import Place, ProcessLock, lock_of, remove_socket
from meterline_sidecar.ingest.accept import Ingest
from meterline_sidecar.ingest.commit import Producer
from meterline_sidecar.ingest.credentials import Credentials, of_peer
from meterline_sidecar.ingest.elsewhere import Elsewhere
from meterline_sidecar.ingest.peers import Owners
from meterline_sidecar.ingest.whose import Whose

CONNECTIONS_MAX: Final = 1_024
HELLO_TIMEOUT_S: Final = 10.0
BODY_TIMEOUT_S: Final = 30.0  # a frame that has begun must end: slow peers are cut off
WRITE_TIMEOUT_S: Final = 30.0
BACKLOG: Final = 512
BUFFER_BYTES: Final = 128 << 10  # a connection's; larger frames are read in pieces
SOCKET_MODE: Final = 0o660
DIRECTORY_MODE: Final = 0o750

Accepted = asyncio.Future[int] | Exception | None
"""A number to ack once it is committed; why reading ended; or the goodbye."""

log = logging.getLogger(__name__)


class Receiver:
    """Listens on the Unix socket and feeds ``Ingest``.

    Args:
        uids: whose processes may connect; root and this process's user always may.
        spool_dir: where workers keep their spools, whose locks say who is who.
        on_fatal: called with an error after which the process must end.
        whose: says which ledger this is, and which dead workers' events are for it.
        elsewhere: where apps keep their events until they are there, too.
    """

    def __init__(
        self,
        ingest: Ingest,
        path: Path,
        *,
        uids: Collection[int],
        on_fatal: Callable[[BaseException], None],
        whose: Whose,
        spool_dir: Path | None = None,
        elsewhere: Elsewhere | None = None,
    ) -> None:
        self._ingest = ingest
        self._elsewhere = elsewhere
        self._on_fatal = on_fatal
        self._whose = whose
        self.path = path
        self._uids = frozenset({0, os.geteuid(), *uids})
        self._owners = Owners(spool_dir)
        self._connections: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self._by_producer: dict[str, asyncio.Task[None]] = {}
        self._server: asyncio.Server | None = None
        self._lock: ProcessLock | None = None
        self._place = Place(path, "the socket")
        self.refusals: Counter[str] = Counter()
        """Connections that were refused since start, by ``Refusal.code``."""

    async def __aenter__(self) -> Self:
        """Listen.

        Raises:
            AlreadyRunning: another process listens there; the text names it.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=DIRECTORY_MODE)
        lock_path = lock_of(self.path)
        self._lock = ProcessLock.take(lock_path, guards=f"the socket {self.path}")
        try:
            # A dead sidecar's socket, and nothing else: we hold the lock.
            remove_socket(self.path, key="sidecar.socket")
            self._server = await asyncio.start_unix_server(
                self._serve, self.path, backlog=BACKLOG, limit=BUFFER_BYTES
            )
        except BaseException:
            self._lock.release()
            raise
        self.path.chmod(SOCKET_MODE)
        self._place.check()
        return self

    async def __aexit__(self, *error: object) -> None:
        """Stop listening, say so to every connection, and remove the socket."""
        assert self._server is not None
        assert self._lock is not None
        self._server.close()
        for task in list(self._connections):
            task.cancel()
        if self._connections:
            await asyncio.wait(list(self._connections))
        with contextlib.suppress(PlaceGone):  # It is not ours to remove then.
            self._place.check()
            self.path.unlink(missing_ok=True)
        self._lock.release()

    @property
    def connections(self) -> int:
        """How many producers are connected now."""
        return len(self._by_producer)

    def is_connected(self, producer: str) -> bool:
        """Say whether a producer is connected now."""
        return producer in self._by_producer

    def check_place(self) -> None:
        """See that apps still reach this process by the socket's path.

        Raises:
            PlaceGone: they do not.
        """
        self._place.check()

    # --- one connection

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections[task] = writer
        try:
            await self._converse(reader, writer, task)
        except WireError as error:
            await self._refuse(writer, Refusal(error.code, str(error)))
        except SequenceGap as error:
            refusal = Refusal("gap", str(error), resume_seq=error.resume_seq)
            await self._refuse(writer, refusal)
        except RetryLater as error:
            await self._refuse(writer, Refusal("not_ready", str(error)))
        except (DiskFailed, DatabaseCorrupt) as error:
            self._on_fatal(error)
            await self._refuse(writer, Refusal("stopping", "the disk failed"))
        except (asyncio.CancelledError, MeterlineError):
            await self._refuse(writer, Refusal("stopping", "the sidecar is stopping"))
        except (ConnectionError, asyncio.IncompleteReadError, TimeoutError) as error:
            # The app died, or the wire was cut: it will come back and resume.
            log.debug("connection lost: %s", error)
        finally:
            del self._connections[task]
            writer.close()

    async def _converse(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        task: "asyncio.Task[None]",
    ) -> None:
        peer = self._check_peer(writer)
        async with asyncio.timeout(HELLO_TIMEOUT_S):
            hello = await _read_frame(reader)
        if not isinstance(hello, Hello):
            raise WireError("unexpected", "the first frame must be a hello")
        if hello.version not in wire.VERSIONS_READ:
            spoken = " and ".join(map(str, sorted(wire.VERSIONS_READ)))
            raise WireError(
                "version",
                f"wire version {hello.version} is not spoken here, only {spoken};"
                " install the same Meterline on both sides",
            )
        await self._owners.check(hello.producer, peer)
        self._whose.greet(hello)
        await self._take_over(hello.producer, task)
        try:
            producer = await self._ingest.hello(hello)
            try:
                last_seq = await self._kept_up_to(producer)
                await _send(writer, Welcome(last_seq, ledger=self._whose.ledger))
                await self._exchange(producer, reader, writer)
            finally:
                self._ingest.forget(producer)
        finally:
            if self._by_producer.get(hello.producer) is task:
                del self._by_producer[hello.producer]

    async def _take_over(self, producer: str, task: "asyncio.Task[None]") -> None:
        """End an older connection of the same producer: the newest one is alive."""
        older = self._by_producer.get(producer)
        self._by_producer[producer] = task
        if older is not None:
            self._connections[older].close()
            older.cancel()
            await asyncio.wait([older], timeout=WRITE_TIMEOUT_S)

    async def _exchange(
        self,
        producer: Producer,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        """Accept frames while acking those that were committed."""
        accepted: asyncio.Queue[Accepted] = asyncio.Queue(wire.BATCHES_IN_FLIGHT_MAX)
        reading = asyncio.ensure_future(self._accept(producer, reader, accepted))
        try:
            await self._ack(producer, accepted, writer)
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)

    async def _accept(
        self,
        producer: Producer,
        reader: asyncio.StreamReader,
        accepted: "asyncio.Queue[Accepted]",
    ) -> None:
        """Read frames up to the goodbye, or to the error that ends the connection.

        The error takes its place in the queue: what was accepted before it is
        committed and acked all the same.
        """
        try:
            while True:
                await self._ingest.room()
                message = await _read_message(reader)
                # Once more: all the others may have read a frame meanwhile.
                await self._ingest.room()
                await accepted.put(self._ingest.accept(producer, message))
                if isinstance(message, Bye):
                    await accepted.put(None)
                    return
        except Exception as error:  # noqa: BLE001 - raised again by _ack, in its turn
            await accepted.put(error)

    async def _kept_up_to(self, producer: Producer) -> int:
        """Return up to which number an app may give up what it has."""
        if self._elsewhere is None:
            return producer.row.last_seq
        return await self._elsewhere.seq(producer.row)

    async def _ack(
        self,
        producer: Producer,
        accepted: "asyncio.Queue[Accepted]",
        writer: asyncio.StreamWriter,
    ) -> None:
        """Ack what was committed, in order, until the goodbye.

        Raises:
            Exception: what ended the reading, or why a commit was not possible.
        """
        while (item := await accepted.get()) is not None:
            if isinstance(item, Exception):
                raise item
            # The ack goes out only now: before COMMIT the events could still be lost
            # with the power, and the app forgets them as soon as it reads the ack.
            # Nor is it given up with the connection: whoever takes over waits for it.
            seq = await asyncio.shield(item)
            if self._elsewhere is not None:
                await self._elsewhere.until(producer.row, seq)
            await _send(writer, Ack(seq))

    def _check_peer(self, writer: asyncio.StreamWriter) -> Credentials:
        if len(self._connections) > CONNECTIONS_MAX:
            raise RetryLater(f"{CONNECTIONS_MAX} connections are open", after_s=5)
        peer = of_peer(writer.get_extra_info("socket"))
        if peer.uid not in self._uids:
            raise WireError(
                "uid",
                f"user {peer.uid} (process {peer.pid}) may not send events here; "
                "add it to sidecar.allowed_uids",
            )
        return peer

    async def _refuse(self, writer: asyncio.StreamWriter, refusal: Refusal) -> None:
        self.refusals[refusal.code] += 1
        if refusal.code not in ("stopping", "not_ready"):
            log.warning("refused a connection: %s: %s", refusal.code, refusal.message)
        try:
            await _send(writer, refusal)
        except (ConnectionError, TimeoutError) as error:
            log.debug("the refused peer is gone: %s", error)
        except asyncio.CancelledError:
            log.debug("stopped while refusing a connection")  # which ends here anyway


async def _read_frame(reader: asyncio.StreamReader) -> wire.FromApp:
    header = await reader.readexactly(wire.FRAME_HEADER.size)
    async with asyncio.timeout(BODY_TIMEOUT_S):
        body = await reader.readexactly(wire.body_length(header))
    return wire.decode_from_app(body)


async def _read_message(reader: asyncio.StreamReader) -> Batch | Lost | Bye:
    message = await _read_frame(reader)
    if isinstance(message, Hello):
        raise WireError("unexpected", "only one hello to a connection")
    return message


async def _send(writer: asyncio.StreamWriter, message: wire.FromSidecar) -> None:
    writer.write(wire.encode_frame(message))
    async with asyncio.timeout(WRITE_TIMEOUT_S):
        await writer.drain()
