"""Who claims which subjects, from when on; asked for every subject that is new.

A subject that is written out wins over a pattern, and of several patterns the longest
wins. ``*`` at the end is the only mark: all else is a name as it stands. So a subject
is found by a look-up for each length that patterns have, however many there are.
"""

from bisect import insort
from typing import Final

from msgspec import UNSET

from meterline_sidecar.terms.change import CustomerChange

MARK: Final = "*"

Step = tuple[int, str | None]
"""From when on, and who."""


class Claims:
    """Every claim that was ever made, by the subject or the pattern as written."""

    def __init__(self) -> None:
        self._by_text: dict[str, list[Step]] = {}
        self._theirs: dict[str, dict[str, int]] = {}
        """By customer: what they claim now, and from when on it was theirs."""
        self._unclaimed_from_ms: dict[tuple[str, str], int] = {}
        self._lengths: list[int] = []
        """Of the patterns, the shortest first."""

    def change(self, customer: str, from_ms: int, change: CustomerChange) -> None:
        """Take in what a customer claims from a time on."""
        if change.subjects is UNSET:
            return
        before = self._theirs.get(customer, {})
        wanted = dict.fromkeys(change.subjects, from_ms)
        for text in before.keys() - wanted.keys():
            self._set(text, from_ms, customer, None)
        for text in wanted.keys() - before.keys():
            self._set(text, from_ms, customer, customer)
            if change.unclaimed_from_ms is not UNSET:
                self._unclaimed_from_ms[text, customer] = change.unclaimed_from_ms
        self._theirs[customer] = {text: before.get(text, from_ms) for text in wanted}

    def _set(self, text: str, from_ms: int, customer: str, owner: str | None) -> None:
        steps = self._by_text.get(text)
        if steps is None:
            steps = self._by_text[text] = []
            if text.endswith(MARK) and len(text) - 1 not in self._lengths:
                insort(self._lengths, len(text) - 1)
        if owner is None and steps and steps[-1][1] != customer:
            return  # Somebody else has taken it already.
        while steps and steps[-1][0] >= from_ms:
            steps.pop()
        steps.append((from_ms, owner))

    def history(self, subject: str) -> list[Step]:
        """Return who pays for a subject from when on; the first entry is from 0.

        What nobody paid for before the first claim goes to who made it, from the time
        on that the claim says.
        """
        texts, claims = self._of(subject)
        if not claims:
            return [(0, None)]
        from_ms, owner = claims[0][0]
        is_alone = len(claims) == len(claims[0]) == 1
        if is_alone and owner is not None:  # as most of many subjects are
            alone: list[Step] = [(from_ms, owner)]
            if from_ms > 0:
                alone.insert(0, (0, None))
            return self._with_unclaimed(texts, alone)
        cuts = sorted({0, *(from_ms for steps in claims for from_ms, _ in steps)})
        found: list[Step] = []
        for at_ms in cuts:
            owner = self._owner(claims, at_ms)
            if not found or found[-1][1] != owner:
                found.append((at_ms, owner))
        return self._with_unclaimed(texts, found)

    def customer_of(self, subject: str, at_ms: int) -> str | None:
        """Return who pays for a subject at a moment."""
        return next(
            owner
            for from_ms, owner in reversed(self.history(subject))
            if from_ms <= at_ms
        )

    def is_claimed(self, subject: str) -> bool:
        """Say whether anybody ever claimed a subject."""
        return bool(self._of(subject)[0])

    def is_taken(self, subject: str, at_ms: int) -> bool:
        """Say whether somebody pays for a subject at a moment, or will later."""
        history = self.history(subject)
        return any(
            owner is not None
            for i, (_, owner) in enumerate(history)
            if i + 1 == len(history) or history[i + 1][0] > at_ms
        )

    def of_customer(self, customer: str) -> tuple[str, ...]:
        """Return what a customer claims, as written, by the last row about it."""
        return tuple(self._theirs.get(customer, ()))

    def claimants(self, text: str) -> list[Step]:
        """Return who claims exactly this text, from when on."""
        return list(self._by_text.get(text, ()))

    def _of(self, subject: str) -> tuple[list[str], list[list[Step]]]:
        """Return the texts that claim a subject, the most exact first, and by whom."""
        texts: list[str] = []
        claims: list[list[Step]] = []
        known = self._by_text
        exact = known.get(subject)
        if exact is not None:
            texts.append(subject)
            claims.append(exact)
        for length in reversed(self._lengths):
            text = subject[:length] + MARK
            # A prefix that is longer than the subject is the subject itself here.
            if text in known and length <= len(subject):
                texts.append(text)
                claims.append(known[text])
        return texts, claims

    @staticmethod
    def _owner(claims: list[list[Step]], at_ms: int) -> str | None:
        for steps in claims:
            for from_ms, owner in reversed(steps):
                if from_ms <= at_ms:
                    if owner is not None:
                        return owner
                    break
        return None

    def _with_unclaimed(self, texts: list[str], found: list[Step]) -> list[Step]:
        if len(found) < 2 or found[0][1] is not None:
            return found
        first_ms, owner = found[1]
        assert owner is not None, "neighbours differ"
        unclaimed = self._unclaimed_from_ms
        since = [
            at_ms
            for text in texts
            if (at_ms := unclaimed.get((text, owner))) is not None
        ]
        since_ms = min([first_ms, *since])
        if since_ms == 0:
            return [(0, owner), *found[2:]]
        return [(0, None), (since_ms, owner), *found[2:]]
