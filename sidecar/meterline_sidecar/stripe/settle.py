"""What an answer of Stripe's means for the row that was sent."""

from typing import Final, assert_never

from msgspec.structs import replace

from meterline_sidecar.store.outbox import OutboxRow, State
from meterline_sidecar.store.outbox_sending import Settlement
from meterline_sidecar.stripe.meter_events import (
    Busy,
    Delivered,
    Early,
    Mismatch,
    NoMeter,
    Outcome,
    Rejected,
    Unauthorized,
    Unknown,
    Unreachable,
)
from meterline_sidecar.stripe.pacing import Backoff

REASON_CHARS_MAX: Final = 500
OF_A_COPY: Final = "Stripe has it already: another copy of this ledger told it"


def settlement_of(
    row: OutboxRow, outcome: Outcome, *, now_ms: int, wall_ms: int, backoff: Backoff
) -> Settlement:
    """Return what becomes of a row that was sent.

    A refusal settles a row only where no earlier send of it is in doubt: else the
    event may be counted after all, and only Stripe's own totals can tell.
    """
    was_in_doubt = row.doubt_ms is not None
    reason = None if isinstance(outcome, Delivered) else shorten(outcome.reason)
    later = Settlement(
        row.id,
        "pending",
        reason,
        clears_doubt=not was_in_doubt,
        next_ms=wall_ms + int(backoff.wait_s(row.attempts) * 1000),
    )
    match outcome:
        case Delivered(how="duplicate") if tells_of_a_copy(row, outcome):
            # Stripe has an event with this identifier, and maybe another value.
            return replace(later, state="unresolved", reason=OF_A_COPY, next_ms=0)
        case Delivered(request_id, how):
            return Settlement(
                row.id,
                "confirmed",
                None if how == "accepted" else how,
                request_id,
                clears_doubt=True,
                settled_ms=now_ms,
            )
        case Unknown():
            return replace(
                later, needs_new_key=outcome.needs_new_key, clears_doubt=False
            )
        case Unreachable() | Unauthorized():
            return later
        case Busy():
            # The rate is what slows down; this row did nothing wrong.
            wait_s = backoff.wait_s(min(row.attempts, 1))
            return replace(later, next_ms=wall_ms + int(wait_s * 1000))
        case NoMeter():
            # Under the old key, Stripe would repeat its refusal for a day.
            return replace(later, state="parked", needs_new_key=True, next_ms=0)
        case Early():
            # This machine's clock is ahead, and may be set right at any time.
            return replace(later, needs_new_key=True)
        case Rejected():
            state: State = "expired" if outcome.is_too_old else "dead"
            state = "unresolved" if was_in_doubt else state
            return replace(
                later, state=state, needs_new_key=True, settled_ms=now_ms, next_ms=0
            )
        case Mismatch():
            return replace(later, state="unresolved", settled_ms=now_ms, next_ms=0)
        case _:
            assert_never(outcome)


def tells_of_a_copy(row: OutboxRow, outcome: Outcome) -> bool:
    """Say whether Stripe knew a row that this ledger had never sent: another one did.

    Args:
        row: as it was before it was sent.
    """
    is_first = row.attempts == 0 and row.doubt_ms is None
    match outcome:
        case Delivered(how="duplicate" | "replayed") | Mismatch():
            return is_first
        case _:
            return False


def shorten(reason: str) -> str:
    """Return the beginning of a text that a peer wrote."""
    return reason[:REASON_CHARS_MAX]
