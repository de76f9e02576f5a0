"""Where events come from, for whoever asks whether all of them are here."""

from meterline_sidecar.fleet.edges import Edges
from meterline_sidecar.ingest.dead_spools import Drain


class Sources:
    """The spools of this host and, at a centre, its edges."""

    def __init__(self, drain: Drain, edges: Edges | None = None) -> None:
        self._drain = drain
        self._edges = edges

    async def waiting(self, *, before_ms: int) -> tuple[str, ...]:
        """Return in words which spools of workers that started before then wait."""
        return await self._drain.waiting(before_ms=before_ms)

    def behind(self, *, before_ms: int) -> tuple[tuple[str, str], ...]:
        """Return which edges may have events from before then: their names, and how."""
        return () if self._edges is None else self._edges.behind(before_ms=before_ms)
