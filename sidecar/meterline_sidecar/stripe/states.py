"""The states of an outbox row: what each means, and what a person does about it.

The one table of them. Pages, commands, ``/status`` and ``docs/stripe.md`` are made of
it, and so are the questions that reporting asks of a state.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Final

from msgspec import Struct

from meterline_sidecar.store.outbox import State


class RowState(Struct, frozen=True, kw_only=True):
    """One state of a row."""

    means: str
    """What it says about the row, without a full stop."""
    advice: str | None = None
    """What a person does about it; ``None``: nothing, and it is no problem."""
    is_on_the_way: bool = False
    """Whether a request with it is out, or will be without anybody's help."""
    is_waiting: bool = False
    """Whether it is still to be sent, now or once somebody has helped."""
    has_failed: bool = False
    """Whether Stripe does not count it, and will not unless somebody acts."""
    may_be_retried: bool = False
    """Whether a person may let it go again without a risk of counting twice."""


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
    "unresolved": RowState(
        means="sent without learning the outcome: Stripe may or may not count it",
        advice="`meterline reconcile` settles it from Stripe's own totals",
    ),
    "parked": RowState(
        means="its customer has no stripe_customer, or Stripe no active meter of that name"
        " that counts as ours does",
        advice="add `stripe_customer` to the customer and restart, or make the meter"
        " with `meterline stripe apply`, which says what is wrong with one that there"
        " is; the rows then go out by themselves",
        is_waiting=True,
        may_be_retried=True,
    ),
    "dead": RowState(
        means="refused by Stripe, or dropped by a person",
        advice="fix the cause, then `meterline outbox retry ROW`",
        has_failed=True,
        may_be_retried=True,
    ),
    "expired": RowState(
        means="older than 34 days before it could be sent; Stripe takes none older"
        " than 35",
        advice="bill it by hand: it is never given another date",
        has_failed=True,
    ),
    "rejected": RowState(
        means="accepted by Stripe and dropped later, as a webhook said",
        advice="fix the cause, then `meterline outbox retry ROW`",
        has_failed=True,
        may_be_retried=True,
    ),
}


def _those(has: Callable[[RowState], bool]) -> frozenset[State]:
    return frozenset(name for name, state in ROW_STATES.items() if has(state))


ON_THE_WAY: Final = _those(lambda state: state.is_on_the_way)
WAITING: Final = _those(lambda state: state.is_waiting)
FAILED: Final = _those(lambda state: state.has_failed)
RETRYABLE: Final = _those(lambda state: state.may_be_retried)
PROBLEMS: Final = _those(lambda state: state.advice is not None)


def problems(counts: Mapping[State, int]) -> Iterator[str]:
    """Yield what ``/status`` says of an outbox with so many rows in each state."""
    for name, state in ROW_STATES.items():
        if state.advice is not None and counts[name]:
            yield f"{counts[name]} outbox row(s) {name}: {state.means}; {state.advice}"


def markdown_table() -> str:
    """Return the table of the documentation."""
    rows = ("| state | means | what to do |", "|---|---|---|")
    states = (
        f"| `{name}` | {state.means} | {state.advice or 'nothing'} |"
        for name, state in ROW_STATES.items()
    )
    return "\n".join((*rows, *states)) + "\n"
