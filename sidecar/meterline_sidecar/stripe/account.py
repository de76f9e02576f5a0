"""Which account at Stripe a ledger reports to: live mode or a sandbox, for ever."""

from meterline_sidecar.store import outbox
from meterline_sidecar.store.port import Tx


async def wrong_account(tx: Tx, *, is_live: bool | None) -> str | None:
    """Bind the ledger to the mode of its first key; say why another one is wrong.

    Args:
        is_live: the mode of the key; ``None``: there is none.
    """
    cursor = await outbox.cursor(tx)
    if cursor is None or is_live is None:
        return None
    if cursor.is_live is None:
        await outbox.bind(tx, is_live=is_live)
    elif cursor.is_live != is_live:
        told, given = (
            "live mode" if mode else "a sandbox" for mode in (cursor.is_live, is_live)
        )
        return (
            f"this ledger reports to {told} of Stripe but the key is of {given}: "
            "use a separate ledger for that one (sidecar.database)"
        )
    return None
