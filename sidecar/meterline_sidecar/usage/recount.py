"""What counting a meter again would change, before anything is changed."""

import asyncio
from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final, NamedTuple

from meterline.events import Flag
from meterline_sidecar.meters import Meter, Total, merge, quantity
from meterline_sidecar.store.edge import event_log
from meterline_sidecar.store.edge import usage as store
from meterline_sidecar.store.edge.usage import Cut, EventFacts
from meterline_sidecar.store.owned import Payers, read_payers
from meterline_sidecar.store.port import Database
from meterline_sidecar.store.terms import NEVER_MS
from meterline_sidecar.store.usage import newest_generation
from meterline_sidecar.usage.definition import Definition, Step, decode
from meterline_sidecar.usage.fold import Folder, Place

STEP_EVENTS: Final = 20_000


class Difference(NamedTuple):
    """What a customer's usage of a month would be in place of what it is."""

    customer: str | None
    """``None``: nobody pays for it."""
    month: str
    """In UTC, such as ``2026-11``."""
    before: int
    after: int


class _Sums:
    """Usage of one meter by customer, month and group."""

    def __init__(self, definition: Definition, payers: Payers) -> None:
        self._definition = definition
        self._payers = payers
        self._aggregations = definition.aggregations
        self._totals: dict[tuple[str | None, str, str], dict[str, Total]] = {}
        self._unique: dict[tuple[str | None, str, str], set[str]] = defaultdict(set)

    def add(
        self,
        events: list[EventFacts],
        endpoints: dict[int, tuple[str, str]],
        cuts: Iterable[Cut],
    ) -> None:
        """Add a step's events."""
        folded = Folder(self._definition, endpoints, cuts).fold(events)
        for place, delta in folded.items():
            key = self._key(place)
            merge(
                self._totals.setdefault(key, {}),
                more=delta.totals,
                aggregations=self._aggregations,
            )
            for values in delta.unique.values():
                self._unique[key] |= values

    def _key(self, place: Place) -> tuple[str | None, str, str]:
        month = datetime.fromtimestamp(place.window_ms / 1000, UTC).strftime("%Y-%m")
        customer = self._payers.at(place.subject_id, place.window_ms)
        return customer, month, place.labels

    def result(self) -> dict[tuple[str | None, str], int]:
        """Return what is billed by, by customer and month."""
        found: dict[tuple[str | None, str], int] = defaultdict(int)
        for (customer, month, _labels), totals in self._totals.items():
            found[customer, month] += sum(quantity(total) for total in totals.values())
        for (customer, month, _labels), values in self._unique.items():
            found[customer, month] += len(values)
        return found


async def preview(
    database: Database, name: str, meter: Meter, *, from_ms: int
) -> list[Difference]:
    """Return what changes if a meter is counted again as ``meter`` from a time on.

    All events since that time are read, and nothing is written: as slow as counting.
    """
    async with database.reading() as tx:
        served = await newest_generation(tx)
        assert served is not None, "Aggregator.start() comes first"
        endpoints = await store.endpoints(tx)
        cuts = await store.cuts_between(tx, 0, NEVER_MS)
        payers = await read_payers(tx)
        last_id = min(served.cursor, await event_log.last_event_id(tx))
        cursor = await store.first_since(tx, from_ms) - 1
    known = decode(served.definition).meters.get(name, ())
    before = _Sums(Definition(meters={name: known}), payers)
    after = _Sums(Definition(meters={name: (*known, Step(from_ms, 0, meter))}), payers)
    while cursor < last_id:
        async with database.reading() as tx:
            events, reached = await store.events_after(
                tx,
                cursor,
                skip_flags=Flag.HELD,
                limit=min(STEP_EVENTS, last_id - cursor),
            )
        if reached == cursor:
            break
        cursor = reached
        events = [event for event in events if event.time_ms >= from_ms]
        for sums in (before, after):
            await asyncio.to_thread(sums.add, events, endpoints, cuts)
    return _differences(before.result(), after.result())


def _differences(
    before: dict[tuple[str | None, str], int], after: dict[tuple[str | None, str], int]
) -> list[Difference]:
    keys = sorted(before.keys() | after.keys(), key=lambda key: (key[1], key[0] or ""))
    found = (
        Difference(customer, month, before.get(key, 0), after.get(key, 0))
        for key in keys
        for customer, month in [key]
    )
    return [one for one in found if one.before != one.after]
