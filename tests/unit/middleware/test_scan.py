"""Reading a spool back, whole and damaged."""

import contextlib
import mmap
import random
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meterline.spool import scan
from meterline.spool.scan import (
    DAMAGED,
    RESYNC_BYTES_MAX,
    RESYNCS_MAX,
    Loss,
    Part,
    Run,
    Scanner,
)
from meterline.spool.segment import (
    DATA_START,
    MARKER_BIT,
    SEGMENT_BYTES_MIN,
    Marker,
    Segment,
    encode_marker,
)
from meterline.wire import (
    RECORD_BYTES_MAX,
    RECORD_HEADER,
    encode_record,
    record_crc,
    split_records,
)

PRODUCER = "ab" * 16


@pytest.fixture
def segment() -> Iterator[Segment]:
    made = new_segment(1)
    yield made
    made.close()


def new_segment(ordinal: int) -> Segment:
    return Segment.create(
        None, ordinal=ordinal, producer=PRODUCER, size=SEGMENT_BYTES_MIN
    )


def payload(seq: int) -> bytes:
    return b"event-%d" % seq


def fill(segment: Segment, first_seq: int, n_records: int) -> list[int]:
    """Write records; return where each one starts."""
    starts: list[int] = []
    for seq in range(first_seq, first_seq + n_records):
        starts.append(segment.tail.tell())
        segment.write(encode_record(seq, payload(seq)))
    return starts


def read(*segments: Segment, verifies: bool = True) -> list[Part]:
    scanner = Scanner(next_seq=1, verifies=verifies)
    parts: list[Part] = []
    for i, segment in enumerate(segments):
        if (loss := scanner.enter(segment, is_first=i == 0)) is not None:
            parts.append(loss)
        parts.extend(scanner.scan(segment))
    return parts


def payloads(parts: list[Part]) -> dict[int, bytes]:
    """Return the events by number, after checking that the numbers have no hole."""
    found: dict[int, bytes] = {}
    next_seq = parts[0].first_seq if parts else 1
    for part in parts:
        assert part.first_seq == next_seq
        next_seq = part.last_seq + 1
        if isinstance(part, Run):
            records = split_records(part.read())
            for seq, (crc, hint, data) in enumerate(records, part.first_seq):
                assert crc == record_crc(hint, data)
                found[seq] = bytes(data)
            assert max(found) == part.last_seq
    return found


def lost(parts: list[Part]) -> int:
    losses = [part for part in parts if isinstance(part, Loss)]
    return sum(loss.last_seq - loss.first_seq + 1 for loss in losses)


@pytest.mark.parametrize("verifies", [True, False])
def test_what_was_written_is_read_in_order_and_numbered(
    segment: Segment, verifies: bool
) -> None:
    fill(segment, 1, 500)

    parts = read(segment, verifies=verifies)

    assert payloads(parts) == {seq: payload(seq) for seq in range(1, 501)}
    assert lost(parts) == 0


@pytest.mark.parametrize("verifies", [True, False])
def test_a_marker_takes_the_numbers_of_dropped_events(
    segment: Segment, verifies: bool
) -> None:
    fill(segment, 1, 2)
    segment.write(encode_marker(3, Marker(n_events=10, reason=0, total=10)))
    fill(segment, 13, 1)

    parts = read(segment, verifies=verifies)

    assert parts[1] == Loss(3, 12, "spool full")
    assert sorted(payloads(parts)) == [1, 2, 13]


@pytest.mark.parametrize("payload", [b"\x91" * 5_000, b"\xa1\xff", b"\xc1"])
def test_a_marker_that_nobody_can_read_is_damage(
    segment: Segment, payload: bytes
) -> None:
    fill(segment, 1, 2)
    length, crc, low = RECORD_HEADER.unpack_from(record := encode_record(3, payload))
    segment.write(RECORD_HEADER.pack(length | MARKER_BIT, crc, low))
    segment.write(record[RECORD_HEADER.size :])
    fill(segment, 4, 1)

    parts = read(segment)

    assert Loss(3, 3, DAMAGED) in parts
    assert sorted(payloads(parts)) == [1, 2, 4]


