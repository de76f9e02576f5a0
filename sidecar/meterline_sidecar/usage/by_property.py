"""Meters that properties matter to: what of an event is theirs, and in which groups."""

from collections.abc import Iterable

from meterline_sidecar.decimals import Number, plus
from meterline_sidecar.meters import AGGREGATIONS, Meter, Reader
from meterline_sidecar.properties import NOTHING, Named, said_in, split
from meterline_sidecar.store.edge.usage import EventFacts
from meterline_sidecar.usage.values import Values


class PropertyRule:
    """What such a meter does with an event of a certain sort.

    Args:
        read: takes the meter's value from an event.
        method: as it is written in labels.
        route: likewise.
        values: which values of properties are told apart.
    """

    def __init__(
        self,
        meter: Meter,
        read: Reader,
        *,
        method: str,
        route: str,
        status: int,
        values: Values,
    ) -> None:
        self.name = meter.name
        self.adding = AGGREGATIONS[meter.aggregation]
        self.scale = meter.scale
        self._meter = meter
        self._read = read
        self._method, self._route, self._status = method, route, status
        self._values = values
        self._quantity = meter.quantity
        self._told_apart = meter.told_apart
        self._takes = meter.where.takes_properties if meter.where.properties else None
        self._labels: dict[tuple[str, ...], str] = {}

    def shares(self, event: EventFacts) -> Iterable[tuple[str, Number | str]]:
        """Return what the meter takes of an event, each with the labels of its group.

        Parts that are in one group are one value: the largest of a day is not the
        largest part of an event, but what an event comes to in the group.
        """
        value = self._read(event)
        if value is None:
            return ()
        said = said_in(event.properties) if event.properties else NOTHING
        if self._quantity is not None and self._quantity in said.parts:
            assert not isinstance(value, str), "a quantity is a number"
            return self._sums(split(value, self._quantity, said), event.id)
        if self._takes is not None and not self._takes(said.of_all):
            return ()
        return ((self._group(said.of_all, event.id), value),)

    def _sums(
        self, shares: Iterable[tuple[Number, Named]], event_id: int
    ) -> Iterable[tuple[str, Number]]:
        found: dict[str, Number] = {}
        for amount, properties in shares:
            if self._takes is None or self._takes(properties):
                labels = self._group(properties, event_id)
                found[labels] = plus(found.get(labels, 0), amount)
        return found.items()

    def _group(self, properties: Named, event_id: int) -> str:
        """Return the labels of what has these properties."""
        label = self._values.label
        key = tuple(
            [label(name, properties.get(name), event_id) for name in self._told_apart]
        )
        known = self._labels.get(key)
        if known is None:
            known = self._labels[key] = self._meter.labels(
                method=self._method,
                route=self._route,
                status=self._status,
                properties=dict(zip(self._told_apart, key, strict=True)),
            )
        return known
