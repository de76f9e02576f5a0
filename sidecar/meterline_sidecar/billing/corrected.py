"""What a correction would do to money; nothing is changed by asking.

The windows that it is about are counted again without being stored, and each period of
the customers who pay for them is drawn twice: as usage is, and with these in their place.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence, Set
from operator import itemgetter
from typing import Final, NamedTuple

from msgspec.structs import replace

from meterline_sidecar.billing.compared import Consequences, Side, compared
from meterline_sidecar.billing.drafts import Billing
from meterline_sidecar.errors import EventsArchived
from meterline_sidecar.meters import AGGREGATIONS, Total, Totals, merge
from meterline_sidecar.store.edge import event_log, windows
from meterline_sidecar.store.edge import events as event_store
from meterline_sidecar.store.edge import usage as counting
from meterline_sidecar.store.edge.events import EventRow
from meterline_sidecar.store.edge.fact_columns import of_events
from meterline_sidecar.store.edge.usage import EventFacts, ReadEvents
from meterline_sidecar.store.owned import Payers, read_payers
from meterline_sidecar.store.port import Readable, Tx
from meterline_sidecar.store.terms import NEVER_MS
from meterline_sidecar.store.usage import newest_generation
from meterline_sidecar.terms.book import Terms
from meterline_sidecar.usage.corrected import Recounting, recount
from meterline_sidecar.usage.counted import Counted
from meterline_sidecar.usage.customer_usage import (
    CustomerUsage,
    MeterUsage,
    meter_usage,
)
from meterline_sidecar.usage.definition import decode
from meterline_sidecar.usage.fold import Delta, Place
from meterline_sidecar.usage.in_bulk import BulkFolder
from meterline_sidecar.usage.values import read_values

NEW_ID: Final = -1
"""Of a name that the ledger does not know; the next one is below."""
WINDOW_OF: Final = itemgetter(Place._fields.index("window_ms"))
CUSTOMERS_MAX: Final = 500  # whose periods are drawn: about three seconds of work


class Supposed(NamedTuple):
    """Events that would count or not, and those that would be added."""

    changed: Mapping[int, bool]
    """Whether each would be void."""
    places: frozenset[Place]
    """The windows that these events are in."""
    added: Sequence[EventRow] = ()
    all_up_to: int = 0
    """As ``Recounting`` has it."""


class Corrected:
    """Usage with other totals in place of those of some windows.

    Args:
        places: these windows.
        deltas: what those of them would come to where anything counts.
    """

    def __init__(
        self, places: Iterable[Place], deltas: Mapping[Place, Delta], payers: Payers
    ) -> None:
        self._payers = payers
        self._mine: dict[str, dict[int, list[Place]]] = defaultdict(
            lambda: defaultdict(list)
        )
        self._left: dict[str, dict[Place, Delta]] = defaultdict(dict)
        for place in places:
            customer = payers.at(place.subject_id, place.window_ms)
            if customer is not None:
                self._mine[customer][place.subject_id].append(place)
                if place in deltas:
                    self._left[customer][place] = deltas[place]
        self.since_ms = {
            customer: min(min(map(WINDOW_OF, of)) for of in by_subject.values())
            for customer, by_subject in self._mine.items()
        }
        """Whose usage would be another, and from when on."""

    def first_ms(self, customer: str) -> int | None:
        """Return when the first of these windows begins that a customer pays for."""
        return self.since_ms.get(customer)

    async def applied_to(
        self, tx: Tx, at: Counted, usage: CustomerUsage
    ) -> CustomerUsage:
        """Return a customer's usage of a span of time as it would be."""
        start, end = usage.period.start, usage.period.end
        mine = {
            subject_id: again
            for subject_id, places in self._mine.get(usage.customer, {}).items()
            if (again := [one[1:] for one in places if start <= one[1] < end])
        }
        if not mine:
            return usage
        left = self._left.get(usage.customer, {}).items()
        found = {place: delta for place, delta in left if start <= place[1] < end}
        groups = await windows.groups(tx)
        for subject_id in sorted(
            self._payers.subjects_of({usage.customer}) | mine.keys()
        ):
            others = await self._others(
                *(tx, at, usage, subject_id),
                again=frozenset(mine.get(subject_id, ())),
                groups=groups,
            )
            found |= others
        return replace(
            usage, meters=tuple(_with(meter, found) for meter in usage.meters)
        )

    async def _others(
        self,
        tx: Tx,
        at: Counted,
        usage: CustomerUsage,
        subject_id: int,
        *,
        again: Set[tuple[int, str]],
        groups: Mapping[int, str],
    ) -> dict[Place, Delta]:
        """Return what is stored of a subject's windows that are not counted again.

        Args:
            again: these, and of which group.
        """
        start, end = usage.period.start, usage.period.end
        ids = {labels: group_id for group_id, labels in groups.items()}
        found: dict[Place, Delta] = defaultdict(Delta)
        for key, totals in (
            await windows.windows_of(
                *(tx, at.generation, subject_id),
                start=start,
                end=end,
                without={(start_ms, ids.get(labels, 0)) for start_ms, labels in again},
            )
        ).items():
            place = Place(subject_id, key.window_ms, groups[key.group_id])
            found[place].totals = totals
        if any(AGGREGATIONS[m.aggregation].is_distinct for m in usage.meters):
            for key, meter, value in await windows.values_between(
                tx, at.generation, subject_id, start=start, end=end
            ):
                labels = groups[key.group_id]
                if (key.window_ms, labels) not in again:
                    place = Place(subject_id, key.window_ms, labels)
                    found[place].unique.setdefault(meter, set()).add(value)
        return {
            place: delta
            for place, delta in found.items()
            if self._payers.at(subject_id, place.window_ms) == usage.customer
        }


