"""Events that are open and have units: what waits in memory, and for how long.

A stream or a websocket may be open for days. What was recorded for it goes to the spool
every few seconds, as a use of its own; until then the producer's file says how many
events have something in memory, so that a worker that is killed leaves their number.
"""

from collections.abc import Callable
from contextvars import Context
from time import perf_counter_ns
from typing import TYPE_CHECKING, Final, Protocol

PART_NS: Final = 2_000_000_000  # how long units wait for the spool
NOTED_NS: Final = 200_000_000  # after which a kill leaves their number
NAMELESS_NS: Final = 60_000_000_000  # how long they wait for a subject
ANSWER_NS: Final = 5_000_000_000  # how long an error handler has for its answer


if TYPE_CHECKING:

    class Waiting(Protocol):
        """An open event, as seen from here."""

        def write_part(self, *, must: bool) -> bool:
            """Write what was recorded so far; return whether it could be done.

            Args:
                must: even if it is not known whose it is.
            """
            ...

        def end(self, error: BaseException | None) -> None:
            """Write the event as it stands."""
            ...

        def fail(self) -> None:
            """Count what an error has cost."""
            ...


class Room:
    """What waits for one shipping thread.

    The dictionaries are changed by requests, under the lock of ``recording``, and read
    by the thread: each use of them here is one step of the interpreter. Whoever waits
    comes with its context: whoever resolves subjects may ask their variables.
    """

    __slots__ = ("_note", "_noted", "_since_ns", "answers", "units")

    def __init__(self) -> None:
        self.units: dict[Waiting, Context] = {}
        """Events that have units: of most, only until their answer goes out."""
        self.answers: dict[Waiting, Context] = {}
        """Events that an error handler may still answer."""
        self._since_ns: dict[Waiting, int] = {}  # when the thread saw each first
        self._noted: set[Waiting] = set()
        self._note: Callable[[int], None] = _ignore

    def remove(self, event: "Waiting") -> None:
        """Note that all units of ``event`` are written, or about to be."""
        self.units.pop(event, None)
        if self._noted and event in self._noted:
            self._noted.discard(event)
            self._note(len(self._noted))

    @property
    def has_unnoted(self) -> bool:
        """Whether something has units, and its number is still to be written down."""
        return len(self.units) > len(self._noted)

    def finish_all(self) -> None:
        """Write what waits for its answer: there is no time left."""
        self._finish_unanswered(after_ns=0)

    def look_after(self, note: Callable[[int], None]) -> None:
        """Write what has waited long enough; in the shipping thread, every round.

        Args:
            note: writes down how many events have units in memory, where a kill
                leaves it.
        """
        self._note = note
        if self.units or self.answers or self._since_ns:
            now_ns, before = perf_counter_ns(), self._since_ns
            waiting = [*self.units, *self.answers]
            self._since_ns = {event: before.get(event, now_ns) for event in waiting}
        if self.answers:
            self._finish_unanswered(after_ns=ANSWER_NS)
        if self.units or self._noted:
            self._write_parts()

    def _finish_unanswered(self, *, after_ns: int) -> None:
        now_ns = perf_counter_ns()
        for event, context in list(self.answers.items()):
            if now_ns - self._since_ns.get(event, now_ns) >= after_ns:
                self.answers.pop(event, None)
                context.run(event.end, None)

    def _write_parts(self) -> None:
        now_ns = perf_counter_ns()
        noted: set[Waiting] = set()
        for event, context in list(self.units.items()):
            waited_ns = now_ns - self._since_ns.get(event, now_ns)
            if waited_ns < NOTED_NS:
                continue
            is_due = waited_ns >= PART_NS
            if not (is_due and self._is_written(event, waited_ns, context)):
                noted.add(event)
        if noted != self._noted:
            # Whatever ended since is not in memory any more.
            self._noted = {event for event in noted if event in self.units}
            self._note(len(self._noted))

    def _is_written(self, event: "Waiting", waited_ns: int, context: Context) -> bool:
        must = waited_ns >= NAMELESS_NS
        try:
            return context.run(event.write_part, must=must)
        except BaseException:  # noqa: BLE001 - edge: the thread ships for all of them
            self.units.pop(event, None)
            event.fail()
            return True


def _ignore(_n_events: int) -> None:
    """No thread has come by yet."""
