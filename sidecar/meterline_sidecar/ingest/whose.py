"""Whose events a dead worker's are, where apps of several ledgers share their spools.

The first ledger that begins to take a producer's events is noted in its spool, before it
gets any (``meterline.spool.producer_file``). No other ledger takes them then: it could
not know which of them are counted already.
"""

import time
from collections.abc import Collection, Iterator
from typing import Final

from meterline.wire import Hello, WireError, ledger_text

CODE: Final = "another_ledger"
TOLD_S: Final = 86_400.0
"""How long it is told that a worker found such a spool: it looks when it connects."""
TOLD_MAX: Final = 1_000


class Whose:
    """Says which spools of dead workers this ledger takes, and which were refused.

    Args:
        ledger: the number of this one.
        takes_over: those that are gone for good, as people write them.
    """

    def __init__(self, ledger: int, *, takes_over: Collection[str] = ()) -> None:
        self.ledger = ledger
        self._ours = frozenset({0, ledger, *(int(text, 16) for text in takes_over)})
        self._refused: dict[str, tuple[str, float]] = {}

    def is_ours(self, ledger: int) -> bool:
        """Say whether what a ledger has begun to take is for this one; 0: none has."""
        return ledger in self._ours

    def check(self, hello: Hello) -> None:
        """Make sure that a dead worker's events are for this ledger.

        Raises:
            WireError: ``another_ledger``: they are another's.
        """
        if not self.is_ours(hello.ledger):
            raise WireError(
                CODE,
                f"ledger {ledger_text(hello.ledger)} has begun to take its events, and"
                f" this is ledger {ledger_text(self.ledger)}, where they could count"
                " a second time",
            )

    def greet(self, hello: Hello) -> None:
        """Do the same for one that a worker of this ledger has found; it is told then.

        Raises:
            WireError: as ``check``.
        """
        try:
            self.check(hello)
        except WireError as error:
            while len(self._refused) >= TOLD_MAX:
                del self._refused[next(iter(self._refused))]
            text = (
                f"spool {hello.producer} of process {hello.pid} of app {hello.app} on"
                f" {hello.host}: {error}"
            )
            self._refused[hello.producer] = (text, time.monotonic())
            raise

    def forget(self, producer: str) -> None:
        """Tell no more of a spool that a worker found: it is told of otherwise."""
        self._refused.pop(producer, None)

    def refused(self) -> Iterator[str]:
        """Yield in words which spools workers found that are another ledger's."""
        since_s = time.monotonic() - TOLD_S
        yield from (text for text, at_s in self._refused.values() if at_s > since_s)
