"""Who pays for a subject at a time: every step that was said, asked from the last back."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

FOREVER = 2**62


class Said(NamedTuple):
    """A text, such as `acme_*`, was taken or given up from a time on."""

    text: str
    who: str
    from_ms: int
    is_taken: bool
    since_ms: int
    """From when on they also pay for what nobody paid for."""
    learned_ms: int
    is_leaving: bool


@dataclass
class Owners:
    """Everything that was said of subjects, in order."""

    said: list[Said] = field(default_factory=list[Said])
    lists: dict[str, dict[str, int]] = field(default_factory=dict[str, dict[str, int]])
    """By customer: what they have, and from when on."""

    def say(
        self,
        who: str,
        texts: Sequence[str],
        *,
        from_ms: int,
        since_ms: int,
        learned_ms: int,
    ) -> None:
        """Note what a customer has from a time on, all of it."""
        before = self.lists.get(who, {})
        self.lists[who] = {
            text: min(from_ms, before.get(text, from_ms)) for text in texts
        }
        gone = [text for text in before if text not in texts]
        new = [text for text in texts if before.get(text, FOREVER) > from_ms]
        for text in (*gone, *new):
            self.said.append(
                Said(text, who, from_ms, text in new, since_ms, learned_ms, not texts)
            )

    def of(self, texts: Iterable[str], at_ms: int) -> str | None:
        """Return who pays by the first of these texts that somebody pays for."""
        rows = [[one for one in self.said if one.text == text] for text in texts]
        for one in rows:
            if (owner := _strong(one, at_ms)) is not None:
                return owner
        waiting = [
            (taken.learned_ms, rank, taken.who)
            for rank, one in enumerate(rows)
            for i, taken in enumerate(one)
            if taken.is_taken and _waits(taken, one[i + 1 :], at_ms)
        ]
        return min(waiting)[2] if waiting else None


def _strong(rows: Sequence[Said], at_ms: int) -> str | None:
    """Return whose a text is, by who said it last of this time."""
    if not rows:
        return None
    last, before = rows[-1], rows[:-1]
    if last.is_taken:
        return last.who if at_ms >= last.from_ms else _strong(before, at_ms)
    owner = _strong(before, at_ms)
    if _strong(before, FOREVER) != last.who or at_ms < last.from_ms:
        return owner
    is_past = at_ms >= last.learned_ms  # what was to come is not waited for
    own = _strong(before, last.from_ms) == last.who
    if owner == last.who:
        return None
    return (
        None if is_past and not own and _is_before_own(before, last, at_ms) else owner
    )


def _is_before_own(rows: Sequence[Said], last: Said, at_ms: int) -> bool:
    """Say whether a customer had nothing yet, of what they give up, at a time."""
    times = {row.from_ms for row in rows if last.from_ms < row.from_ms <= at_ms}
    return all(_strong(rows, time) != last.who for time in times)


def _waits(taken: Said, later: Iterable[Said], at_ms: int) -> bool:
    """Say whether a claim also is for a time of before it."""
    end = taken.from_ms
    for row in later:
        if row.is_taken:
            end = min(end, row.from_ms)
        elif row.who == taken.who:
            at_once = row.learned_ms == taken.learned_ms and not row.is_leaving
            end = 0 if at_once else min(end, row.from_ms)
    return taken.since_ms <= at_ms < end
