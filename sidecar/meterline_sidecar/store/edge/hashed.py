"""SQL for whoever looks at all events of a chain: as it hashes them, many at once."""

from collections.abc import Sequence, Set
from typing import Any, Final, NamedTuple

from meterline_sidecar.store.columns import marks, pieces
from meterline_sidecar.store.edge.by_column import columns_between
from meterline_sidecar.store.edge.stored import STORED
from meterline_sidecar.store.port import Tx

SUBJECTS_MAX: Final = 100_000  # names of them that are kept in memory: some 10 MB
ENDPOINT: Final = ("", "")
"""Of an event whose own is not there."""


class Hashed(NamedTuple):
    """Events in a row, in the order of their ids."""

    ids: Sequence[int]
    producer_ids: Sequence[int]
    times: Sequence[int]
    flags: Sequence[int]
    rows: Sequence[tuple[Any, ...]]
    """The fields of an ``EventRow`` each, without properties where it has none."""

    def part(self, places: slice) -> "Hashed":
        """Return some of them."""
        return Hashed(
            self.ids[places],
            self.producer_ids[places],
            self.times[places],
            self.flags[places],
            self.rows[places],
        )


class HashedEvents:
    """Reads events as the chain hashes them; it keeps the names that it has seen."""

    def __init__(self) -> None:
        self._subjects: dict[int, str | None] = {}
        self._endpoints: dict[int, tuple[str, str]] = {}

    async def between(self, tx: Tx, first: int, last: int) -> Hashed:
        """Return the events between two ids, both included.

        Raises:
            DatabaseCorrupt: some of them cannot be read.
        """
        columns = await columns_between(tx, first, last, columns=STORED.names)
        # fmt: off
        (
            ids, producer_ids, seqs, times, kinds, subject_ids, endpoint_ids, statuses,
            durations, bytes_in, bytes_out, flags, quantities, properties,
        ) = columns
        # fmt: on
        await self._learn(tx, set(subject_ids), set(endpoint_ids))
        endpoints = [self._endpoints[i] for i in endpoint_ids]
        fields = (
            *(seqs, times, kinds, map(self._subjects.__getitem__, subject_ids)),
            *([method for method, _ in endpoints], [route for _, route in endpoints]),
            *(statuses, durations, bytes_in, bytes_out, flags, quantities),
        )
        rows: Sequence[tuple[Any, ...]] = list(zip(*fields, strict=True))
        if properties.count(None) < len(properties):
            rows = [
                row if text is None else (*row, text)
                for row, text in zip(rows, properties, strict=True)
            ]
        return Hashed(ids, producer_ids, times, flags, rows)

    async def _learn(
        self, tx: Tx, subject_ids: Set[int], endpoint_ids: Set[int]
    ) -> None:
        """Read the names that are not known yet."""
        if len(self._subjects) > SUBJECTS_MAX:
            self._subjects.clear()
        new = sorted(subject_ids - self._subjects.keys())
        self._subjects.update(dict.fromkeys(new))
        for part in pieces(new):
            rows = await tx.fetch_all(
                f"SELECT id, name FROM subjects WHERE id IN ({marks(len(part))})",  # noqa: S608 - only marks
                part,
            )
            self._subjects.update(dict(rows))
        new = sorted(endpoint_ids - self._endpoints.keys())
        self._endpoints.update(dict.fromkeys(new, ENDPOINT))
        for part in pieces(new):
            rows = await tx.fetch_all(
                "SELECT id, method, route FROM endpoints"  # noqa: S608 - only marks
                f" WHERE id IN ({marks(len(part))})",
                part,
            )
            self._endpoints.update({row[0]: (row[1], row[2]) for row in rows})
