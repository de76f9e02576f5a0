"""Who claims which subjects, from when on; asked for every subject that is new.

A subject that is written out wins over a pattern, and of several patterns the longest
wins. ``*`` at the end is the only mark: all else is a name as it stands. So a subject
is found by a look-up for each length that patterns have, however many there are.
"""

from bisect import insort
from collections.abc import Iterable, Mapping, Sequence
from operator import neg
from typing import Final, NamedTuple

from msgspec import UNSET

from meterline_sidecar.terms.change import ALWAYS, CustomerChange

MARK: Final = "*"
LAST_CHARACTER: Final = "\U0010ffff"

Step = tuple[int, str | None]
"""From when on, and who."""


class Turn(NamedTuple):
    """What one row changes about the subjects and patterns of a customer."""

    taken: list[str]
    """New ones, and those that are theirs from an earlier time on than was said."""
    given_up: list[str]
    held: dict[str, int]
    """What they claim by now, and from when on it is theirs."""


def turn(held: Mapping[str, int], texts: Iterable[str], *, from_ms: int) -> Turn:
    """Return what it changes that a customer claims these texts from a time on.

    Args:
        held: what they claimed by the row before; see ``Turn``.
    """
    wanted = dict.fromkeys(texts)
    return Turn(
        taken=[text for text in wanted if held.get(text, from_ms + 1) > from_ms],
        given_up=[text for text in held if text not in wanted],
        held={text: min(held.get(text, from_ms), from_ms) for text in wanted},
    )


class _Unclaimed(NamedTuple):
    """A time for which somebody also pays, as far as nobody else does."""

    start: int
    end: int
    customer: str
    learned_ms: int


_Held = str | tuple[str, ...] | Mapping[str, int]
"""What a customer claims: one text or some, theirs from the beginning as most are; or
each, and from when on."""


def _packed(held: dict[str, int]) -> _Held:
    if any(from_ms != ALWAYS for from_ms in held.values()):
        return held
    return tuple(held) if len(held) != 1 else next(iter(held))


def _unpacked(held: _Held) -> Mapping[str, int]:
    if isinstance(held, Mapping):
        return held
    return dict.fromkeys((held,) if isinstance(held, str) else held, ALWAYS)


