"""How reporting to Stripe fares: counts, the last comparison, and what is wrong."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from msgspec import Struct

from meterline_pricing import Calendar
from meterline_sidecar.clock import format_time_ms
from meterline_sidecar.problems.catalogue import found
from meterline_sidecar.problems.problem import Code, Found, n_of, such_as
from meterline_sidecar.store import outbox, reconciliation, stripe_calls, stripe_events
from meterline_sidecar.store import outbox_sending as sending
from meterline_sidecar.store.outbox import State
from meterline_sidecar.store.stripe_calls import CallRow
from meterline_sidecar.stripe import states
from meterline_sidecar.stripe.comparison import ByHand
from meterline_sidecar.stripe.copy_guard import Suspicion, read_suspicion
from meterline_sidecar.stripe.invoice_check import compared_invoices
from meterline_sidecar.stripe.reconcile import SETTLE_MS
from meterline_sidecar.stripe.service import StripeService

CLOCK_AHEAD_S_MAX: Final = 60
BY_HAND_SHOWN: Final = 3
HELD_SHOWN: Final = 3
HELD_LOOKED_AT: Final = 1_000
FAILED_ATTEMPTS_MIN: Final = 6
"""A row that failed so often, in about a minute, is named in ``/status``."""

HIDES_OWNER: Final = (
    "Stripe does not say which account this key is of, so a key of another account of the"
    " same mode would not be noticed; a key that may read the account says so"
)
HIDES_REFUNDS: Final = (
    "a refund or a lost dispute whose webhook never came is not found, as this key may not"
    " read charges, refunds, disputes and invoice payments"
)


class ReconciliationStatus(Struct, frozen=True, kw_only=True):
    """The last comparison with Stripe's own totals."""

    checked_ms: int | None
    """``None`` before the first."""
    age_s: int | None
    every_s: int
    """How often it happens by itself; 0 for never."""
    different: int
    """Customers and meters, by month, that did not match."""
    invoices_checked_ms: int | None = None
    """``None`` before the first comparison of invoices."""
    invoices_different: int = 0


class StripeHealth(Struct, frozen=True, kw_only=True):
    """How reporting to Stripe fares."""

    counts: dict[State, int]
    """How many rows of the outbox are in each state."""
    reconciliation: ReconciliationStatus
    problems: tuple[Found, ...]
    """What a person should look at."""


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
        held = await stripe_calls.held_calls(tx, limit=HELD_LOOKED_AT)
        invoices = await compared_invoices(tx)
        waiting: list[tuple[str, CallRow]] = []
        if stripe.invoicer is not None:
            waiting = await stripe.invoicer.failing(tx, limit=HELD_LOOKED_AT)
    age_ms = None if checked_ms is None else stripe.clock.now_ms() - checked_ms
    return StripeHealth(
        counts=counts,
        reconciliation=ReconciliationStatus(
            checked_ms=checked_ms,
            age_s=None if age_ms is None else age_ms // 1_000,
            every_s=stripe.reconcile_every_ms // 1_000,
            different=n_different,
            invoices_checked_ms=invoices.checked_ms,
            invoices_different=len(invoices.different),
        ),
        problems=(
            *_service_problems(stripe),
            *_ledger_problems(
                counts, n_different=n_different, n_unexplained=n_unexplained
            ),
            *([_failing(n_failing, why)] if n_failing else []),
            *([_by_hand(by_hand)] if by_hand else []),
            *([_held("stripe_invoice_held", held)] if held else []),
            *([_held("stripe_invoice_waiting", waiting)] if waiting else []),
            *([_other(invoices.different)] if invoices.different else []),
            *([_copy(suspicion)] if suspicion and counts["unresolved"] else []),
        ),
    )


def _service_problems(stripe: StripeService) -> Iterator[Found]:
    """Yield what keeps reports from being sent, or makes them wrong."""
    if stripe.reporter is not None and stripe.reporter.problem is not None:
        why = stripe.reporter.problem
        yield found("stripe_not_sending", f"nothing is sent to Stripe: {why}")
    if stripe.api.hides_owner:
        yield found("stripe_may_not_read", HIDES_OWNER)
    if stripe.invoice_reconciler.may_not_read is not None:
        why = stripe.invoice_reconciler.may_not_read
        yield found("stripe_may_not_read", f"{HIDES_REFUNDS}: {why}")
    for text in stripe.meter_problems:
        yield found("stripe_meter", text)
    ahead_s = stripe.api.clock_ahead_s
    if abs(ahead_s) > CLOCK_AHEAD_S_MAX:
        yield found(
            "stripe_clock",
            f"this machine's clock is {abs(ahead_s)} s"
            f" {'ahead of' if ahead_s > 0 else 'behind'} Stripe's",
        )


def _ledger_problems(
    counts: dict[State, int], *, n_different: int, n_unexplained: int
) -> Iterator[Found]:
    """Yield what stands in the ledger and needs a person."""
    yield from states.problems(counts)
    if n_different:
        series = n_of(n_different, "pair")
        yield found(
            "stripe_differs",
            "Stripe's totals differ from the ledger's for"
            f" {series} of a customer and a meter",
        )
    if n_unexplained:
        dropped = n_of(n_unexplained, "meter event")
        yield found("stripe_dropped", f"Stripe dropped {dropped} without saying which")


def _by_hand(lines: Sequence[ByHand]) -> Found:
    shown = [
        f"{line.quantity:,} {line.event_name} of {format_time_ms(line.month)[:7]} "
        + (f"for {line.customer}" if line.customer else "that no customer pays for")
        for line in lines[:BY_HAND_SHOWN]
    ]
    if len(lines) > BY_HAND_SHOWN:
        shown.append(f"{len(lines) - BY_HAND_SHOWN:,} more")
    return found("stripe_by_hand", f"Stripe will not bill {', '.join(shown)}")


def _held(code: Code, calls: Sequence[tuple[str, CallRow]]) -> Found:
    named = [f"{number}: {call.reason}" for number, call in calls]
    return found(code, such_as(named[:HELD_SHOWN], n_all=len(named)))


def _other(different: Mapping[int, tuple[str, str]]) -> Found:
    named = [f"{number}: {text}" for number, text in different.values()]
    text = such_as(named[:HELD_SHOWN], n_all=len(named))
    return found("stripe_invoice_differs", text)


def _copy(suspicion: Suspicion) -> Found:
    return found(
        "stripe_copy",
        f"this ledger may be a copy ({suspicion.reason}): what another one may have told"
        f" is held, at least until {format_time_ms(suspicion.told_ms + SETTLE_MS)}",
    )


def _failing(n_rows: int, why: str | None) -> Found:
    rows = n_of(n_rows, "outbox row")
    return found("outbox_failing", f"{rows} keep{'s' * (n_rows == 1)} failing: {why}")
