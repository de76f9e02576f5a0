"""One producer's conversation with the sidecar, over one connection.

It never waits: ``pump`` does what can be done at once, so that a sidecar that is
stopped, slow or gone costs its caller nothing. See ``wire.py`` for the protocol.
"""

import contextlib
import time
from enum import Enum
from typing import TYPE_CHECKING, Final, Protocol

from meterline import system
from meterline.spool.scan import DAMAGED, Loss, Part
from meterline.system import AnyPath
from meterline.wire import (
    FRAME_HEADER,
    Ack,
    Batch,
    Bye,
    FromApp,
    Hello,
    Lost,
    Refusal,
    Welcome,
    WireError,
    body_length,
    decode_from_sidecar,
    encode_frame,
)

ANSWER_TIMEOUT_S: Final = 60.0  # without any byte, while an answer is due
SETTLED_S: Final = 5.0
READ_BYTES: Final = 64 << 10


if TYPE_CHECKING:

    class Source(Protocol):
        """What a link sends: the spool of a living or of a dead producer."""

        @property
        def hello(self) -> Hello:
            """Who the producer is."""
            ...

        @property
        def recorded_seq(self) -> int:
            """The highest number recorded so far."""
            ...

        @property
        def excluded(self) -> int:
            """How many requests were left out on purpose, as far as that is known."""
            ...

        def claim(self, ledger: int) -> None:
            """Take note of which ledger takes what is sent from now on.

            Raises:
                OSError, WireError: it is not to be sent there.
            """
            ...

        def resume(self, last_seq: int) -> None:
            """Send again what follows ``last_seq``."""
            ...

        @property
        def is_company(self) -> bool:
            """Whether so much is to be sent that it need not wait for more."""
            ...

        def next_part(self) -> Part | None:
            """Return what to send next; ``None`` if there is nothing now."""
            ...

        def ack(self, seq: int) -> None:
            """Take note that everything up to ``seq`` is on the sidecar's disk."""
            ...


class State(Enum):
    """How far a conversation has come."""

    GREETING = "greeting"
    OPEN = "open"
    LEAVING = "leaving"
    """``Bye`` was sent."""
    DONE = "done"
    """``Bye`` was acked: the sidecar has everything, for good."""
    FAILED = "failed"


