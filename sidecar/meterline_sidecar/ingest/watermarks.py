"""Sees that producers are where we think they are, where others take events, too."""

from collections.abc import Iterable

from meterline_sidecar.errors import RetryLater
from meterline_sidecar.store.edge import events as store
from meterline_sidecar.store.edge.events import ProducerRow
from meterline_sidecar.store.port import Tx


class SentElsewhere(RetryLater):
    """Another process took events of a producer meanwhile. Nothing was kept."""

    def __init__(self, producer: str) -> None:
        super().__init__(
            f"producer {producer} sent to another centre meanwhile; it says hello again",
            after_s=0,
        )


async def check_watermarks(tx: Tx, rows: Iterable[ProducerRow]) -> None:
    """Make sure that producers are as far in the ledger as we know.

    In the transaction that stores what follows: so a number that was sent to two
    processes counts once.

    Raises:
        SentElsewhere: one of them is further.
    """
    known = {row.id: row for row in rows}
    last_seqs = await store.last_seqs(tx, list(known))
    for producer_id, row in known.items():
        if last_seqs[producer_id] != row.last_seq:
            raise SentElsewhere(row.producer)
