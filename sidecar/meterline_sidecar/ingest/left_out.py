"""How many requests the apps say that they left out on purpose."""

from typing import Final

PRODUCERS_MAX: Final = 10_000
"""Whose counts are told apart. Who is silent for longest is only in the sum from then on,
and would be counted anew if it came back."""


class LeftOut:
    """A sum over what producers have announced since the sidecar started.

    Each announces all that it has left out in its life, with its events and its goodbye.
    """

    def __init__(self) -> None:
        self._of: dict[str, int] = {}
        self.total = 0
        """Never goes down."""

    def note(self, producer: str, n_requests: int) -> None:
        """Take note of how many requests a producer has left out so far."""
        before = self._of.pop(producer, 0)
        self._of[producer] = max(before, n_requests)  # the newest last
        self.total += self._of[producer] - before
        if len(self._of) > PRODUCERS_MAX:
            del self._of[next(iter(self._of))]
