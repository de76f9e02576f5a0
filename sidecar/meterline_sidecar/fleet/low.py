"""Before which time all of an edge's events are at the centre, as far as it knows."""

from collections.abc import Iterable, Mapping

from meterline_sidecar.store.edge.events import ProducerRow


class LowMark:
    """Follows up to when the events of each producer are here.

    A worker that is at work has nearly always recorded something that is not here yet.
    It is of a later time than what was recorded when the worker was last looked at, as
    soon as all of that is here.
    """

    def __init__(self) -> None:
        self._looked_ms: int | None = None
        self._complete_ms: dict[str, int] = {}
        """By producer of which something is missing: before when nothing is."""
        self._seen: dict[str, tuple[int, int]] = {}
        """Likewise: when it was looked at, and what it had recorded by then."""

    def of(
        self,
        unfinished: Iterable[ProducerRow],
        waiting: Mapping[str, int],
        *,
        now_ms: int,
    ) -> int:
        """Return the time before which nothing is missing of what producers recorded.

        Args:
            unfinished: producers that announced more than is here.
            waiting: of spools that nobody sends, by producer, when their workers began.
            now_ms: the time; it is the answer where nothing is missing at all.
        """
        complete = {
            name: self._known_ms(name, started_ms)
            for name, started_ms in waiting.items()
        }
        seen: dict[str, tuple[int, int]] = {}
        for row in unfinished:
            name = row.producer
            known_ms = complete.get(name, self._known_ms(name, row.started_ms))
            at_ms, recorded = self._seen.get(name, (now_ms, row.recorded_seq))
            if row.last_seq >= recorded and name not in waiting:
                known_ms, at_ms, recorded = at_ms, now_ms, row.recorded_seq
            complete[name], seen[name] = known_ms, (at_ms, recorded)
        self._complete_ms, self._seen, self._looked_ms = complete, seen, now_ms
        return min(now_ms, *complete.values()) if complete else now_ms

    def _known_ms(self, name: str, started_ms: int) -> int:
        """Return before when nothing was missing of a producer at the last look.

        One of which nothing was missing then was complete up to that look.
        """
        looked_ms = started_ms if self._looked_ms is None else self._looked_ms
        return self._complete_ms.get(name, max(started_ms, looked_ms))