def _with(used: MeterUsage, places: Mapping[Place, Delta]) -> MeterUsage:
    """Return usage of a meter by what its windows come to."""
    name, aggregation = used.meter, used.aggregation
    if AGGREGATIONS[aggregation].is_distinct:
        values: dict[str, set[str]] = defaultdict(set)
        for place, delta in places.items():
            values[place.labels] |= delta.unique.get(name, set())
        return meter_usage(
            name,
            aggregation,
            {labels: len(of) for labels, of in values.items() if of},
        )
    groups: dict[str, Totals] = defaultdict(dict)
    for place, delta in places.items():
        if name in delta.totals:
            merge(
                groups[place.labels],
                more={name: delta.totals[name]},
                aggregations={name: aggregation},
            )
    totals: dict[str, Total] = {labels: of[name] for labels, of in groups.items()}
    return meter_usage(name, aggregation, totals)


def _facts(
    rows: Sequence[EventRow],
    subjects: Mapping[str, int],
    endpoints: dict[int, tuple[str, str]],
    *,
    after_id: int,
) -> list[EventFacts]:
    """Return events as they would be counted; new endpoints are added to those known."""
    ids = {endpoint: number for number, endpoint in endpoints.items()}
    found: list[EventFacts] = []
    for event_id, row in enumerate(rows, after_id + 1):
        endpoint = (row.method, row.route)
        if endpoint not in ids:
            ids[endpoint] = min(NEW_ID, min(endpoints, default=0) - 1)
            endpoints[ids[endpoint]] = endpoint
        fact = EventFacts(
            event_id,
            row.time_ms,
            row.kind,
            0 if row.subject is None else subjects[row.subject],
            ids[endpoint],
            *row[6:],
        )
        found.append(fact)
    return found


async def of_correction(
    database: Readable,
    terms: Terms,
    what: Supposed,
    *,
    read_events: ReadEvents,
    now_ms: int,
) -> Consequences:
    """Return what a correction would do to money.

    Args:
        read_events: reads events of the same windows where some left the ledger.

    Raises:
        ArchiveFailed: as ``read_events``.
    """
    async with database.reading() as tx:
        served = await newest_generation(tx)
        assert served is not None, "Aggregator.start() comes first"
        definition = decode(served.definition)
        endpoints = await counting.endpoints(tx)
        cuts = await counting.cuts_between(tx, 0, NEVER_MS)
        values = await read_values(tx, definition)
        payers = await read_payers(tx)
        last_id = await event_log.last_event_id(tx)
        names = sorted({row.subject for row in what.added if row.subject is not None})
        subjects = await event_store.subjects_of(tx, names)
        for i, name in enumerate(one for one in names if one not in subjects):
            subjects[name] = NEW_ID - i
            for from_ms, customer in terms.claims.history(name):
                payers.add_part(NEW_ID - i, from_ms, customer)
        added = _facts(what.added, subjects, endpoints, after_id=last_id)

        def new_folder() -> BulkFolder:
            return BulkFolder(
                definition, endpoints, cuts, values=values, generation=served.id
            )

        places = what.places | new_folder().each.places(of_events(added))
        recounting = Recounting(
            new_folder,
            places,
            what.changed,
            up_to_event=served.cursor,
            added=added,
            all_up_to=what.all_up_to,
        )
        recounted = await _recounted(tx, recounting, read_events)
    corrected = Corrected(places, recounted, payers)
    return await compared(
        database,
        Side(terms, Billing(terms)),
        Side(terms, Billing(terms, counting=corrected)),
        corrected.since_ms,
        now_ms=now_ms,
        customers_max=CUSTOMERS_MAX,
        is_recounted=True,
    )


async def _recounted(
    tx: Tx, what: Recounting, read_events: ReadEvents
) -> dict[Place, Delta]:
    """Return what the windows come to, from files where events left the ledger."""
    try:
        return await recount(tx, what)
    except EventsArchived:
        return await recount(tx, what._replace(read_events=read_events))
