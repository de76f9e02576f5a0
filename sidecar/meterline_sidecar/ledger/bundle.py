"""What a file of the archive holds: batches of the chain, whole and in order.

With each batch come its link, its events and its losses, as the chain hashes them. So a
file proves itself, given the chain's key and the link before its first batch.
"""

import hmac
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from meterline.events import UNCOUNTED
from meterline_sidecar.ledger.chain import batch_mac
from meterline_sidecar.ledger.erased import batch_seal
from meterline_sidecar.store.edge.events import BatchRow, EventRow, LossRow


class Stored(NamedTuple):
    """One batch with all that was committed with it."""

    batch: BatchRow
    producer: str
    """The producer's random id; the number in the batch is of this ledger alone."""
    mac: bytes
    events: list[EventRow]
    losses: list[LossRow]
    seal: bytes | None = None
    """Of one that a name was taken out of; see ``erased``."""

    def is_right(self, key: bytes, previous: bytes) -> bool:
        """Say whether it is what was committed, but for names that were taken out.

        Args:
            previous: the link before its own.
        """
        mac = batch_mac(
            key,
            previous,
            batch=self.batch,
            producer=self.producer,
            events=self.events,
            losses=self.losses,
        )
        if hmac.compare_digest(mac, self.mac):
            return True
        return self.seal is not None and hmac.compare_digest(
            self.seal_of(key, self.events, self.losses), self.seal
        )

    def seal_of(
        self, key: bytes, events: list[EventRow], losses: list[LossRow]
    ) -> bytes:
        """Return the seal of this batch with other events and losses in it."""
        return batch_seal(
            key,
            self.mac,
            batch=self.batch,
            producer=self.producer,
            events=events,
            losses=losses,
        )


class Bundle(NamedTuple):
    """Batches that follow on each other."""

    previous_mac: bytes
    """Of the batch before the first one."""
    batches: Sequence[Stored]

    @property
    def n_events(self) -> int:
        """How many events there are."""
        return sum(len(stored.events) for stored in self.batches)

    @property
    def n_losses(self) -> int:
        """How many losses there are."""
        return sum(len(stored.losses) for stored in self.batches)

    @property
    def span(self) -> tuple[int, int]:
        """``[first, beyond)``, the times of events that meters count; 0 and 0 without."""
        times = [
            event.time_ms
            for stored in self.batches
            for event in stored.events
            if not event.flags & UNCOUNTED
        ]
        return (min(times), max(times) + 1) if times else (0, 0)

    def numbered(self) -> Iterator[tuple[int, EventRow]]:
        """Yield every event under its id."""
        for stored in self.batches:
            yield from enumerate(stored.events, stored.batch.first_event_id)

    def wrong(self, key: bytes | None) -> str | None:
        """Return what is not as it was committed, in words; ``None``: nothing.

        Args:
            key: of the chain; without it only the order is looked at.
        """
        previous = self.previous_mac
        follows: tuple[int, int, int] | None = None
        for stored in self.batches:
            batch = stored.batch
            here = (batch.id, batch.first_event_id, batch.first_loss_id)
            if follows is not None and here != follows:
                return f"batch {batch.id} does not follow on the one before"
            if key is not None and not stored.is_right(key, previous):
                return f"batch {batch.id} is not what was committed"
            previous = stored.mac
            follows = (
                batch.id + 1,
                batch.first_event_id + len(stored.events),
                batch.first_loss_id + len(stored.losses),
            )
        return None
