"""What a living spool still has to send, in order: an index, not the events."""

from collections import deque
from typing import Final

from meterline.spool.scan import FORGOTTEN, Loss, Part, Run, merged

COMPANY_BYTES: Final = 64 << 10  # about a thousand events, which need no more


class Backlog:
    """The parts of a spool that are not acked, and how far they were sent.

    Its size follows the number of batches, not of events.
    """

    def __init__(self) -> None:
        self._waiting: deque[Part] = deque()
        self._sent: deque[Part] = deque()
        self.acked_seq = 0
        """Everything up to here is on the sidecar's disk."""

    def add(self, part: Part) -> None:
        """Append what was recorded next."""
        if self._waiting:
            last = self._waiting[-1]
            if isinstance(last, Run) and (whole := merged(last, part)) is not None:
                self._waiting[-1] = whole
                return
        self._waiting.append(part)

    def next_part(self) -> Part | None:
        """Return what to send next, and count it as sent."""
        if not self._waiting:
            return None
        part = self._waiting.popleft()
        self._sent.append(part)
        return part

    @property
    def is_company(self) -> bool:
        """Whether so much waits that it need not wait for more."""
        if len(self._waiting) != 1:
            return bool(self._waiting)
        (part,) = self._waiting
        return isinstance(part, Run) and part.end - part.start >= COMPANY_BYTES

    def ack(self, seq: int) -> None:
        """Forget everything up to ``seq``."""
        self.acked_seq = max(self.acked_seq, seq)
        for parts in (self._sent, self._waiting):
            while parts and parts[0].last_seq <= seq:
                parts.popleft()

    def resume(self, last_seq: int, *, recorded_seq: int) -> None:
        """Start again behind ``last_seq``: nothing later has arrived.

        Where what follows it is not here any more, that is a loss: the sidecar had
        acked it once and has lost its memory since.
        """
        self.ack(last_seq)
        while self._sent:
            self._waiting.appendleft(self._sent.pop())
        first_seq = self._waiting[0].first_seq if self._waiting else recorded_seq + 1
        if first_seq > last_seq + 1:
            self._waiting.appendleft(Loss(last_seq + 1, first_seq - 1, FORGOTTEN))

    def clear(self, acked_seq: int) -> None:
        """Forget every part: they are about to be added again."""
        self._waiting.clear()
        self._sent.clear()
        self.acked_seq = acked_seq

    def oldest_ordinal(self) -> int | None:
        """Return the ordinal of the oldest segment that is still needed."""
        for parts in (self._sent, self._waiting):
            for part in parts:
                if isinstance(part, Run):
                    return part.segment.ordinal
        return None
