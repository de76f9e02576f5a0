"""The list of all problems, and how one that was found is said."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from meterline_sidecar.problems.money import MONEY
from meterline_sidecar.problems.problem import SEVERITIES, Code, Found, Problem
from meterline_sidecar.problems.running import RUNNING

CATALOGUE: Final[Mapping[Code, Problem]] = {**RUNNING, **MONEY}
"""Every problem by its code, in the order in which a person should look at them."""
ORDER: Final = {code: place for place, code in enumerate(CATALOGUE)}
INTRO: Final = """\
# Problems

What can be wrong, in one list. `meterline status`, `meterline doctor`, `/status`, `/metrics` and the dashboard name
each problem by its code, with what was found and what to do about it.

| severity | means |
|---|---|
| `error` | something stands still or is wrong until a person acts |
| `warning` | a person should act; nothing stands still |
| `info` | worth knowing; it needs nobody, or ends by itself |

`meterline doctor` exits with 3 while there is an error or a warning. `meterline_problems` in `/metrics` has a series for
each code.

This page is generated from the code by `make docs`.
"""
PARTS: Final[tuple[tuple[str, Mapping[Code, Problem]], ...]] = (
    ("Events, ledger and host", RUNNING),
    ("Usage, invoices and Stripe", MONEY),
)


def found(code: Code, text: str, *, action: str | None = None) -> Found:
    """Return a problem that there is.

    Args:
        text: what was found, with numbers and names.
        action: what to do, where that can be said more exactly than in the list.
    """
    problem = CATALOGUE[code]
    return Found(
        code=code,
        severity=problem.severity,
        text=text,
        action=problem.action if action is None else action,
    )


def in_order(problems: Iterable[Found]) -> tuple[Found, ...]:
    """Return problems with the worst first, each severity in the list's order."""
    return tuple(
        sorted(
            problems,
            key=lambda one: (-SEVERITIES.index(one.severity), ORDER[one.code]),
        )
    )


def markdown_page() -> str:
    """Return the page of the documentation."""
    return INTRO + "".join(_sections())


def _sections() -> Iterator[str]:
    for heading, problems in PARTS:
        yield f"\n## {heading}\n"
        for code, problem in problems.items():
            yield (
                f"\n### `{code}`\n\n**{problem.title}** ({problem.severity})."
                f" {_sentence(problem.means)}\n\n"
                f"*What to do:* {problem.action}.\n"
            )


def _sentence(text: str) -> str:
    # A name in code keeps its letters.
    return f"{text[0].upper()}{text[1:]}."
