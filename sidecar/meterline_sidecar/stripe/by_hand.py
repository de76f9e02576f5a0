"""What a person can do about an outbox row, and the words for why not."""

from collections.abc import Mapping
from typing import Final

from meterline_sidecar.clock import Clock
from meterline_sidecar.errors import MeterlineError
from meterline_sidecar.store import outbox
from meterline_sidecar.store import outbox_sending as sending
from meterline_sidecar.store.outbox import OutboxRow
from meterline_sidecar.store.port import Database, Tx
from meterline_sidecar.stripe.meter_events import AGE_MS_MAX
from meterline_sidecar.stripe.replace import replace_row
from meterline_sidecar.stripe.states import WAITING

REASON_CHARS_MAX: Final = 200


class NotPossible(MeterlineError):
    """The row is in a state in which that would lose or double usage."""


class NoSuchRow(MeterlineError):
    """There is no row with this number."""


class RowsByHand:
    """Shows, retries and drops rows when a person asks for it.

    Args:
        customers: every customer's Stripe id, where the configuration has one.
    """

    def __init__(
        self, database: Database, *, customers: Mapping[str, str | None], clock: Clock
    ) -> None:
        self._database = database
        self._customers = customers  # as they are when somebody asks
        self._clock = clock

    async def show(self, row_id: int) -> OutboxRow:
        """Return a row.

        Raises:
            NoSuchRow: there is none.
        """
        async with self._database.reading() as tx:
            return await _get(tx, row_id)

    async def retry(self, row_id: int, *, is_certain: bool = False) -> OutboxRow:
        """Let a row go again, and return it, or the one that now stands for it.

        Args:
            is_certain: the person knows that Stripe does not count it.

        Raises:
            NoSuchRow: there is none.
            NotPossible: the usage would count twice, or cannot count any more.
        """
        async with self._database.transaction() as tx:
            row = await _get(tx, row_id)
            if row.replaced_by is not None:
                raise NotPossible(f"row {row_id} was sent again as {row.replaced_by}")
            if row.hour_ms < self._clock.now_ms() - AGE_MS_MAX:
                raise NotPossible(
                    f"row {row_id} is older than 34 days: Stripe no longer accepts it; "
                    f"bill it by hand"
                )
            later = await outbox.latest_of_hour(tx, row)
            if row.mode == "set" and later != row.id and row.state not in WAITING:
                raise NotPossible(
                    f"row {row_id} was followed by row {later}, which tells the whole "
                    "hour again: retry that one"
                )
            return await _get(tx, await self._retry(tx, row, is_certain=is_certain))

    async def _retry(self, tx: Tx, row: OutboxRow, *, is_certain: bool) -> int:
        stripe_customer = self._customers.get(row.customer) or row.stripe_customer
        match row.state:
            case "sending":
                raise NotPossible(f"row {row.id} is being sent just now")
            case "parked" if stripe_customer is None:
                raise NotPossible(
                    f"customer {row.customer} needs a stripe_customer first"
                )
            case "pending" | "parked" | "expired" | "dead" if not _is_in_doubt(row):
                await sending.free(tx, row.id)
                return row.id
            case "confirmed" | "unresolved" | "dead" | "expired" if not is_certain:
                raise NotPossible(
                    f"row {row.id} may be counted at Stripe already: run `meterline "
                    "reconcile` first, or retry with --certain if you know it is not"
                )
            case "pending" | "parked":
                await sending.free(tx, row.id)
                return row.id
            case _:
                return await replace_row(
                    tx,
                    row,
                    stripe_customer=stripe_customer,
                    now_ms=self._clock.now_ms(),
                    reason=f"{row.reason or row.state}; sent again by a person",
                )

    async def drop(self, row_id: int, *, reason: str) -> OutboxRow:
        """Give a row up: its usage is not told to Stripe, and shows as dead.

        Raises:
            NoSuchRow: there is none.
            NotPossible: it is counted, or being sent.
        """
        async with self._database.transaction() as tx:
            row = await _get(tx, row_id)
            if row.state == "sending":
                raise NotPossible(f"row {row_id} is being sent just now: try again")
            if row.state == "confirmed":
                raise NotPossible(
                    f"row {row_id} is confirmed: Stripe counts it; what it says is "
                    "corrected by the usage of its hour"
                )
            await sending.give_up(
                tx,
                row_id,
                reason=f"dropped by a person: {reason}"[:REASON_CHARS_MAX],
                now_ms=self._clock.now_ms(),
            )
            return await _get(tx, row_id)


def _is_in_doubt(row: OutboxRow) -> bool:
    return row.doubt_ms is not None


async def _get(tx: Tx, row_id: int) -> OutboxRow:
    row = await outbox.get(tx, row_id)
    if row is None:
        raise NoSuchRow(
            f"no row {row_id} in the outbox; `meterline outbox list` has those there are"
        )
    return row
