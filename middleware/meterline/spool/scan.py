"""Reads a spool: finds the records, gives each its number, and says what is missing.

A record's number is its position. As long as a spool is whole, that is counting.
After damage the ``seq`` that stands in every record tells how many are missing:
what counts is how far it has moved since the last good record, not its value,
because several threads may have written their records in another order than they
took their numbers.
"""

import re
from collections import Counter, deque
from collections.abc import Iterator
from mmap import mmap
from struct import Struct as Layout
from typing import Final
from zlib import crc32

import msgspec
from msgspec import Struct

from meterline.compiled import native
from meterline.spool.producer_file import DROP_REASONS
from meterline.spool.segment import DATA_START, MARKER_BIT, Marker, Segment
from meterline.wire import RECORD_BYTES_MAX, RECORD_HEADER

BATCH_BYTES_MAX: Final = 256 << 10
VERIFY_BYTES_MAX: Final = 16 << 10  # between two looks at other duties: about 0.5 ms
WITNESSES_MAX: Final = 8  # records asked for the place after damage
RESYNCS_MAX: Final = 256
RESYNC_BYTES_MAX: Final = 16 << 20
"""How often, and through how many bytes of supposed records, a segment is searched for
its next whole one. Damage is rarely in two places and seldom looks like a length; what
was made to look like one everywhere would cost hours. What is not found is counted as
lost, by the next segment or the worker's own count."""
NOT_SEALED: Final = (0, 0)
DAMAGED: Final = "spool damaged"
FORGOTTEN: Final = "acked, then forgotten by the sidecar"

_MAY_BEGIN: Final = rb"(?s)(?=(?!\0\0).[\0-\x40]\0[\0\x80])"
"""Where a record may begin: the length of one, or of a marker, is no larger."""
_HEADER_BYTES: Final = RECORD_HEADER.size
_LENGTH: Final = Layout("<I")  # the first field of a header: half as long to unpack
_LOW: Final = 0xFFFFFFFF
_decode_marker: Final = msgspec.msgpack.Decoder(Marker).decode


class Run(Struct, frozen=True):
    """Consecutive good records, as they stand in one segment."""

    first_seq: int
    last_seq: int
    segment: Segment
    start: int
    end: int

    def read(self) -> bytes:
        """Return the records' bytes, to be sent as they are."""
        return self.segment.read(self.start, self.end)


class Loss(Struct, frozen=True):
    """Numbers that can never be sent, and why. ``last_seq`` is inclusive."""

    first_seq: int
    last_seq: int
    reason: str


Part = Run | Loss


class _Found(Struct, frozen=True):
    """A record that is whole."""

    position: int
    end: int
    hint: int
    marker: Marker | None


