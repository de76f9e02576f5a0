"""What corrections do to usage, beside a ledger that never got what was corrected."""

import json
import random
from collections.abc import Iterable
from dataclasses import dataclass

from meterline.events import UsageEvent
from meterline_sidecar.ingest import correction_plans as plans
from meterline_sidecar.ingest.correction_plans import (
    Search,
)
from meterline_sidecar.ingest.corrections import Asked, Corrections
from meterline_sidecar.ledger.chain import ChainFiles
from meterline_sidecar.ledger.journal import Journal
from meterline_sidecar.meters import Meter
from meterline_sidecar.store.port import Tx
from meterline_sidecar.terms.book import Terms
from meterline_sidecar.usage.aggregate import Aggregator
from meterline_sidecar.usage.counted import counted
from tests.agreed import claim, keep, terms_of
from tests.integration.conftest import Sidecar
from tests.integration.ledger.test_verify import verified
from tests.producer import NOON_MS, Connection, batch, event

METERS = (
    Meter("calls", "count"),
    Meter("out", "sum", value="bytes_out"),
    Meter("top", "max", value="bytes_out"),
    Meter("low", "min", value="bytes_out"),
    Meter("users", "unique", value="subject"),
    Meter("routes", "unique", value="route"),
    Meter("seats", "latest", value="quantities.seats"),
    Meter("by_route", "count", group_by=("route",)),
    Meter("by_model", "sum", value="quantities.seats", group_by=("model",)),
)
WHY = Asked("ann", "a test")


def some_events(n_events: int, *, seed: int) -> list[UsageEvent]:
    dice = random.Random(seed)
    return [
        event(
            time_ms=NOON_MS + dice.randrange(-7_200_000, 0),
            subject=dice.choice(["acct_1", "acct_2", "stranger"]),
            route=dice.choice(["/a", "/b", None]),
            bytes_out=dice.randrange(1_000),
            quantities={"seats": dice.randrange(9)} if dice.random() < 0.5 else None,
            properties={"model": dice.choice("xyz")} if dice.random() < 0.5 else None,
        )
        for _ in range(n_events)
    ]


@dataclass
class Corrected:
    """A ledger with some events, and what corrects them."""

    sidecar: Sidecar
    terms: Terms
    aggregator: Aggregator
    corrections: Corrections

    @classmethod
    async def of(cls, sidecar: Sidecar, events: Iterable[UsageEvent]) -> "Corrected":
        database, clock = sidecar.database, sidecar.clock
        terms = claim(terms_of(*METERS), "acme", "acct_*")
        key = ChainFiles(database.path).key(has_batches=False)
        await keep(database, terms, key=key)
        aggregator = Aggregator(database, terms, clock=clock)
        await aggregator.start()
        async with Connection(sidecar.socket) as app:
            await app.hello()
            await app.ship(batch(*events))
        await aggregator.run()
        corrections = Corrections(
            *(database, sidecar.ingest, Journal(key), aggregator), clock=clock
        )
        return cls(sidecar, terms, aggregator, corrections)

    async def void(self, *event_ids: int) -> int:
        plan = await plans.void(self.sidecar.database, Search(event_ids))
        return (await self.corrections.make(plan, WHY)).id

    async def revert(self, correction_id: int) -> int:
        plan = await plans.revert(self.sidecar.database, correction_id)
        return (await self.corrections.make(plan, WHY)).id

    async def usage(self) -> object:
        async with self.sidecar.database.reading() as tx:
            return await usage_in(tx)

    async def sound(self) -> list[str]:
        return (await verified(self.sidecar.database.path)).findings


async def usage_in(tx: Tx) -> object:
    """Return everything that is counted, as it is read: rows of nothing are none."""
    generation = (await counted(tx)).generation
    found: list[object] = []
    for table, columns in (
        ("usage", "subject_id, window_ms"),
        ("usage_days", "subject_id, day_ms"),
        ("usage_totals", "step_ms, start_ms"),
    ):
        rows = await tx.fetch_all(
            f"SELECT {columns}, g.labels, totals FROM {table} u"
            " JOIN groups g ON g.id = u.group_id WHERE generation = ?"
            f" AND totals <> '{{}}' ORDER BY {columns}, g.labels",
            (generation,),
        )
        found.append([(*key, json.loads(totals)) for *key, totals in rows])
    found.append(
        await tx.fetch_all(
            "SELECT subject_id, window_ms, g.labels, meter, value FROM unique_values u"
            " JOIN groups g ON g.id = u.group_id WHERE generation = ? ORDER BY 1,2,3,4,5",
            (generation,),
        )
    )
    return found


async def test_void_events_leave_usage_as_if_they_had_never_come(
    sidecar: Sidecar,
) -> None:
    events = some_events(60, seed=1)
    ledger = await Corrected.of(sidecar, events)
    before = await ledger.usage()

    first = await ledger.void(*range(10, 40))
    assert await ledger.usage() != before
    assert await ledger.sound() == []

    back = await ledger.revert(first)

    assert await ledger.usage() == before
    assert await ledger.sound() == []
    again = await ledger.revert(back)
    assert await ledger.sound() == []
    assert again == 3