class Claims:
    """Every claim that was ever made, by the subject or the pattern as written."""

    def __init__(self) -> None:
        self._by_text: dict[str, str | list[Step]] = {}
        """Most of many texts are somebody's from the beginning: that is the name alone."""
        self._held: dict[str, _Held] = {}
        """By customer: what they claim now, and from when on it was theirs."""
        self._unclaimed: dict[str, list[_Unclaimed]] = {}
        self._prefixes: set[str] = set()
        """Of the patterns, without the mark."""
        self._lengths: list[int] = []
        """Of the prefixes, the longest first."""

    def rename(self, name: str, alias: str) -> None:
        """Let all that was claimed by a name be claimed by an alias, which is new."""
        for named in (self._by_text, self._unclaimed):
            if name in named:
                named[alias] = named.pop(name)  # type: ignore[assignment]
        for customer, packed in self._held.items():
            held = _unpacked(packed)
            if name in held:
                self._held[customer] = _packed(
                    {alias if text == name else text: ms for text, ms in held.items()}
                )

    def prefix_of(self, subject: str) -> str:
        """Return what the longest pattern that takes a subject begins with; '' for none."""
        return next(
            (
                subject[:length]
                for length in self._lengths
                if length <= len(subject) and subject[:length] in self._prefixes
            ),
            "",
        )

    def copy(self) -> "Claims":
        """Return claims that change apart from these."""
        new = Claims()
        # Lists are never changed, but replaced: both can have the same ones.
        new._by_text = dict(self._by_text)
        new._held = dict(self._held)
        new._unclaimed = dict(self._unclaimed)
        new._prefixes = set(self._prefixes)
        new._lengths = list(self._lengths)
        return new

    def change(
        self, customer: str, from_ms: int, change: CustomerChange, *, learned_ms: int
    ) -> None:
        """Take in what a customer claims from a time on."""
        if change.subjects is UNSET:
            return
        held = _unpacked(self._held.get(customer, ()))
        changed = turn(held, change.subjects, from_ms=from_ms)
        for text in changed.given_up:
            if change.is_removed is not True:
                self._forget_unclaimed(text, customer, learned_ms=learned_ms)
            self._give_up(text, from_ms, customer, learned_ms=learned_ms)
        since_ms = change.unclaimed_from_ms
        for text in changed.taken:
            self._take(text, from_ms, customer)
            if since_ms is not UNSET and since_ms < from_ms:
                waiting = _Unclaimed(since_ms, from_ms, customer, learned_ms)
                self._unclaimed[text] = [*self._unclaimed.get(text, ()), waiting]
        self._held[customer] = _packed(changed.held)

    def _steps(self, text: str) -> list[Step]:
        """Return who claims a text, as written, from when on."""
        found = self._by_text.get(text, [])
        return [(ALWAYS, found)] if isinstance(found, str) else found

    def _take(self, text: str, from_ms: int, customer: str) -> None:
        if text.endswith(MARK) and text not in self._by_text:
            self._prefixes.add(text[: -len(MARK)])
            if len(text) - len(MARK) not in self._lengths:
                insort(self._lengths, len(text) - len(MARK), key=neg)
        before = [step for step in self._steps(text) if step[0] < from_ms]
        is_plain = from_ms == ALWAYS and not before
        self._by_text[text] = customer if is_plain else [*before, (from_ms, customer)]
        # It ends what was said before about times from then on, by whomever.
        if waiting := self._unclaimed.get(text):
            ended = (one._replace(end=min(one.end, from_ms)) for one in waiting)
            self._keep_unclaimed(text, ended)

    def _give_up(
        self, text: str, from_ms: int, customer: str, *, learned_ms: int
    ) -> None:
        """End what a customer claims; what others have of that time stays theirs."""
        steps = self._steps(text)
        theirs_ended = (
            one._replace(end=min(one.end, from_ms)) if one.customer == customer else one
            for one in self._unclaimed.get(text, ())
        )
        self._keep_unclaimed(text, theirs_ended)
        if steps[-1][1] != customer:
            return  # Somebody else has taken it already.
        cut_ms = from_ms
        if _owner_at(steps, from_ms) != customer:
            own_ms = next(ms for ms, who in steps if ms > from_ms and who == customer)
            # Until it was theirs it was another's; one that was still to come is not
            # waited for.
            cut_ms = max(from_ms, min(own_ms, learned_ms))
        self._by_text[text] = [
            *(step for step in steps if step[0] < cut_ms),
            (cut_ms, None),
            *(
                (ms, None if who == customer else who)
                for ms, who in steps
                if ms > cut_ms
            ),
        ]

    def _forget_unclaimed(self, text: str, customer: str, *, learned_ms: int) -> None:
        """Forget what was said at once before it is given up: it never was theirs.

        Not of who is taken out: they keep what they used until then.
        """
        said_before = (
            one
            for one in self._unclaimed.get(text, ())
            if one.customer != customer or one.learned_ms < learned_ms
        )
        self._keep_unclaimed(text, said_before)

    def _keep_unclaimed(self, text: str, unclaimed: Iterable[_Unclaimed]) -> None:
        if left := [one for one in unclaimed if one.start < one.end]:
            self._unclaimed[text] = left
        else:
            self._unclaimed.pop(text, None)

    def history(self, subject: str) -> list[Step]:
        """Return who pays for a subject from when on; the first entry is from 0.

        What nobody pays for goes to whoever said first that they pay for it, too.
        """
        texts, claims = self._of(subject)
        if not claims:
            return [(0, None)]
        from_ms, owner = claims[0][0]
        is_alone = len(claims) == len(claims[0]) == 1
        if is_alone and owner is not None:  # as most of many subjects are
            found: list[Step] = [(from_ms, owner)]
            if from_ms > 0:
                found.insert(0, (0, None))
        else:
            cuts = sorted({0, *(from_ms for steps in claims for from_ms, _ in steps)})
            found = _joined((at_ms, self._owner(claims, at_ms)) for at_ms in cuts)
        return self._with_unclaimed(texts, found)

    def customer_of(self, subject: str, at_ms: int) -> str | None:
        """Return who pays for a subject at a moment."""
        return next(
            owner
            for from_ms, owner in reversed(self.history(subject))
            if from_ms <= at_ms
        )

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
        return tuple(_unpacked(self._held.get(customer, ())))

    def ever_of(self, customer: str) -> list[str]:
        """Return what a customer claims or claimed at any time, as written."""
        return [
            text
            for text, found in self._by_text.items()
            if found == customer
            or (not isinstance(found, str) and any(who == customer for _, who in found))
            or any(one.customer == customer for one in self._unclaimed.get(text, ()))
        ]

    def changed_by(
        self, customer: str, texts: Iterable[str], *, from_ms: int
    ) -> list[str]:
        """Return the texts that become a customer's, or cease to be, by a new list."""
        held = _unpacked(self._held.get(customer, ()))
        changed = turn(held, texts, from_ms=from_ms)
        return [*changed.taken, *changed.given_up]

    def claimants(self, text: str) -> list[Step]:
        """Return who claims exactly this text, from when on."""
        return list(self._steps(text))

    def _of(self, subject: str) -> tuple[list[str], list[list[Step]]]:
        """Return the texts that claim a subject, the most exact first, and by whom."""
        texts: list[str] = []
        claims: list[list[Step]] = []
        if subject in self._by_text:
            texts.append(subject)
            claims.append(self._steps(subject))
        prefixes, longest = self._prefixes, len(subject)
        for length in self._lengths:
            # A prefix that is longer than the subject would be cut to it here.
            if length <= longest and (prefix := subject[:length]) in prefixes:
                texts.append(prefix + MARK)
                claims.append(self._steps(prefix + MARK))
        return texts, claims

    @staticmethod
    def _owner(claims: list[list[Step]], at_ms: int) -> str | None:
        owners = (_owner_at(steps, at_ms) for steps in claims)
        return next((owner for owner in owners if owner is not None), None)

    def _with_unclaimed(self, texts: list[str], found: list[Step]) -> list[Step]:
        unclaimed = [one for text in texts for one in self._unclaimed.get(text, ())]
        if not unclaimed:
            return found
        # Of those who said so at once, the most exact text wins: it comes first.
        unclaimed.sort(key=lambda one: one.learned_ms)
        cuts = {at_ms for at_ms, _ in found}
        cuts.update(edge for one in unclaimed for edge in (one.start, one.end))
        return _joined(
            (at_ms, _owner_at(found, at_ms) or _waiting_at(unclaimed, at_ms))
            for at_ms in sorted(cuts)
        )


def _owner_at(steps: Sequence[Step], at_ms: int) -> str | None:
    return next((owner for from_ms, owner in reversed(steps) if from_ms <= at_ms), None)


def _waiting_at(unclaimed: Iterable[_Unclaimed], at_ms: int) -> str | None:
    return next(
        (one.customer for one in unclaimed if one.start <= at_ms < one.end), None
    )


def _joined(steps: Iterable[Step]) -> list[Step]:
    found: list[Step] = []
    for at_ms, owner in steps:
        if not found or found[-1][1] != owner:
            found.append((at_ms, owner))
    return found


def name_ranges(texts: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """Return between which names, both included, all are that claims are about."""
    return tuple(
        (text[: -len(MARK)], text[: -len(MARK)] + LAST_CHARACTER)
        if text.endswith(MARK)
        else (text, text)
        for text in texts
    )
