"""What a meter takes of raw events that are in no ledger here: those of an edge."""

from msgspec.structs import replace

from meterline_sidecar.decimals import Number
from meterline_sidecar.meters import Meter, Total
from meterline_sidecar.store.edge import usage as counting
from meterline_sidecar.store.edge.events import EventRow
from meterline_sidecar.store.port import Tx
from meterline_sidecar.usage.customer_usage import meter_usage
from meterline_sidecar.usage.definition import Definition, decode
from meterline_sidecar.usage.fold import Folder
from meterline_sidecar.usage.outside import Outside


class Taken:
    """What one meter takes of events, each folded as counting folds it."""

    def __init__(self, definition: Definition, meter: Meter) -> None:
        self._meter = meter
        self._outside = Outside()
        steps = definition.meters.get(meter.name, ())
        self._folder = Folder(
            replace(definition, meters={meter.name: steps}), self._outside.endpoints
        )

    @classmethod
    async def of(cls, tx: Tx, generation: int, meter: Meter) -> "Taken":
        """Return what a meter takes by the counting that is read."""
        found = await counting.get_generation(tx, generation)
        assert found is not None, "what is read is not given up"
        return cls(decode(found.definition), meter)

    def quantity_of(self, event: EventRow) -> Number | None:
        """Return what is taken of an event; ``None``: it is not counted.

        Of a meter that counts different values, 1.
        """
        name, totals = self._meter.name, dict[str, Total]()
        for place, delta in self._folder.fold([self._outside.facts(event)]).items():
            if name in delta.unique:
                return len(delta.unique[name])
            if name in delta.totals:
                totals[place.labels] = delta.totals[name]
        if not totals:
            return None
        return meter_usage(name, self._meter.aggregation, totals).quantity
