"""SQL for whoever looks at all events of a chain: as it hashes them, many at once."""

from collections.abc import Iterable, Sequence, Set
from typing import Any, Final, NamedTuple

from meterline_sidecar.store.columns import marks, pieces
from meterline_sidecar.store.edge.by_column import parts_between
from meterline_sidecar.store.edge.stored import STORED
from meterline_sidecar.store.port import Tx

SUBJECTS_MAX: Final = 100_000  # names of them that are kept in memory: some 10 MB
NO_ENDPOINT: Final = ""
"""The method and route of an event whose own are not there."""


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


ID, PRODUCER_ID, TIME_MS, FLAGS = (
    STORED.names.index(name) for name in ("id", "producer_id", "time_ms", "flags")
)
"""Where these columns stand."""


class HashedEvents:
    """Reads events as the chain hashes them; it keeps the names that it has seen."""

    def __init__(self) -> None:
        self._subjects: dict[int, str | None] = {}
        self._methods: dict[int, str] = {}
        self._routes: dict[int, str] = {}

    async def between(self, tx: Tx, first: int, last: int) -> Hashed:
        """Return the events between two ids, both included.

        Raises:
            DatabaseCorrupt: some of them cannot be read.
        """
        rows: list[tuple[Any, ...]] = []
        ids: list[int] = []
        producer_ids: list[int] = []
        times: list[int] = []
        flags: list[int] = []
        for part in await parts_between(tx, first, last, columns=STORED.names):
            rows += await self._rows(tx, part)
            ids += part[ID]
            producer_ids += part[PRODUCER_ID]
            times += part[TIME_MS]
            flags += part[FLAGS]
        return Hashed(ids, producer_ids, times, flags, rows)

    async def _rows(
        self, tx: Tx, columns: Sequence[Sequence[Any]]
    ) -> Iterable[tuple[Any, ...]]:
        # fmt: off
        (
            _, _, seqs, times, kinds, subject_ids, endpoint_ids, statuses,
            durations, bytes_in, bytes_out, flags, quantities, properties,
        ) = columns
        # fmt: on
        await self._learn(tx, set(subject_ids), set(endpoint_ids))
        rows = zip(
            *(seqs, times, kinds, map(self._subjects.__getitem__, subject_ids)),
            map(self._methods.__getitem__, endpoint_ids),
            map(self._routes.__getitem__, endpoint_ids),
            *(statuses, durations, bytes_in, bytes_out, flags, quantities),
            strict=True,
        )
        if properties.count(None) == len(properties):
            return rows
        return [
            row if text is None else (*row, text)
            for row, text in zip(rows, properties, strict=True)
        ]

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
        new = sorted(endpoint_ids - self._routes.keys())
        self._methods.update(dict.fromkeys(new, NO_ENDPOINT))
        self._routes.update(dict.fromkeys(new, NO_ENDPOINT))
        for part in pieces(new):
            rows = await tx.fetch_all(
                "SELECT id, method, route FROM endpoints"  # noqa: S608 - only marks
                f" WHERE id IN ({marks(len(part))})",
                part,
            )
            self._methods.update({row[0]: row[1] for row in rows})
            self._routes.update({row[0]: row[2] for row in rows})
