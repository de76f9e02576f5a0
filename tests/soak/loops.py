"""Threads that do something again and again while a soak runs."""

import random
import threading
from collections.abc import Callable, Sequence
from typing import Final

from tests.soak.stage import Stage

JOIN_TIMEOUT_S: Final = 400  # a verification or a start may be on its way

Deed = Callable[[Stage, random.Random], None]


class Loop(threading.Thread):
    """Does one of its deeds, pauses, and so on; each loop has moments of its own.

    Args:
        pause_s: the shortest and the longest pause.
    """

    def __init__(
        self,
        stage: Stage,
        *,
        name: str,
        seed: int,
        deeds: Sequence[Deed],
        pause_s: tuple[float, float],
    ) -> None:
        super().__init__(name=name, daemon=True)
        self._stage = stage
        self.deeds = deeds
        """What it does; may be changed while it runs."""
        self._pause_s = pause_s
        self._chance = random.Random(f"{seed}-{name}")

    def run(self) -> None:
        """Go on until the soak is over; whatever goes wrong is a failure of the soak."""
        while not self._stage.is_over.wait(self._chance.uniform(*self._pause_s)):
            deed = self._chance.choice(self.deeds)
            try:
                deed(self._stage, self._chance)
            except Exception as error:  # noqa: BLE001 - told, and the soak goes on
                self._stage.journal.fail(f"{self.name}, {deed.__name__}: {error!r}")
