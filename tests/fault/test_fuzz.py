"""Whatever comes over the wire, lies in a spool, or stands in a file: said, and survived.

Each runs for some seconds; ``METERLINE_FUZZ_S=60`` for as long as you like, and an hour
in ``make soak``. None may raise anything but the errors that are named, take memory that
follows a number it was told, or keep others from being served; and what was good before
and after is counted.
"""

import asyncio
import contextlib
import random
import shutil
import socket
import struct
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest

from meterline import wire
from meterline.spool.living import Spool
from meterline.spool.segment import DATA_START, SUFFIX
from meterline.usage_event import Part, UsageEvent
from meterline.wire import Ack, Batch, Bye, Hello, Lost, Refusal, Welcome, WireError
from tests.clock import FakeClock
from tests.fault.fuzz import (
    FUZZ_S,
    GOOD,
    ODD,
    Fuzz,
    Memory,
    all_numbers,
    bend,
    bent,
    numbers_of,
)
from tests.fault.oracle import verify_ledger
from tests.fault.sim_parts import Life
from tests.patience import PATIENCE_S
from tests.producer import NOON_MS, WITH_PROPERTIES, Connection, batch, event, records

pytestmark = [pytest.mark.fault, pytest.mark.slow, pytest.mark.timeout(FUZZ_S + 120)]

REFUSALS: Final = frozenset(
    {
        "frame_too_long",
        "malformed",
        "version",
        "gap",
        "unexpected",
        "duplicate_producer",
    }
)
_encode = msgspec.msgpack.encode


def life_in(folder: Path) -> Life:
    """Return the receiving side of a sidecar, in this process."""
    return Life(
        folder,
        spool_dir=folder / "spool",
        clock=FakeClock(),
        when_dead=lambda: pytest.fail("nobody killed it"),
    )


@contextlib.contextmanager
def nothing_unexpected() -> Generator[None]:
    """See that no task ends with an error that nobody awaits."""
    seen: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _loop, context: seen.append(context))
    yield
    loop.set_exception_handler(None)
    assert seen == []


# --- the wire


def conversation(chance: random.Random, producer: str) -> tuple[list[bytes], int]:
    """Return frames, and how many events are in those before the first bad one."""
    hello: list[Any] = ["hello", 1, producer, "bent", "h", 1, NOON_MS, 0, "file"]
    frames: list[list[Any]] = [hello]
    seq = 0
    for _ in range(chance.randrange(1, 12)):
        n_events = chance.randrange(4)
        events = [numbered(chance, seq + 1 + i) for i in range(n_events)]
        frames.append(
            ["batch", seq + 1, seq + n_events, records(*events, first_seq=seq + 1)]
        )
        seq += n_events
    frames.append(["bye", seq])
    i = chance.randrange(len(frames))
    n_good = frames[i][1] - 1 if i else 0
    kind = chance.randrange(5)
    if kind == 0:
        frames[i][chance.randrange(len(frames[i]))] = chance.choice(ODD)
    elif kind == 1:
        odd: list[list[Any]] = [["lost", 1, 2**53, "x"], ["lost", 5, 1, "x"], []]
        frames[i] = chance.choice([*odd, hello, ["bye", 2**53], list(ODD)])
    elif kind == 2 and isinstance(frames[i][-1], bytes):
        frames[i][-1] = bent(chance, frames[i][-1])
    elif kind == 3 and isinstance(frames[i][-1], bytes):
        fields: list[Any] = list(msgspec.to_builtins(event(**WITH_PROPERTIES)))
        fields[chance.randrange(len(fields))] = chance.choice(ODD)
        frames[i][-1] += wire.encode_record(frames[i][1], _encode(fields))
    raw = [framed(frame) for frame in frames]
    if kind == 4:
        raw[i] = bent(chance, raw[i])
    return raw, n_good


