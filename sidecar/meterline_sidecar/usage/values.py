"""Which values of a property usage is told apart by: bounded, and the same ever after.

The first values that a meter comes across are, up to a limit for each property; others
are added up together. A value that is told apart from some event on was not before it,
so that events come to the same groups whenever they are counted again.
"""

from collections import defaultdict
from collections.abc import Iterable
from typing import Final

from meterline_sidecar.meters import Meter
from meterline_sidecar.properties import OTHER, label_of
from meterline_sidecar.store import usage as usage_store
from meterline_sidecar.store.edge import values as store
from meterline_sidecar.store.edge.values import ValueRow
from meterline_sidecar.store.port import Tx
from meterline_sidecar.usage.definition import Definition, decode

BEYOND: Final = ""
"""In place of a value, which is never empty: from this event on, there were more values
than are told apart."""
ALWAYS: Final = 0


class Values:
    """The values of all properties that are told apart; learns them as they come.

    Args:
        known: those that the ledger has.
        values_max: how many of one property may be learned.
        counted_up_to: the last event of the usage that is read. Where values of a
            property were added up together, another is told apart only behind it.
    """

    def __init__(
        self,
        known: Iterable[ValueRow] = (),
        *,
        values_max: int,
        counted_up_to: int = 0,
    ) -> None:
        self._values_max = values_max
        self._counted_up_to = counted_up_to
        self._after: defaultdict[str, dict[str, int]] = defaultdict(dict)
        for row in known:
            self._after[row.name][row.value] = row.after_event_id
        self.learned: list[ValueRow] = []
        """What the ledger does not have yet, in the order in which it was learned."""

    def label(self, name: str, value: str | None, event_id: int) -> str:
        """Return the label of a property of an event."""
        if value is None:
            return label_of(None)
        after = self._after[name].get(value)
        if after is None:
            after = self._learn(name, value, event_id)
        return OTHER if after is None or after >= event_id else label_of(value)

    def _learn(self, name: str, value: str, event_id: int) -> int | None:
        """Tell a value apart if there is room; return behind which event it is."""
        known = self._after[name]
        is_beyond = BEYOND in known
        if len(known) - is_beyond >= self._values_max:
            if not is_beyond:
                self._note(ValueRow(name, BEYOND, event_id))
            return None
        after = self._counted_up_to if is_beyond else ALWAYS
        self._note(ValueRow(name, value, after))
        return after

    def _note(self, row: ValueRow) -> None:
        self._after[row.name][row.value] = row.after_event_id
        self.learned.append(row)


async def read_values(tx: Tx, definition: Definition) -> Values:
    """Return the values that are told apart in this snapshot, and may be from now on."""
    if not definition.tells_values_apart:
        return Values(values_max=0)
    served = await usage_store.newest_generation(tx)
    assert served is not None, "Aggregator.start() comes first"
    return Values(
        await store.read_values(tx),
        values_max=definition.values_max,
        counted_up_to=served.cursor,
    )


async def together(tx: Tx, meters: Iterable[Meter]) -> dict[str, int]:
    """Return how many values are told apart of properties that have more, by name.

    Only of those that a meter adds up by, and for which there is no room again.
    """
    served = await usage_store.newest_generation(tx)
    if served is None:
        return {}
    values_max = decode(served.definition).values_max
    names = {name for meter in meters for name in meter.told_apart}
    return {
        name: n_values
        for name, n_values in (await store.n_values_beyond(tx)).items()
        if name in names and n_values >= values_max
    }
