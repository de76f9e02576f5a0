"""The states of an outbox row: what each means, and what a person does about it.

The one table of them. Pages, commands, ``/status`` and ``docs/stripe.md`` are made of
it, and so are the questions that reporting asks of a state.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Final

from msgspec import Struct

from meterline_sidecar.problems.catalogue import CATALOGUE, found
from meterline_sidecar.problems.problem import Code, Found, n_of
from meterline_sidecar.store.outbox import State


class RowState(Struct, frozen=True, kw_only=True):
    """One state of a row."""

    means: str
    """What it says about the row, without a full stop."""
    problem: Code | None = None
    """Under which code rows of this state are a problem; ``None``: they are none."""
    is_on_the_way: bool = False
    """Whether a request with it is out, or will be without anybody's help."""
    is_waiting: bool = False
    """Whether it is still to be sent, now or once somebody has helped."""
    has_failed: bool = False
    """Whether Stripe does not count it, and will not unless somebody acts."""
    may_be_retried: bool = False
    """Whether a person may let it go again without a risk of counting twice."""

    @property
    def advice(self) -> str | None:
        """What a person does about it; ``None``: nothing."""
        return None if self.problem is None else CATALOGUE[self.problem].action


def _problem(
    code: Code,
    *,
    is_waiting: bool = False,
    has_failed: bool = False,
    may_be_retried: bool = False,
) -> RowState:
    """Return a state that needs a person; the list of problems says what it means."""
    return RowState(
        means=CATALOGUE[code].means,
        problem=code,
        is_waiting=is_waiting,
        has_failed=has_failed,
        may_be_retried=may_be_retried,
    )


ROW_STATES: Final[Mapping[State, RowState]] = {
    "pending": RowState(
        means="waiting to be sent", is_on_the_way=True, is_waiting=True
    ),
    "sending": RowState(
        means="a request is out, or was when the process died",
        is_on_the_way=True,
        is_waiting=True,
    ),
    "confirmed": RowState(means="Stripe has it and counts it once"),
    "unresolved": _problem("outbox_unresolved"),
    "parked": _problem("outbox_parked", is_waiting=True, may_be_retried=True),
    "dead": _problem("outbox_dead", has_failed=True, may_be_retried=True),
    "expired": _problem("outbox_expired", has_failed=True),
    "rejected": _problem("outbox_rejected", has_failed=True, may_be_retried=True),
}


def _those(has: Callable[[RowState], bool]) -> frozenset[State]:
    return frozenset(name for name, state in ROW_STATES.items() if has(state))


ON_THE_WAY: Final = _those(lambda state: state.is_on_the_way)
WAITING: Final = _those(lambda state: state.is_waiting)
FAILED: Final = _those(lambda state: state.has_failed)
RETRYABLE: Final = _those(lambda state: state.may_be_retried)
PROBLEMS: Final = _those(lambda state: state.problem is not None)


def problems(counts: Mapping[State, int]) -> Iterator[Found]:
    """Yield what is wrong with an outbox that has so many rows in each state."""
    for name, state in ROW_STATES.items():
        if state.problem is not None and counts[name]:
            rows = n_of(counts[name], "outbox row")
            yield found(state.problem, f"{rows} {name}: {state.means}")


def markdown_table() -> str:
    """Return the table of the documentation."""
    rows = ("| state | means | what to do |", "|---|---|---|")
    states = (
        f"| `{name}` | {state.means} | {state.advice or 'nothing'} |"
        for name, state in ROW_STATES.items()
    )
    return "\n".join((*rows, *states)) + "\n"
