"""How a chain survives that a name is taken out of what it is over.

The chain's links stay as they are. A batch in which the name stood is sealed: a keyed
digest over its link and over what it holds by then, made only where it was just what
was committed. So a verification takes such a batch for what was committed but for the
name, and any other change of it is found as ever. Rows of terms are sealed likewise.
"""

import hmac
from collections.abc import Iterable
from hashlib import sha256
from typing import Final

import msgspec

from meterline_sidecar.errors import MeterlineError
from meterline_sidecar.store.edge.events import BatchRow, EventRow, LossRow
from meterline_sidecar.store.facts import get_fact
from meterline_sidecar.store.port import Row, Tx

UNDER_WAY: Final = "erasing"
"""The fact that keeps what an erasure that is under way needs to go on."""
OF_BATCH: Final = b"meterline erased batch 1"
OF_ROW: Final = b"meterline erased row 1"
OF_NAME: Final = b"meterline erased name 1"

_encode = msgspec.msgpack.Encoder().encode


class EraseRefused(MeterlineError, ValueError):
    """A name cannot be erased now; the text says why, and what to do."""


class Erasing(msgspec.Struct, frozen=True, kw_only=True):
    """An erasure that is under way: gone from the ledger when it is done."""

    id: int
    subject: str
    subject_id: int
    alias: str
    author: str
    reason: str
    begins_behind: int
    """The last event that had left the ledger when it began."""
    batch_id: int = 0
    """Up to which batch all is sealed."""
    batches: int = 0
    """How many were."""
    events: int = 0

    def renamed(self, events: Iterable[EventRow]) -> list[EventRow]:
        """Return events as they are when it is done."""
        return [
            event._replace(subject=self.alias)
            if event.subject == self.subject
            else event
            for event in events
        ]

    def renamed_losses(self, losses: Iterable[LossRow]) -> list[LossRow]:
        """Return losses as they are when it is done."""
        name, alias = self.subject.encode(), self.alias.encode()
        return [
            loss._replace(payload=alias)
            if loss.payload is not None and name in loss.payload
            else loss
            for loss in losses
        ]


async def under_way(tx: Tx) -> Erasing | None:
    """Return the erasure that is under way, if one is."""
    text = await get_fact(tx, UNDER_WAY)
    return None if text is None else msgspec.json.decode(text, type=Erasing)


def batch_seal(
    key: bytes,
    mac: bytes,
    *,
    batch: BatchRow,
    producer: str,
    events: list[EventRow],
    losses: list[LossRow],
) -> bytes:
    """Return the seal of a batch that was changed by an erasure, 32 bytes.

    Args:
        mac: its link of the chain, which stays.
    """
    facts = _encode((mac, producer, *batch.facts()))
    rows = sha256(_encode((events, losses))).digest()
    return hmac.digest(key, OF_BATCH + facts + rows, "sha256")


def row_seal(key: bytes, entry: str, mac: bytes, row: Row) -> bytes:
    """Return the seal of a row of the journal, by its link and what stands in it."""
    return hmac.digest(key, OF_ROW + _encode((entry, mac, row)), "sha256")


def name_digest(key: bytes, name: str) -> bytes:
    """Return what an erasure keeps of a name: nobody reads it back without the key."""
    return hmac.digest(key, OF_NAME + name.encode(), "sha256")
