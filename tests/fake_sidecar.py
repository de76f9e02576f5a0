"""A sidecar in memory: follows ``wire.py`` to the letter, over a real Unix socket.

It runs in threads of its own, so that tests may block, freeze or kill the app side.
"""

import contextlib
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import msgspec

from meterline import wire
from meterline.usage_event import UsageEvent
from meterline.wire import Ack, Batch, Bye, Hello, Lost, Refusal, Welcome
from tests.patience import PATIENCE_S

_decode = msgspec.msgpack.Decoder(UsageEvent).decode


@dataclass
class Ledger:
    """What the sidecar has "on disk" of one producer."""

    hellos: list[Hello] = field(default_factory=list[Hello])
    last_seq: int = 0
    events: dict[int, UsageEvent] = field(default_factory=dict[int, UsageEvent])
    lost: dict[int, str] = field(default_factory=dict[int, str])
    excluded: int = 0
    is_closed: bool = False

    def assert_complete(self) -> None:
        """Every number up to the last is there once: as an event or as a loss."""
        assert sorted([*self.events, *self.lost]) == list(range(1, self.last_seq + 1))


class FakeSidecar:
    """Listens on ``path`` until it is stopped; may be started again.

    Args:
        before_ack: called for every message that was taken, before its ack goes out;
            if it returns false, the connection is cut instead.
        expects_damage: count a record with a wrong CRC as lost, as the real one does.
        ledger: the number of its ledger; without one it is as one of long ago.
    """

    def __init__(
        self,
        path: Path,
        *,
        before_ack: Callable[[], bool] = lambda: True,
        expects_damage: bool = False,
        ledger: int = 0,
    ) -> None:
        self.path = path
        self.expects_damage = expects_damage
        self.ledger = ledger
        self.before_ack = before_ack
        self.ledgers: dict[str, Ledger] = {}
        self.refusal: Refusal | None = None
        """Answers every hello, where it is set."""
        self.refused: list[Refusal] = []
        self.changed = threading.Condition()
        self._listener: socket.socket | None = None
        self._connections: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []

    # --- what tests ask

    @property
    def events(self) -> list[UsageEvent]:
        """All events of all producers, in order."""
        with self.changed:
            return [
                event
                for ledger in self.ledgers.values()
                for _, event in sorted(ledger.events.items())
            ]

    @property
    def lost(self) -> int:
        """How many events were reported lost."""
        with self.changed:
            return sum(len(ledger.lost) for ledger in self.ledgers.values())

    @property
    def losses(self) -> list[str]:
        """Why each event that was reported lost is so, and its number."""
        with self.changed:
            return [
                f"{seq} of {producer}: {reason}"
                for producer, ledger in self.ledgers.items()
                for seq, reason in ledger.lost.items()
            ]

    def wait_for(
        self, is_reached: Callable[["FakeSidecar"], bool], timeout_s: float = PATIENCE_S
    ) -> None:
        """Wait for a state; fail the test when it does not come."""
        with self.changed:
            assert self.changed.wait_for(lambda: is_reached(self), timeout_s), (
                f"not reached in {timeout_s} s: {len(self.events)} events, "
                f"{self.lost} lost, refused {self.refused}"
            )

    def wait_for_events(self, n_events: int) -> list[UsageEvent]:
        """Return the events as soon as there are so many, lost ones included."""
        self.wait_for(lambda fake: len(fake.events) + fake.lost >= n_events)
        return self.events

    @property
    def excluded(self) -> int:
        """How many requests the producers say that they left out on purpose."""
        with self.changed:
            return sum(ledger.excluded for ledger in self.ledgers.values())

    def assert_complete(self) -> None:
        """Nothing is missing and nothing is there twice."""
        with self.changed:
            for ledger in self.ledgers.values():
                ledger.assert_complete()

    # --- life

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def start(self) -> None:
        """Listen."""
        self.path.unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(self.path))
        self._listener.listen(64)
        self._spawn(self._accept, self._listener)

    def stop(self) -> None:
        """Die: cut everything, at once, without a word."""
        if self._listener is not None:
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None
            self._threads[0].join(
                PATIENCE_S
            )  # whoever it let in just now is cut off too
        self.cut()
        for thread in self._threads:
            thread.join(PATIENCE_S)
            assert not thread.is_alive()
        self._threads.clear()

    def cut(self) -> None:
        """Cut every connection, and go on listening."""
        for connection in list(self._connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    # --- threads

    def _spawn(
        self, target: Callable[[socket.socket], None], given: socket.socket
    ) -> None:
        thread = threading.Thread(target=target, args=(given,), daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            self._connections.add(connection)
            self._spawn(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            try:
                self._converse(connection)
            except (OSError, EOFError):
                pass
            except _Refused as refused:
                with self.changed:
                    self.refused.append(refused.refusal)
                    self.changed.notify_all()
                with contextlib.suppress(OSError):
                    connection.sendall(wire.encode_frame(refused.refusal))
            finally:
                self._connections.discard(connection)

    def _converse(self, connection: socket.socket) -> None:
        hello = _read(connection)
        if not isinstance(hello, Hello):
            raise _Refused(Refusal("unexpected", "the first frame must be a hello"))
        if self.refusal is not None:
            raise _Refused(self.refusal)
        if self.ledger and hello.ledger not in (0, self.ledger):
            raise _Refused(Refusal("another_ledger", "it is not for this ledger"))
        with self.changed:
            ledger = self.ledgers.setdefault(hello.producer, Ledger())
            ledger.hellos.append(hello)
            self.changed.notify_all()
        connection.sendall(
            wire.encode_frame(Welcome(ledger.last_seq, ledger=self.ledger))
        )
        while True:
            message = _read(connection)
            with self.changed:
                self._take(ledger, message)
                self.changed.notify_all()
            if not self.before_ack():
                return
            connection.sendall(wire.encode_frame(Ack(ledger.last_seq)))
            if isinstance(message, Bye):
                return

    def _take(self, ledger: Ledger, message: wire.FromApp) -> None:
        expected = ledger.last_seq + 1
        match message:
            case Batch():
                ledger.excluded = message.excluded
                _check_follows(message.first_seq, expected)
                records = _split(message.records)
                for seq, (crc, hint, payload) in enumerate(records, message.first_seq):
                    if seq < expected:
                        continue
                    if crc == wire.record_crc(hint, payload):
                        ledger.events[seq] = _decode(payload)
                    else:
                        assert self.expects_damage
                        ledger.lost[seq] = "damaged: wrong CRC"
                    ledger.last_seq = seq
            case Lost():
                _check_follows(message.first_seq, expected)
                for seq in range(expected, message.last_seq + 1):
                    ledger.lost[seq] = message.reason
                ledger.last_seq = max(ledger.last_seq, message.last_seq)
            case Bye():
                ledger.excluded = message.excluded
                _check_follows(message.last_seq + 1, expected)
                assert message.last_seq == ledger.last_seq
                ledger.is_closed = True
            case Hello():
                raise _Refused(Refusal("unexpected", "only one hello to a connection"))


class _Refused(Exception):
    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


def _split(records: bytes) -> list[tuple[int, int, bytes]]:
    try:
        return list(wire.split_records(records))
    except wire.WireError as error:
        raise _Refused(Refusal(error.code, str(error))) from error


def _check_follows(first_seq: int, expected: int) -> None:
    if first_seq > expected:
        raise _Refused(Refusal("gap", f"{first_seq} is not {expected}", expected))


def _read(connection: socket.socket) -> wire.FromApp:
    length = wire.body_length(_read_exactly(connection, wire.FRAME_HEADER.size))
    return wire.decode_from_app(_read_exactly(connection, length))


def _read_exactly(connection: socket.socket, n_bytes: int) -> bytes:
    data = bytearray()
    while len(data) < n_bytes:
        piece = connection.recv(n_bytes - len(data))
        if not piece:
            raise EOFError
        data += piece
    return bytes(data)
