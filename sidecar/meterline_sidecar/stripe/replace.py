"""Says again, under a new identifier, what Stripe does not count under the old one."""

from meterline_sidecar.store import outbox
from meterline_sidecar.store.outbox import NewRow, OutboxRow
from meterline_sidecar.store.port import Tx
from meterline_sidecar.stripe.meter_events import identifier


async def replace_row(
    tx: Tx,
    row: OutboxRow,
    *,
    stripe_customer: str | None,
    now_ms: int,
    reason: str,
) -> int:
    """Say again, as a new part, what ``row`` says; return the id of the new row.

    For rows that Stripe does not count although it knows their identifier: a resend
    of it would be taken for a duplicate. The old row stays and points to the new one.
    """
    known = await outbox.cursor(tx)
    assert known is not None, "there are rows"
    part = await outbox.newest_part(tx, row) + 1
    new_id = await outbox.add(
        tx,
        NewRow(
            customer=row.customer,
            stripe_customer=stripe_customer,
            meter=row.meter,
            event_name=row.event_name,
            mode=row.mode,
            hour_ms=row.hour_ms,
            part=part,
            value=row.value,
            scale=row.scale,
            identifier=identifier(
                known.install,
                customer=row.customer,
                event_name=row.event_name,
                hour_ms=row.hour_ms,
                part=part,
            ),
            created_ms=now_ms,
        ),
    )
    await outbox.mark_replaced(tx, row.id, new_id=new_id, now_ms=now_ms, reason=reason)
    return new_id
