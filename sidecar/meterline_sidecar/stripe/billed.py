"""Which meters Stripe is told of, also when the files name them no more.

What a meter counted until it was taken out of the files is still owed: the hour that was
open then, and what comes late. So the ledger remembers every meter that was told of. A
meter that took over another's event name, as after a change of its name, tells the usage
of both: it would take back what was told of the other else.
"""

from collections.abc import Iterable
from typing import Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from meterline_sidecar.config.shape import Config, MeterConfig
from meterline_sidecar.meters import AGGREGATIONS, Aggregation, Mode
from meterline_sidecar.store import facts
from meterline_sidecar.store.port import Database
from meterline_sidecar.terms.book import Terms

BILLED: Final = "billed_meters"
"""The fact that says which meters were told of, the one that was named last at the end."""


class BilledMeter(Struct, frozen=True):
    """A meter whose usage Stripe prices."""

    name: str
    aggregation: Aggregation
    event_name: str
    mode: Mode
    former: tuple[str, ...] = ()
    """Meters that are gone and were told under the same event name."""


def billed_meter(meter: MeterConfig) -> BilledMeter:
    """Return a meter of the configuration as far as Stripe is concerned."""
    return BilledMeter(
        name=meter.meter.name,
        aggregation=meter.meter.aggregation,
        event_name=meter.stripe_event_name,
        mode=meter.stripe_mode,
    )


class BilledMeters:
    """The meters that the files have billed, and those that they once had.

    How each adds up is as it was agreed.
    """

    def __init__(self, database: Database, terms: Terms, config: Config) -> None:
        self._database = database
        self._terms = terms
        self.use(config)

    def use(self, config: Config) -> None:
        """Follow what the files say from now on."""
        self._named = {meter.meter.name for meter in config.meters}
        self._wanted = [
            billed_meter(meter)
            for meter in config.meters
            if meter.bill_through == "meter"
        ]

    @property
    def named(self) -> tuple[BilledMeter, ...]:
        """Those that the files name."""
        return tuple(meter for each in self._wanted for meter in self._as_agreed(each))

    async def all(self) -> tuple[BilledMeter, ...]:
        """Return all of them, and remember those that the files name."""
        async with self._database.reading() as tx:
            known = await facts.get_fact(tx, BILLED)
        listed = msgspec.json.decode(known or b"[]", type=list[BilledMeter])
        # One that the files name, and have not billed, is not told on purpose.
        gone = [meter for meter in listed if meter.name not in self._named]
        text = msgspec.json.encode([*gone, *self.named]).decode()
        if text != (known or "[]"):
            async with self._database.transaction() as tx:
                await facts.put_fact(tx, BILLED, text)
        return tuple(_by_event_name([*gone, *self.named]))

    def _as_agreed(self, meter: BilledMeter) -> Iterable[BilledMeter]:
        """Yield a meter as it adds up, unless Stripe has nothing that adds up so."""
        steps = self._terms.meter_timeline(meter.name)
        agreed = next((m.aggregation for _, m in steps if m is not None), None)
        found = replace(meter, aggregation=agreed or meter.aggregation)
        if AGGREGATIONS[found.aggregation].hourly is not None:
            yield found


def _by_event_name(meters: Iterable[BilledMeter]) -> Iterable[BilledMeter]:
    """Return the last meter of each event name, with those before it that add up so."""
    found: dict[str, BilledMeter] = {}
    for meter in meters:
        before = found.get(meter.event_name)
        former: tuple[str, ...] = ()
        if before is not None and formula_of(before) == formula_of(meter):
            former = (*before.former, before.name)
        found[meter.event_name] = replace(meter, former=former)
    return found.values()


def formula_of(meter: BilledMeter) -> str | None:
    """Return how Stripe adds up what a meter counts in an hour, if it can."""
    hourly = AGGREGATIONS[meter.aggregation].hourly
    return None if hourly is None else hourly.formula
