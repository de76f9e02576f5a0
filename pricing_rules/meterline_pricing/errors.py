"""What can be wrong with a price list, and how it is told: all of it at once."""

from collections.abc import Iterable
from itertools import islice
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from meterline_pricing.meant import EXPECTED, meant_by

CHOICES_MAX: Final = 30  # more than that are no answer, but a page of names
CHOICES_SHOWN: Final = 5
NAME_CHARS_MAX: Final = 100  # names that people write have fewer
KNOWN_MAX: Final = 2_000  # compared with one name: 30 ms


class Problem(Struct, frozen=True):
    """One thing that is wrong, and where."""

    message: str
    """What is wrong and what was expected, in one phrase."""
    key: str = ""
    """The path to the value, such as ``plan[0].price[1].tiers[2].up_to``."""
    line: int | None = None
    """The line in the file, from 1."""
    file: str | None = None

    def __str__(self) -> str:
        """Return ``pricing.toml:12: plan[0].curency: unknown key ...``."""
        place = f"{self.file}:{self.line}" if self.file and self.line else self.file
        return ": ".join(part for part in (place, self.key, self.message) if part)


class PricingError(ValueError):
    """Prices or usage that cannot be rated; ``problems`` says all that is wrong."""

    def __init__(self, problems: str | Problem | Iterable[Problem]) -> None:
        if isinstance(problems, str):
            problems = Problem(problems)
        if isinstance(problems, Problem):
            problems = (problems,)
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))

    def within(self, key: str) -> "PricingError":
        """Return the same error, of the same class, with ``key`` before every key."""
        problems = [
            replace(problem, key=_joined(key, problem.key)) for problem in self.problems
        ]
        return type(self)(problems)


class NotFound(PricingError):
    """A plan, a price or a currency that nobody defined."""


def _joined(outer: str, inner: str) -> str:
    if not outer or not inner:
        return outer or inner
    return f"{outer}{inner}" if inner.startswith("[") else f"{outer}.{inner}"


def nearest(
    name: str, known: Iterable[str], *, typos_max: int | None = None
) -> str | None:
    """Return the one of ``known`` that a person who wrote ``name`` probably meant.

    ``None`` when more than a third of the characters differ, and for a name that nobody
    wrote by hand. Of many that are known, the first are looked at.

    Args:
        typos_max: how many characters may differ, in place of a third.
    """
    best: tuple[int, int, str] | None = None
    if len(name) > NAME_CHARS_MAX:
        return None
    allowed = max(1, len(name) // 3) if typos_max is None else typos_max
    for candidate in islice(known, KNOWN_MAX):
        if abs(len(name) - len(candidate)) > allowed:
            continue  # each of these is a typo
        distance = _typos(name.lower(), candidate.lower())
        rank = (distance, abs(len(name) - len(candidate)), candidate)
        if distance <= allowed and (best is None or rank < best):
            best = rank
    return best[2] if best else None


def _typos(one: str, other: str) -> int:
    """Return by how many typos two words differ.

    A typo is a character too many, too few, wrong, or changed with its neighbour.
    """
    before_last: list[int] = []
    last = list(range(len(other) + 1))
    for i, a in enumerate(one):
        row = [i + 1]
        for j, b in enumerate(other):
            cost = min(last[j + 1] + 1, row[j] + 1, last[j] + (a != b))
            if i and j and a == other[j - 1] and one[i - 1] == b:
                cost = min(cost, before_last[j - 1] + 1)
            row.append(cost)
        before_last, last = last, row
    return last[-1]


def _ending_with(name: str, known: Iterable[str]) -> str | None:
    """Return the one whose last part it is: ``Europe/Berlin`` for ``Berlin``."""
    end = f"/{name}".lower().replace(" ", "_")
    found = [other for other in known if other.lower().endswith(end)]
    return found[0] if len(found) == 1 else None


def unknown(what: str, name: str, known: Iterable[str]) -> str:
    """Return the message for a name that is not one of ``known``.

    ``unknown model `gradated`; did you mean `graduated`?``, or all that are known
    when none is near. Of more than ``CHOICES_MAX``, only the least unlike are named.
    """
    known = sorted(known)
    if len(name) > NAME_CHARS_MAX:
        return f"unknown {what} `{name[:NAME_CHARS_MAX]}...` of {len(name)} characters"
    meant = meant_by(what, name)
    if meant not in known:
        meant = nearest(name, known) or _ending_with(name, known)
    if meant is not None:
        return f"unknown {what} `{name}`; did you mean `{meant}`?"
    if len(known) > CHOICES_MAX and what in EXPECTED:
        return f"unknown {what} `{name}`; {EXPECTED[what]}"
    if len(known) > CHOICES_MAX:
        likest = sorted(
            known[:KNOWN_MAX], key=lambda other: _typos(name.lower(), other.lower())
        )
        choices = ", ".join(likest[:CHOICES_SHOWN])
        return f"unknown {what} `{name}`; the nearest of {len(known)} are: {choices}"
    if not known:
        return f"unknown {what} `{name}`; there are none"
    return f"unknown {what} `{name}`; known are: {', '.join(known)}"