class Scanner:
    """Walks through the segments of one spool, oldest first, and numbers its records.

    Args:
        next_seq: the number of the first record.
        verifies: whether CRCs are checked. A living spool is its own memory; only
            a file that somebody left behind may be damaged.
    """

    def __init__(self, *, next_seq: int, verifies: bool) -> None:
        self.next_seq = next_seq
        self.marked_totals = [0] * len(DROP_REASONS)
        """For each reason, the highest total that a marker named."""
        self._verifies = verifies
        self.position = DATA_START
        """Where the next record begins, in the segment that was scanned last."""
        # How far the hints of the last good records are ahead of their numbers.
        self._leads: deque[int] = deque([0], maxlen=WITNESSES_MAX)
        self.is_torn = False
        """Whether it stands before damage, so that the next whole record tells how
        many are missing."""
        self._searched = 0  # how much was written when no other record was found
        self._sealed = NOT_SEALED  # what the last segment says of itself
        # The segment before which nothing is missing, whatever its hints say: a killed
        # thread may have had a number and no time to record. In between there may be
        # one that was made ready and never used.
        self._expected = 0
        self._resyncs_left = RESYNCS_MAX
        self._resync_bytes_left = RESYNC_BYTES_MAX

    def enter(self, segment: Segment, *, is_first: bool = False) -> Loss | None:
        """Go on at the start of ``segment``; return what is missing before it.

        Args:
            is_first: nothing was read before, so nothing can be missing.
        """
        end, following = self._sealed
        if self.position == end:
            self._expected = following
        is_expected = segment.ordinal == self._expected
        self._sealed = segment.sealed or NOT_SEALED
        self.position = DATA_START
        self._resyncs_left = RESYNCS_MAX
        self._resync_bytes_left = RESYNC_BYTES_MAX
        self._searched = 0
        first_seq = segment.first_seq
        if not (first_seq or is_expected) and (self._verifies or self.is_torn):
            first_seq = self._number_here(segment, DATA_START) or 0
        self.is_torn = False
        if is_first:
            self.next_seq = first_seq or self.next_seq
            return None
        return self._skip_to(first_seq) if first_seq else None

    def scan(self, segment: Segment) -> Iterator[Part]:
        """Yield what follows in ``segment``, in order, up to its present end."""
        while True:
            if self.is_torn and (loss := self._find_place(segment)) is not None:
                yield loss
            if self._verifies:
                run = self._verified_run(segment)
            else:
                run = self._plain_run(segment)
            if run is not None:
                yield run
            loss = self._marker(segment)
            if loss is None and run is None:
                if self._is_over(segment):
                    return
                if _record_at(segment, self.position) is not None:
                    continue  # it was written while we looked
                loss = self._resync(segment)
                if loss is None:
                    return
            if loss is not None:
                yield loss

    # --- good records

    def _plain_run(self, segment: Segment) -> Run | None:
        """Return the next records by their lengths alone."""
        start = self.position
        last = min(segment.size, start + BATCH_BYTES_MAX) - _HEADER_BYTES
        position, n_records = compiled_walk(segment.map, start, last, RECORD_BYTES_MAX)
        if not n_records:
            return None
        if not _is_an_end(segment, position):
            return self._verified_run(segment)
        return self._take_run(segment, position, n_records)

    def _verified_run(self, segment: Segment) -> Run | None:
        """Return the next records that are whole."""
        position = self.position
        limit = position + VERIFY_BYTES_MAX
        n_records = 0
        found = _record_at(segment, position)
        while found is not None and found.marker is None and position < limit:
            n_records += 1
            position = found.end
            self._leads.append((found.hint - self.next_seq - n_records + 1) & _LOW)
            found = _record_at(segment, position)
        return self._take_run(segment, position, n_records) if n_records else None

    def _take_run(self, segment: Segment, end: int, n_records: int) -> Run:
        first_seq, start = self.next_seq, self.position
        self.next_seq += n_records
        self.position = end
        return Run(first_seq, self.next_seq - 1, segment, start, end)

    def _marker(self, segment: Segment) -> Loss | None:
        found = _record_at(segment, self.position)
        if found is None or found.marker is None:
            return None
        marker = found.marker
        self.position = found.end
        self._leads.append((found.hint - self.next_seq) & _LOW)
        self.marked_totals[marker.reason] = marker.total
        return self.lose(marker.n_events, DROP_REASONS[marker.reason])

    # --- damage

    def _is_over(self, segment: Segment) -> bool:
        """Tell whether only untouched space follows.

        In our own memory a length of 0 is enough to know that, unless we have
        written more: then somebody has damaged the file.
        """
        if self.position < segment.written:
            return False
        if not self._verifies:
            header = segment.map[self.position : self.position + _HEADER_BYTES]
            return not any(header[:4])
        return not segment.map[self.position :].strip(b"\0")

    def _resync(self, segment: Segment) -> Loss | None:
        """Go to the next whole record; return what is missing before it.

        ``None`` if no other follows, or is not found within the limits. What stands
        here then is a record that was half written when the process was killed: it
        was never recorded. Or it was, and then the next segment or the producer's
        counter says so.
        """
        written = segment.written
        if written and written == self._searched:
            return None  # nothing new since
        position = self._next_whole(segment)
        self.is_torn = position is None
        if position is None:
            self._searched = written
            return None
        self.position = position
        number = self._number_here(segment, position)
        # The damage hides at least the one record that it lies in.
        return self._skip_to(max(number or 0, self.next_seq + 1))

    def _next_whole(self, segment: Segment) -> int | None:
        """Return where the next whole record begins behind the one that is not."""
        if not self._resyncs_left:
            return None
        self._resyncs_left -= 1
        start = self.position + 1
        rest = segment.map[start:].rstrip(b"\0")
        for found in re.finditer(_MAY_BEGIN, rest):
            position = start + found.start()
            if _record_at(segment, position) is not None:
                return position
            length = int.from_bytes(rest[found.start() : found.start() + 4], "little")
            self._resync_bytes_left -= length & ~MARKER_BIT
            if self._resync_bytes_left < 0:
                return None
        return None

    def _number_here(self, segment: Segment, position: int) -> int | None:
        """Return the number of the record at ``position``, by what most there say."""
        votes: Counter[int] = Counter()
        lead = Counter(self._leads).most_common(1)[0][0]
        found = _record_at(segment, position)
        for i in range(WITNESSES_MAX):
            if found is None:
                break
            votes[(found.hint - i - lead) & _LOW] += 1
            if found.marker is not None:
                break
            found = _record_at(segment, found.end)
        if not votes:
            return None
        low = votes.most_common(1)[0][0]
        ahead = (low - self.next_seq) & _LOW
        return self.next_seq + ahead if ahead < 1 << 31 else None

    def _skip_to(self, seq: int) -> Loss | None:
        missing = seq - self.next_seq
        return self.lose(missing, DAMAGED) if missing > 0 else None

    def _find_place(self, segment: Segment) -> Loss | None:
        number = self._number_here(segment, self.position)
        if number is None:
            return None
        self.is_torn = False
        return self._skip_to(number)

    def give_up(self, segment: Segment, last_seq: int) -> Loss | None:
        """Return all up to ``last_seq`` that was not found, and go on behind it.

        For a living spool, whose end was reached: it knows what it had recorded.
        """
        if last_seq < self.next_seq:
            return None
        self.position = max(self.position, segment.written)
        self.is_torn = True
        return self.lose(last_seq - self.next_seq + 1, DAMAGED)

    def lose(self, n_events: int, reason: str) -> Loss:
        """Give the next ``n_events`` numbers to events that cannot be sent."""
        first_seq = self.next_seq
        self.next_seq += n_events
        return Loss(first_seq, self.next_seq - 1, reason)