def numbered(chance: random.Random, number: int) -> UsageEvent:
    parts = [Part("n", number // 2, {"model": "x"}), Part("n", 0, {"model": "y"})]
    fields: dict[str, Any] = {"properties": {"tenant": "eu-1"}, "parts": parts}
    return event(quantities={"n": number}, **(fields if chance.randrange(2) else {}))


def framed(message: object) -> bytes:
    body = _encode(message)
    return struct.pack(">I", len(body)) + body


async def answers(
    path: Path, frames: list[bytes], chance: random.Random
) -> list[wire.FromSidecar]:
    """Send frames, in any pieces; return all that comes back before the end."""
    loop = asyncio.get_running_loop()
    received = bytearray()
    with socket.socket(socket.AF_UNIX) as peer:
        peer.setblocking(False)
        await loop.sock_connect(peer, str(path))
        rest = b"".join(frames)
        with contextlib.suppress(ConnectionError):  # refused before the end
            while rest:
                size = chance.choice((1, 3, 100, 65_536, 65_536))
                await loop.sock_sendall(peer, rest[:size])
                rest = rest[size:]
            peer.shutdown(socket.SHUT_WR)
        async with asyncio.timeout(PATIENCE_S):
            with contextlib.suppress(ConnectionError):
                while data := await loop.sock_recv(peer, 65_536):
                    received += data
    return list(read_frames(bytes(received)))


def read_frames(raw: bytes) -> Iterator[wire.FromSidecar]:
    while raw:
        end = 4 + wire.body_length(raw[:4])
        yield wire.decode_from_sidecar(raw[4:end])
        raw = raw[end:]


def assert_only_wire_errors(chance: random.Random) -> None:
    """Have both sides read what nobody sends."""
    body = bent(
        chance, _encode(chance.choice((["ack", 5], ["refusal", "gap", "x", 7])))
    )
    with contextlib.suppress(WireError):
        assert isinstance(wire.decode_from_sidecar(body), Ack | Refusal | Welcome)
    body = bent(chance, _encode(["batch", 1, 9, records(event(), event())]))
    with contextlib.suppress(WireError):
        message = wire.decode_from_app(body)
        assert isinstance(message, Batch | Bye | Hello | Lost)
    with contextlib.suppress(WireError):
        for _ in wire.split_records(bent(chance, records(event(), event()))):
            pass


def test_whatever_comes_over_the_wire_is_taken_or_refused(
    tmp_path: Path, fuzz: Fuzz
) -> None:
    for i, cases in enumerate(fuzz.rounds()):
        folder = tmp_path / str(i)
        folder.mkdir()
        promised = asyncio.run(converse_with(folder, cases))

        database = folder / "meterline.db"
        numbers = all_numbers(database)
        assert numbers[GOOD] == list(range(1, len(promised) + 1))
        for producer, n_good in promised.items():
            found = numbers.get(producer, [])
            assert found[:n_good] == list(range(1, n_good + 1)), producer
        assert verify_ledger(database).is_sound
        shutil.rmtree(folder)


async def converse_with(folder: Path, cases: Iterator[random.Random]) -> dict[str, int]:
    """Send what is wrong, and what is right; return what must be there of the former."""
    promised: dict[str, int] = {}
    life = life_in(folder)
    await life.start()
    with nothing_unexpected():
        async with Connection(life.socket) as good:
            await good.hello(GOOD)
            memory = Memory()
            for number, chance in enumerate(cases, 1):
                producer = f"{number:032x}"
                frames, n_good = conversation(chance, producer)
                promised[producer] = n_good
                for answer in await answers(life.socket, frames, chance):
                    assert not isinstance(answer, Refusal) or answer.code in REFUSALS
                assert_only_wire_errors(chance)
                right = batch(event(quantities={"n": number}), first_seq=number)
                assert await good.ship(right) == number
            memory.check()
    await life.stop()
    return promised


# --- spool files

N_EVENTS: Final = 200


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The spool of a worker that died."""
    spool_dir = tmp_path_factory.mktemp("left")
    spool = Spool.open(spool_dir, app="bent", host="h", pid=1, bytes_max=1 << 22)
    for n in range(1, N_EVENTS + 1):
        route = f"/{'r' * 250}/{n}"
        spool.writer.append(_encode(event(route=route, quantities={"n": n})))
        spool.maintain(sync_interval_s=None)
    assert spool.writer.directory is not None
    directory = Path(spool.writer.directory)
    spool.abandon()
    assert len(list(directory.glob(f"*{SUFFIX}"))) > 1
    for segment in directory.glob(f"*{SUFFIX}"):  # less to copy
        segment.write_bytes(segment.read_bytes().rstrip(b"\0") + bytes(64))
    return directory


def damaged(chance: random.Random, folder: Path) -> set[int]:
    """Damage a spool in one place; return the events that this does not touch."""
    untouched = set(range(1, N_EVENTS + 1))
    file = chance.choice(sorted(folder.iterdir()))
    if chance.random() < 0.05:
        lost = (
            set(numbers_in(file.read_bytes())) if file.suffix == SUFFIX else set[int]()
        )
        file.unlink()
        return untouched - lost
    before = file.read_bytes()
    how = bend(chance, before)
    file.write_bytes(how.content)
    if file.suffix != SUFFIX:
        return untouched
    moved = len(how.content) - len(before)
    return untouched - {
        number
        for number, (start, end) in numbers_in(before).items()
        if (start < how.end and how.start < end)
        or start < how.start < end
        or how.end <= start < DATA_START - moved  # in the header: nobody looks there
    }


def numbers_in(segment: bytes) -> dict[int, tuple[int, int]]:
    """Return where in a whole segment the record of each event stands."""
    found: dict[int, tuple[int, int]] = {}
    start = DATA_START
    while (length := int.from_bytes(segment[start : start + 4], "little")) > 0:
        end = start + wire.RECORD_HEADER.size + length
        payload = segment[start + wire.RECORD_HEADER.size : end]
        found[msgspec.msgpack.decode(payload)[10]["n"]] = (start, end)
        start = end
    return found


def test_whatever_lies_in_a_spool_the_rest_of_it_and_all_others_are_counted(
    tmp_path: Path, fuzz: Fuzz, left: Path
) -> None:
    for i, cases in enumerate(fuzz.rounds()):
        folder = tmp_path / str(i)
        folder.mkdir()

        asyncio.run(drain_in(folder, cases, left))

        assert verify_ledger(folder / "meterline.db").is_sound
        shutil.rmtree(folder)


async def drain_in(folder: Path, cases: Iterator[random.Random], left: Path) -> None:
    """Have one ledger take in spools, each damaged one beside a whole one."""
    database = folder / "meterline.db"
    life = life_in(folder)
    await life.start()
    memory = Memory()
    for i, chance in enumerate(cases):
        bad = folder / "spool" / f"{2 * i:032x}"
        good = folder / "spool" / f"{2 * i + 1:032x}"
        for spool in (bad, good):
            shutil.copytree(left, spool)
        untouched = damaged(chance, bad)

        await life.drain.run()

        assert not good.exists()
        assert numbers_of(database, good.name) == list(range(1, N_EVENTS + 1))
        assert not bad.exists(), life.drain.trouble
        found = numbers_of(database, bad.name)
        assert found == sorted(set(found))
        assert untouched <= set(found) <= set(range(1, N_EVENTS + 1))
    memory.check()
    await life.stop()