@given(st.integers(0, 2**31))
def test_a_flipped_bit_anywhere_loses_exactly_its_record(seed: int) -> None:
    segment = new_segment(1)
    starts = fill(segment, 1, 30)
    victim = random.Random(seed).randrange(29)
    position = random.Random(seed + 1).randrange(starts[victim], starts[victim + 1])
    segment.map[position] ^= 1 << (seed % 8)

    parts = read(segment)

    expected = {seq: payload(seq) for seq in range(1, 31) if seq != victim + 1}
    assert payloads(parts) == expected
    assert [p for p in parts if isinstance(p, Loss)] == [
        Loss(victim + 1, victim + 1, DAMAGED)
    ]


@given(st.integers(0, 28), st.integers(1, 28), st.binary(min_size=1, max_size=8))
def test_overwritten_records_are_lost_and_counted(
    first: int, length: int, garbage: bytes
) -> None:
    segment = new_segment(1)
    starts = fill(segment, 1, 30)
    last = min(28, first + length)
    start, end = starts[first], starts[last] + 5
    segment.map[start:end] = (garbage * (end - start))[: end - start]

    parts = read(segment)

    whole = [seq for seq in range(1, 31) if not first + 1 <= seq <= last + 1]
    assert sorted(payloads(parts)) == whole
    assert lost(parts) == last - first + 1


def test_a_half_written_record_at_the_end_was_not_recorded(segment: Segment) -> None:
    (start,) = fill(segment, 1, 1)
    torn = encode_record(2, payload(2) * 9)
    end = start + len(encode_record(1, payload(1)))
    for n_bytes in range(1, len(torn)):
        segment.map[end : end + len(torn)] = torn[:n_bytes].ljust(len(torn), b"\0")

        parts = read(segment)

        assert payloads(parts) == {1: payload(1)}
        assert lost(parts) == 0


@pytest.mark.parametrize("is_sealed", [True, False])
def test_a_segment_that_ends_in_damage_is_counted_by_the_next(
    segment: Segment, is_sealed: bool
) -> None:
    starts = fill(segment, 1, 5)
    if is_sealed:
        segment.seal(next_ordinal=2)
    segment.map[starts[3] : starts[4] + 40] = bytes(starts[4] + 40 - starts[3])
    following = new_segment(2)
    fill(following, 6, 3)

    parts = read(segment, following)

    assert parts[1] == Loss(4, 5, DAMAGED)
    assert sorted(payloads(parts)) == [1, 2, 3, 6, 7, 8]


def test_records_that_threads_wrote_in_another_order_keep_their_places(
    segment: Segment,
) -> None:
    hints = [1, 3, 2, 4, 5, 7, 6, 8, 9, 10]
    for hint in hints:
        segment.write(encode_record(hint, payload(hint)))
    damaged = DATA_START + 3 * len(encode_record(1, payload(1))) + 2
    segment.map[damaged] ^= 0xFF  # the fourth record's length

    parts = read(segment)

    assert sorted(payloads(parts)) == [1, 2, 3, 5, 6, 7, 8, 9, 10]
    assert lost(parts) == 1


def test_threads_that_were_killed_before_they_recorded_have_lost_nothing(
    segment: Segment,
) -> None:
    fill(segment, 1, 5)
    segment.seal(next_ordinal=4)
    unused = new_segment(2)
    following = new_segment(4)
    fill(following, 8, 3)  # two threads have 6 and 7, and wait for their turn

    parts = read(segment, unused, following)

    assert sorted(payloads(parts)) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert lost(parts) == 0


def test_a_segment_that_was_never_in_a_file_is_counted_by_the_next(
    segment: Segment,
) -> None:
    fill(segment, 1, 5)
    segment.seal(next_ordinal=2)
    following = new_segment(3)
    fill(following, 8, 3)

    parts = read(segment, following)

    assert parts[1] == Loss(6, 7, DAMAGED)
    assert sorted(payloads(parts)) == [1, 2, 3, 4, 5, 8, 9, 10]


class Watched(Segment):
    """A segment that counts the looks at it, and grows by some records at one."""

    looks = 0
    grows_at = 0

    def __getattribute__(self, name: str) -> Any:
        if name in ("map", "tail"):
            self.looks += 1
            if self.looks == self.grows_at:
                for seq in range(3, 6):
                    self.write(encode_record(seq, payload(seq)))
        return super().__getattribute__(name)