def walk(memory: mmap, position: int, last: int, bytes_max: int) -> tuple[int, int]:
    """Go from record to record by their lengths alone.

    Args:
        position: of the first one.
        last: where the header of another one may begin at most.
        bytes_max: how long one may be.

    Returns:
        where that ends, and how many were passed.
    """
    n_records = 0
    unpack = _LENGTH.unpack_from
    while position <= last:
        (length,) = unpack(memory, position)
        if not 0 < length <= bytes_max:
            break
        n_records += 1
        position += _HEADER_BYTES + length
    return position, n_records


# In Python it would be half of what the shipping thread does.
compiled_walk = walk if native is None else native.walk


def _is_an_end(segment: Segment, position: int) -> bool:
    """Tell whether a walk by lengths alone has come to where a record really ends."""
    written = segment.written
    if position == written or _record_at(segment, position) is not None:
        return True
    is_fresh = not any(segment.map[position : position + 4])
    return is_fresh and not written and position <= segment.size


def _record_at(segment: Segment, position: int) -> _Found | None:
    """Return the record at ``position`` if a whole one stands there."""
    if position + _HEADER_BYTES >= segment.size:
        return None
    length, crc, hint = RECORD_HEADER.unpack_from(segment.map, position)
    is_marker = length & MARKER_BIT
    length &= ~MARKER_BIT
    start = position + _HEADER_BYTES
    end = start + length
    if not 0 < length <= RECORD_BYTES_MAX or end > segment.size:
        return None
    payload = segment.map[start:end]
    if crc32(payload, hint) != crc:
        return None
    if not is_marker:
        return _Found(position, end, hint, None)
    try:
        marker = _decode_marker(payload)
    except (ValueError, RecursionError):
        return None
    if not 0 <= marker.reason < len(DROP_REASONS) or marker.n_events < 1:
        return None
    return _Found(position, end, hint, marker)


def merged(earlier: Run, later: Part) -> Run | None:
    """Return both as one run, where they touch and together fit into a batch."""
    if (
        isinstance(later, Run)
        and earlier.segment is later.segment
        and earlier.end == later.start
        and later.end - earlier.start <= BATCH_BYTES_MAX
    ):
        return Run(
            earlier.first_seq,
            later.last_seq,
            earlier.segment,
            earlier.start,
            later.end,
        )
    return None
