"""What can be wrong with a price list, and how it is told: all of it at once."""

from collections.abc import Iterable
from difflib import get_close_matches

from msgspec import Struct
from msgspec.structs import replace


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
    """Prices or usage that can not be rated; ``problems`` says all that is wrong."""

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


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the one of ``known`` that a person who wrote ``name`` probably meant.

    ``None`` when nothing is near.
    """
    by_lower = {candidate.lower(): candidate for candidate in known}
    found = get_close_matches(name.lower(), by_lower, n=1, cutoff=0.6)
    return by_lower[found[0]] if found else None


def unknown(what: str, name: str, known: Iterable[str]) -> str:
    """Return the message for a name that is not one of ``known``.

    ``unknown model `gradated`; did you mean `graduated`?``, or all that are known
    when none is near.
    """
    known = sorted(known)
    if near := nearest(name, known):
        return f"unknown {what} `{name}`; did you mean `{near}`?"
    choices = ", ".join(known) if known else "none"
    return f"unknown {what} `{name}`; known are: {choices}"
