"""How reporting to Stripe fares: counts, the last comparison, and problems in words."""

from collections.abc import Iterator, Sequence
from typing import Final

from msgspec import Struct

from meterline_pricing import Calendar
from meterline_sidecar.clock import format_time_ms
from meterline_sidecar.store import outbox, reconciliation, stripe_events
from meterline_sidecar.store import outbox_sending as sending
from meterline_sidecar.store.outbox import State
from meterline_sidecar.stripe import states
from meterline_sidecar.stripe.comparison import ByHand
from meterline_sidecar.stripe.copy_guard import Suspicion, read_suspicion
from meterline_sidecar.stripe.reconcile import SETTLE_MS
from meterline_sidecar.stripe.service import StripeService

CLOCK_AHEAD_S_MAX: Final = 60
BY_HAND_SHOWN: Final = 3
FAILED_ATTEMPTS_MIN: Final = 6
"""A row that failed so often, in about a minute, is named in ``/status``."""


class ReconciliationStatus(Struct, frozen=True, kw_only=True):
    """The last comparison with Stripe's own totals."""

    checked_ms: int | None
    """``None`` before the first."""
    age_s: int | None
    every_s: int
    """How often it happens by itself; 0 for never."""
    different: int
    """Customers and meters, by month, that did not match."""


class StripeHealth(Struct, frozen=True, kw_only=True):
    """How reporting to Stripe fares."""

    counts: dict[State, int]
    """How many rows of the outbox are in each state."""
    reconciliation: ReconciliationStatus
    problems: tuple[str, ...]
    """What a person should look at, in words."""


async def read_health(stripe: StripeService) -> StripeHealth:
    """Return how reporting fares, as of one snapshot of the ledger."""
    this = Calendar().at(stripe.clock.now_ms())
    by_hand = await stripe.unbilled.find(
        start_ms=Calendar().at(this.start - 1).start, end_ms=this.end
    )
    async with stripe.database.reading() as tx:
        counts = await outbox.counts(tx)
        checked_ms, n_different = await reconciliation.last(tx)
        n_unexplained = await stripe_events.unexplained(tx)
        n_failing, why = await sending.failing(tx, attempts_min=FAILED_ATTEMPTS_MIN)
        suspicion = await read_suspicion(tx)
    age_ms = None if checked_ms is None else stripe.clock.now_ms() - checked_ms
    return StripeHealth(
        counts=counts,
        reconciliation=ReconciliationStatus(
            checked_ms=checked_ms,
            age_s=None if age_ms is None else age_ms // 1_000,
            every_s=stripe.reconcile_every_ms // 1_000,
            different=n_different,
        ),
        problems=(
            *_service_problems(stripe),
            *_ledger_problems(
                counts, n_different=n_different, n_unexplained=n_unexplained
            ),
            *([_failing(n_failing, why)] if n_failing else []),
            *([_by_hand(by_hand)] if by_hand else []),
            *([_copy(suspicion)] if suspicion and counts["unresolved"] else []),
        ),
    )


def _service_problems(stripe: StripeService) -> Iterator[str]:
    """Yield what keeps reports from being sent, or makes them wrong."""
    if stripe.reporter is not None and stripe.reporter.problem is not None:
        yield f"nothing is sent to Stripe: {stripe.reporter.problem}"
    yield from stripe.meter_problems
    if abs(stripe.api.clock_ahead_s) > CLOCK_AHEAD_S_MAX:
        yield (
            f"this machine's clock is {stripe.api.clock_ahead_s} s ahead of Stripe's:"
            " usage falls into wrong hours; set it right"
        )


def _ledger_problems(
    counts: dict[State, int], *, n_different: int, n_unexplained: int
) -> Iterator[str]:
    """Yield what stands in the ledger and needs a person."""
    yield from states.problems(counts)
    if n_different:
        yield (
            f"Stripe's totals differ from the ledger's for {n_different}"
            " customer(s) and meter(s): see `meterline reconcile`"
        )
    if n_unexplained:
        yield (
            f"Stripe dropped {n_unexplained} meter event(s) without saying which:"
            " `meterline reconcile` finds them"
        )


def _by_hand(found: Sequence[ByHand]) -> str:
    lines = [
        f"{line.quantity} {line.event_name} of {line.customer or 'nobody'}"
        for line in found[:BY_HAND_SHOWN]
    ]
    if len(found) > BY_HAND_SHOWN:
        lines.append(f"{len(found) - BY_HAND_SHOWN} more")
    return (
        f"Stripe will not bill {', '.join(lines)}: `meterline reconcile` says why and"
        " what it comes to; bill it by hand, or say who pays for it"
    )


def _copy(suspicion: Suspicion) -> str:
    return (
        f"this ledger may be a copy ({suspicion.reason}): what another one may have told"
        " is held until `meterline reconcile` finds it out, not before"
        f" {format_time_ms(suspicion.told_ms + SETTLE_MS)}"
    )


def _failing(n_rows: int, why: str | None) -> str:
    return f"{n_rows} outbox row(s) keep failing: {why}"