def test_records_written_at_any_moment_of_a_look_are_never_taken_for_damage() -> None:
    look = 0
    while True:
        segment = Watched.create(
            None, ordinal=1, producer=PRODUCER, size=SEGMENT_BYTES_MIN
        )
        assert isinstance(segment, Watched)
        fill(segment, 1, 2)
        look += 1
        segment.grows_at = segment.looks + look
        scanner = Scanner(next_seq=1, verifies=False)

        parts = list(scanner.scan(segment))
        if segment.looks < segment.grows_at:
            segment.close()
            break
        parts += scanner.scan(segment)

        assert sorted(payloads(parts)) == [1, 2, 3, 4, 5]
        segment.close()
    assert look > 5


def test_a_living_spool_that_somebody_damaged_loses_that_record(
    segment: Segment,
) -> None:
    starts = fill(segment, 1, 5)
    segment.map[starts[2] : starts[2] + 4] = b"\xff" * 4
    scanner = Scanner(next_seq=1, verifies=False)  # as at a worker's start

    parts = list(scanner.scan(segment))

    assert sorted(payloads(parts)) == [1, 2, 4, 5]
    assert lost(parts) == 1


def test_a_damaged_header_does_not_renumber_anything(tmp_path: Path) -> None:
    segment = Segment.create(
        tmp_path, ordinal=7, producer=PRODUCER, size=SEGMENT_BYTES_MIN
    )
    segment.first_seq = 1000
    fill(segment, 1000, 5)
    for position in range(DATA_START):
        segment.map[position] ^= 0x10

        parts = read(segment)

        assert sorted(payloads(parts)) == [1000, 1001, 1002, 1003, 1004]
        segment.map[position] ^= 0x10
    segment.close()


def test_damage_that_looks_like_lengths_everywhere_is_given_up() -> None:
    """Each of its positions asks for a CRC over 16 kB: hours, for a whole spool."""
    damaged, after = new_segment(1), new_segment(2)
    fill(damaged, 1, 3)
    start = damaged.tail.tell()
    like_lengths = b"\x00\x3f\x00\x00" * (damaged.size // 4)
    damaged.map[start:] = like_lengths[: damaged.size - start - 1] + b"\x01"
    fill(after, 100, 3)
    scanner = Scanner(next_seq=1, verifies=True)
    scanner.enter(damaged, is_first=True)

    with counting_crcs() as checked:
        parts = list(scanner.scan(damaged))
    loss = scanner.enter(after)

    assert [(part.first_seq, part.last_seq) for part in parts] == [(1, 3)]
    assert loss == Loss(4, 99, DAMAGED)
    assert sum(checked) <= RESYNC_BYTES_MAX + 8 * RECORD_BYTES_MAX


def test_damage_in_more_places_than_anybody_has_is_given_up(segment: Segment) -> None:
    starts = fill(segment, 1, 3 * RESYNCS_MAX)
    for start in starts[1::2]:
        segment.map[start + 12] ^= 1

    parts = read(segment)

    found = payloads(parts)
    assert len(found) == RESYNCS_MAX + 1
    assert lost(parts) == RESYNCS_MAX


@contextlib.contextmanager
def counting_crcs() -> Generator[list[int]]:
    """Note over how many bytes each CRC is made."""
    checked: list[int] = []

    def counting(payload: bytes, start: int = 0) -> int:
        checked.append(len(payload))
        return crc32(payload, start)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scan, "crc32", counting)
        yield checked


LENGTHS = st.sampled_from(
    [0, 1, 40, 200, RECORD_BYTES_MAX, RECORD_BYTES_MAX + 1, 2**31]
)


@given(
    lengths=st.lists(LENGTHS, max_size=20),
    cut=st.integers(0, 100),
    last=st.integers(-20, 5_000),
    bytes_max=st.sampled_from([40, 300, RECORD_BYTES_MAX]),
)
def test_both_walks_come_to_the_same_place(
    lengths: list[int], cut: int, last: int, bytes_max: int
) -> None:
    records = b"".join(
        RECORD_HEADER.pack(length, 0, 0) + bytes(min(length, RECORD_BYTES_MAX))
        for length in lengths
    )
    memory = mmap.mmap(-1, len(records) + 200)
    memory[: len(records)] = records
    last = min(last + len(records) - cut, len(memory) - RECORD_HEADER.size)

    assert scan.compiled_walk(memory, 0, last, bytes_max) == scan.walk(
        memory, 0, last, bytes_max
    )


def test_no_walk_goes_through_a_closed_map() -> None:
    memory = mmap.mmap(-1, 100)
    memory.close()

    for walk in scan.walk, scan.compiled_walk:
        with pytest.raises(ValueError, match="closed"):
            walk(memory, 0, 50, 40)
