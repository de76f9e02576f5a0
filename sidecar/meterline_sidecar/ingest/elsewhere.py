"""Another disk that events have to be on before apps give them up: a centre's."""

from typing import Protocol

from meterline_sidecar.store.edge.events import ProducerRow


class Elsewhere(Protocol):
    """Knows what of this ledger is on another disk too, which apps wait for."""

    async def seq(self, row: ProducerRow) -> int:
        """Return up to which number all of a producer is."""
        ...

    async def until(self, row: ProducerRow, seq: int) -> None:
        """Wait until all of a producer up to a number is."""
        ...
