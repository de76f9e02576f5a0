"""When an app sends what: a few events wait for the ack of those before them."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from meterline import wire
from meterline.link import Link
from meterline.spool.reader import COMPANY_BYTES, Backlog
from meterline.spool.scan import BATCH_BYTES_MAX, Loss, Part, Run
from meterline.spool.segment import SEGMENT_BYTES_MIN, Segment
from meterline.wire import (
    BATCHES_IN_FLIGHT_MAX,
    Ack,
    Batch,
    Bye,
    FromApp,
    Lost,
    Refusal,
    Welcome,
)
from tests.fault.steps import hello


class Waiting:
    """A source of parts that need no file: mostly losses."""

    def __init__(self) -> None:
        self.hello = hello("app")
        self.recorded_seq = self.excluded = 0
        self.is_company = False
        self._parts: list[Part] = []
        self.acked: list[int] = []

    def record(self, *, n_bytes: int = 0) -> None:
        """Have one more to send: a loss, or an event of so many bytes."""
        self.recorded_seq = seq = self.recorded_seq + 1
        if not n_bytes:
            self._parts.append(Loss(seq, seq, "spool full"))
            return
        segment = Segment.create(None, producer="a" * 32, ordinal=2, size=n_bytes)
        self._parts.append(Run(seq, seq, segment, 0, n_bytes))

    def claim(self, ledger: int) -> None:
        """Go wherever it is sent."""

    def resume(self, last_seq: int) -> None:
        """Begin."""

    def next_part(self) -> Part | None:
        """Return what to send next."""
        return self._parts.pop(0) if self._parts else None

    def ack(self, seq: int) -> None:
        """Forget it."""
        self.acked.append(seq)


class Conversation:
    """A link, and the other end of its connection."""

    def __init__(self, link: Link, waiting: Waiting, peer: socket.socket) -> None:
        self.link, self.waiting, self._peer = link, waiting, peer

    def said(self) -> list[FromApp]:
        """Return what has come by now."""
        received = b""
        try:
            while data := self._peer.recv(1 << 16):
                received += data
        except BlockingIOError:
            pass
        found: list[FromApp] = []
        while received:
            size = wire.FRAME_HEADER.size
            end = size + wire.body_length(received[:size])
            found.append(wire.decode_from_app(received[size:end]))
            received = received[end:]
        return found

    def answer(self, message: wire.FromSidecar) -> None:
        self.send(message)
        self.link.pump()

    def send(self, message: wire.FromSidecar) -> None:
        self._peer.sendall(wire.encode_frame(message))


@pytest.fixture
def talk(tmp_path: Path) -> Iterator[Conversation]:
    """Return a conversation in which one loss is on its way."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        waiting = Waiting()
        link = Link(tmp_path / "s", waiting)
        peer, _ = listener.accept()
        with peer:
            peer.setblocking(False)
            talk = Conversation(link, waiting, peer)
            link.pump()
            talk.answer(Welcome(0))
            waiting.record()
            link.pump()
            assert len(talk.said()) == 2
            yield talk
        link.close()


def test_a_few_wait_for_the_ack_of_those_before_them(talk: Conversation) -> None:
    talk.waiting.record()
    talk.link.pump()
    before = talk.said()

    talk.answer(Ack(1))

    assert before == []
    assert talk.said() == [Lost(2, 2, "spool full")]


def test_what_is_company_enough_waits_for_nobody(talk: Conversation) -> None:
    talk.waiting.is_company = True
    talk.waiting.record()
    talk.link.pump()

    assert talk.said() == [Lost(2, 2, "spool full")]


def test_acks_are_left_while_much_can_go_without_them(talk: Conversation) -> None:
    talk.waiting.is_company = True
    in_flight = 1  # and half a window is enough
    for _ in range(BATCHES_IN_FLIGHT_MAX // 2):
        talk.waiting.record()
        talk.answer(Ack(1))
        in_flight += 1
    assert talk.waiting.acked == []

    talk.waiting.record()
    talk.link.pump()

    assert talk.waiting.acked == [1] * (in_flight - 1)


def test_acks_are_read_where_nothing_more_fits_into_the_socket(
    talk: Conversation,
) -> None:
    talk.waiting.is_company = True
    talk.waiting.record(n_bytes=BATCH_BYTES_MAX)
    talk.waiting.record(n_bytes=BATCH_BYTES_MAX)
    talk.answer(Ack(1))
    assert talk.waiting.acked == []
    assert talk.link.is_full

    talk.link.pump()

    assert talk.waiting.acked == [1]


@pytest.mark.parametrize("how", ["is_awaited", "is_last"])
def test_acks_are_read_at_once_for_who_waits(talk: Conversation, how: str) -> None:
    talk.waiting.is_company = True
    talk.waiting.record()
    talk.send(Ack(1))

    talk.link.pump(**{how: True})

    assert talk.waiting.acked == [1]


def test_one_look_for_answers_is_enough(
    talk: Conversation, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[int] = []

    class Counting(socket.socket):
        def recv(self, bufsize: int, flags: int = 0, /) -> bytes:
            looks.append(bufsize)
            return super().recv(bufsize, flags)

    plain = vars(talk.link)["_socket"]
    counting = Counting(fileno=os.dup(plain.fileno()))
    counting.setblocking(False)
    monkeypatch.setattr(talk.link, "_socket", counting)
    with counting:
        talk.answer(Ack(1))

    assert (talk.waiting.acked, len(looks)) == ([1], 1)


def test_what_somebody_waits_for_goes_at_once(talk: Conversation) -> None:
    talk.waiting.record()
    talk.link.pump(is_awaited=True)

    first, hurry = talk.said()
    assert first == Lost(2, 2, "spool full")
    assert isinstance(hurry, Batch)
    assert not hurry.records


def test_the_last_and_the_goodbye_go_at_once(talk: Conversation) -> None:
    talk.waiting.record()
    talk.link.pump(is_last=True)

    assert talk.said() == [Lost(2, 2, "spool full"), Bye(2)]


@pytest.mark.parametrize(
    ("parts", "is_company"),
    [
        ([], False),
        ([COMPANY_BYTES - 1], False),
        ([COMPANY_BYTES], True),
        ([1, 1], True),
    ],
)
def test_64_kib_are_company_and_so_is_what_cannot_be_sent_together(
    parts: list[int], is_company: bool
) -> None:
    backlog = Backlog()
    for number, n_bytes in enumerate(parts, 1):
        segment = Segment.create(
            None, producer="a" * 32, ordinal=number, size=SEGMENT_BYTES_MIN
        )
        backlog.add(Run(number, number, segment, 0, n_bytes))

    assert backlog.is_company == is_company


def test_a_refusal_says_why_also_where_the_sidecar_has_hung_up(
    tmp_path: Path,
) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        link = Link(tmp_path / "s", Waiting())
        peer, _ = listener.accept()
        peer.sendall(wire.encode_frame(Refusal("uid", "user 33 may not send")))
        peer.close()
        link.pump()
        link.close()

    assert link.problem == "uid: user 33 may not send"