class Link:
    """A connection to the sidecar on behalf of one producer.

    Raises:
        OSError: nobody listens on the socket, or it cannot be reached.
    """

    def __init__(self, path: AnyPath, source: "Source") -> None:
        self._source = source
        self._socket = system.connect(path)
        hello = source.hello
        self.spool = hello.spool
        """Where it was said that events wait."""
        self._to_send = memoryview(encode_frame(hello))
        self._received = bytearray()
        self._in_flight = 0
        self._in_flight_max = 0
        self._sent_seq = 0
        self._has_hurried = False
        """Whether it was said that somebody waits for what was sent."""
        self._heard_s = self._began_s = time.monotonic()
        self._has_acked = False
        self.state = State.GREETING
        self.problem: str = ""
        """Why the conversation failed, in words."""
        self.refusal: Refusal | None = None
        """What the sidecar said when it closed the connection."""

    def pump(self, *, is_last: bool = False, is_awaited: bool = False) -> bool:
        """Read and send what is possible now; return whether anything moved.

        Each call of the system lets another thread have the interpreter, and may wait
        long for it. So acks are left where they are while more can go without them.

        Args:
            is_last: say ``Bye`` behind everything.
            is_awaited: say that somebody waits for the acks.
        """
        try:
            can_wait = self._has_room_for_company and not (is_last or is_awaited)
            moved = not can_wait and self._read()
            moved |= self._write()
            while self.state is State.OPEN and not self._to_send:
                if not self._prepare_frame(is_last=is_last, is_awaited=is_awaited):
                    break
                moved |= self._write()
            self._check_time(moved)
        except (OSError, WireError) as error:
            if isinstance(error, OSError):
                # It may have said why before it hung up.
                with contextlib.suppress(OSError, WireError):
                    self._read()
            if self.refusal is None:
                self._fail(str(error))
            return False
        return moved

    @property
    def _has_room_for_company(self) -> bool:
        """Whether much is to be sent, and can be with half of the window to spare."""
        return (
            self.state is State.OPEN
            and not self._to_send
            and self._in_flight <= self._in_flight_max // 2
            and self._source.is_company
        )

    @property
    def is_full(self) -> bool:
        """Whether nothing more can be sent before the sidecar has taken or acked some."""
        return bool(self._to_send) or self._in_flight >= self._in_flight_max

    @property
    def is_awaiting(self) -> bool:
        """Whether it can send nothing before it hears from the sidecar."""
        return self.is_full or self.state is State.GREETING

    @property
    def is_settled(self) -> bool:
        """Whether the sidecar does its work: it has acked, or listened for a while.

        One that only says welcome and hangs up, again and again, is as good as away.
        """
        lasts = time.monotonic() - self._began_s > SETTLED_S
        return self._has_acked or (lasts and self.state is State.OPEN)

    def close(self) -> None:
        """End the connection; nothing is lost by that."""
        self._socket.close()

    # --- sending

    def _prepare_frame(self, *, is_last: bool, is_awaited: bool) -> bool:
        """Put the next frame up for sending, if there is one and the window allows."""
        if self._in_flight >= self._in_flight_max:
            return False
        source = self._source
        is_urgent = is_last or is_awaited or source.is_company
        # A few events wait for the ack of those before them: they would not be
        # committed earlier than these, and a frame costs the same for one as for all.
        part = None if self._in_flight and not is_urgent else source.next_part()
        message: FromApp
        if part is not None:
            message = _message(
                part, recorded_seq=source.recorded_seq, excluded=source.excluded
            )
            self._sent_seq, self._has_hurried = part.last_seq, False
        elif is_last:
            message = Bye(self._sent_seq, source.excluded)
            self.state = State.LEAVING
        elif is_awaited and self._in_flight and not self._has_hurried:
            message = Batch(
                self._sent_seq + 1, source.recorded_seq, b"", source.excluded
            )
            self._has_hurried = True
        else:
            return False
        self._in_flight += 1
        self._to_send = memoryview(encode_frame(message))
        return True

    def _write(self) -> bool:
        moved = False
        while self._to_send:
            try:
                sent = system.send(self._socket, self._to_send)
            except BlockingIOError:
                break
            self._to_send = self._to_send[sent:]
            moved = True
        return moved

    # --- reading

    def _read(self) -> bool:
        moved = False
        while self.state in (State.GREETING, State.OPEN, State.LEAVING):
            try:
                data = self._socket.recv(READ_BYTES)
            except BlockingIOError:
                break
            if not data:
                raise ConnectionError("the sidecar closed the connection")
            moved = True
            self._heard_s = time.monotonic()
            self._received += data
            self._take_frames()
            if len(data) < READ_BYTES:
                break  # there was no more
        return moved

    def _take_frames(self) -> None:
        start = FRAME_HEADER.size
        while len(self._received) >= start:
            end = start + body_length(bytes(self._received[:start]))
            if len(self._received) < end:
                return
            body = bytes(self._received[start:end])
            del self._received[:end]
            self._take(decode_from_sidecar(body))

    def _take(self, message: Welcome | Ack | Refusal) -> None:
        match message:
            case Welcome():
                if self.state is not State.GREETING:
                    raise WireError("unexpected", "a second welcome")
                self._in_flight_max = max(1, message.batches_in_flight_max)
                self._sent_seq = message.last_seq
                self._source.claim(message.ledger)
                self._source.resume(message.last_seq)
                self.state = State.OPEN
            case Ack():
                if not self._in_flight:
                    raise WireError("unexpected", "an ack for nothing")
                self._in_flight -= 1
                self._has_acked = True
                self._source.ack(message.seq)
                if self.state is State.LEAVING and not self._in_flight:
                    self.state = State.DONE
            case Refusal():
                self.refusal = message
                self._fail(f"{message.code}: {message.message}")

    def _check_time(self, moved: bool) -> None:
        is_due = self._in_flight or self.state is State.GREETING
        if not is_due or moved:
            self._heard_s = time.monotonic()
        elif time.monotonic() - self._heard_s > ANSWER_TIMEOUT_S:
            raise TimeoutError(f"no answer from the sidecar in {ANSWER_TIMEOUT_S} s")

    def _fail(self, problem: str) -> None:
        self.problem = problem
        self.state = State.FAILED


def _message(part: Part, *, recorded_seq: int, excluded: int) -> Batch | Lost:
    """Return what to send for ``part``.

    Raises:
        OSError: its file cannot be opened now, but may be later.
    """
    if isinstance(part, Loss):
        return Lost(part.first_seq, part.last_seq, part.reason)
    try:
        records = part.read()
    except FileNotFoundError:
        records = b""
    if len(records) == part.end - part.start:
        return Batch(part.first_seq, recorded_seq, records, excluded)
    # Somebody has removed or cut the file. What stands behind it must go on.
    return Lost(part.first_seq, part.last_seq, DAMAGED)
