"""Who pays for a subject: the customers' patterns, from the most exact on."""

from bisect import bisect_right
from collections.abc import Sequence
from fnmatch import fnmatchcase
from hashlib import sha256

import msgspec

from meterline_sidecar.config.shape import Customer
from meterline_sidecar.store import facts, outbox
from meterline_sidecar.store import subjects as store
from meterline_sidecar.store.port import Database

SUBJECTS_PER_STEP = 5_000


class CustomerIndex:
    """The customers of the configuration, by id."""

    def __init__(self, customers: Sequence[Customer]) -> None:
        self.all = sorted(customers, key=lambda customer: customer.id)
        self._ids = [customer.id for customer in self.all]
        self._by_id = {customer.id: customer for customer in customers}

    def get(self, customer_id: str) -> Customer | None:
        """Return the customer with this id."""
        return self._by_id.get(customer_id)

    def page(self, after: str, limit: int) -> tuple[list[Customer], str | None]:
        """Return customers whose ids come after ``after``, and where to go on."""
        start = bisect_right(self._ids, after)
        found = self.all[start : start + limit]
        is_last = start + limit >= len(self.all)
        return found, None if is_last else found[-1].id


class CustomerMap:
    """Finds the customer of a subject.

    A subject that is written out wins over a pattern such as ``key_*``; of several
    patterns the one that was written first wins.
    """

    def __init__(self, customers: Sequence[Customer]) -> None:
        self._exact: dict[str, str] = {}
        self._patterns: list[tuple[str, str]] = []
        for customer in customers:
            for subject in customer.subjects:
                if any(mark in subject for mark in "*?["):
                    self._patterns.append((subject, customer.id))
                else:
                    self._exact[subject] = customer.id

    def customer_of(self, subject: str) -> str | None:
        """Return the id of the customer that pays for a subject, if one does."""
        if (found := self._exact.get(subject)) is not None:
            return found
        return next(
            (
                owner
                for pattern, owner in self._patterns
                if fnmatchcase(subject, pattern)
            ),
            None,
        )

    @property
    def fingerprint(self) -> str:
        """A digest that changes when the map does."""
        written = msgspec.json.encode((sorted(self._exact.items()), self._patterns))
        return sha256(written).hexdigest()

    async def apply(self, database: Database, *, reported_since_ms: int) -> int:
        """Bring the ledger's subjects up to this map; return how many changed owner.

        Nothing is read when the map is the one that was applied last. Stripe hears of
        a change for the hours from ``reported_since_ms`` on.
        """
        async with database.reading() as tx:
            if await facts.get_fact(tx, "customer_map") == self.fingerprint:
                return 0
        n_changed = last_id = 0
        while True:
            async with database.transaction() as tx:
                subjects = await store.subjects_after(
                    tx, last_id, limit=SUBJECTS_PER_STEP
                )
                if not subjects:
                    await facts.put_fact(tx, "customer_map", self.fingerprint)
                    return n_changed
                changed = [
                    (owner, subject_id)
                    for subject_id, name, known in subjects
                    if (owner := self.customer_of(name)) != known
                ]
                ids = [subject_id for _, subject_id in changed]
                # Noted for whoever paid before, and again for whoever pays now.
                await outbox.note_subjects(tx, ids, since_ms=reported_since_ms)
                await store.remap_subjects(tx, changed)
                await outbox.note_subjects(tx, ids, since_ms=reported_since_ms)
            n_changed += len(changed)
            last_id = subjects[-1][0]
