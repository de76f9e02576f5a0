"""Raw events of edges, wherever they are: in their files, and behind these by asking.

Edge by edge: what is in files, as they are noted here, then what is in none yet, as the
edge tells it. Nobody waits long for an edge, and one that tells nothing is named.
"""

import time
from collections.abc import Sequence
from itertools import pairwise
from typing import Final, NamedTuple

import msgspec

from meterline.edge_wire import AskEvents, EventTold
from meterline.wire import SEQ_MAX
from meterline_sidecar.fleet.asking import NotTold
from meterline_sidecar.fleet.edge import Edge
from meterline_sidecar.fleet.questions import ANSWER_S, Questions
from meterline_sidecar.ledger.edge_events import EdgeEvents, Found, Wanted
from meterline_sidecar.properties import stored_in
from meterline_sidecar.store.edge.events import EventRow

PAGE_S: Final = 4.0
"""How long edges are asked for one page."""
ASKED_MIN: Final = 250
"""Events of one answer: not all that an edge tells need be what is looked for."""
EDGE: Final = 1 << 44
IS_ASKED: Final = 1 << 43
"""A place is ``edge * EDGE``, and the place in its files, or with this bit the event."""


class Narrow(NamedTuple):
    """What an edge is told of what is wanted, so that it need not tell all it has."""

    subjects: tuple[tuple[str, str], ...] | None = None
    route: str | None = None
    method: str | None = None
    kind: int | None = None


ANYTHING: Final = Narrow()


class Untold(NamedTuple):
    """What is not listed of an edge, and why."""

    edge: str
    why: str
    is_filed: bool
    """Whether that is all from a file on, which the reason names; else what it has in no
    file."""


class Page(NamedTuple):
    """Some events, each with its edge, and where to go on (``None``: that was all)."""

    events: list[tuple[str, Found]]
    next_after: int | None
    untold: list[Untold]


class RawEvents:
    """What edges have of events that are not in this ledger."""

    def __init__(self, files: EdgeEvents, questions: Questions) -> None:
        self._files = files
        self._questions = questions
        self.answer = questions.answer
        """Answers what other centres ask of edges that are connected here."""

    async def page(
        self,
        edges: Sequence[Edge],
        wanted: Wanted,
        narrow: Narrow,
        *,
        after: int,
        limit: int,
    ) -> Page:
        """Return the first events behind a place.

        A page may be short, or even empty, and still name where to go on.
        """
        page = Page([], None, [])
        until_s = time.monotonic() + PAGE_S
        first_edge, place = divmod(after, EDGE)
        for edge in sorted(edges, key=lambda edge: edge.row.id):
            if edge.row.id < first_edge:
                continue
            if edge.row.id > first_edge:
                place = 0
            left = await self._of_edge(
                edge, wanted, narrow, page, place, limit=limit, until_s=until_s
            )
            if left is not None:
                return page._replace(next_after=edge.row.id * EDGE + left)
        return page

    async def _of_edge(
        self,
        edge: Edge,
        wanted: Wanted,
        narrow: Narrow,
        page: Page,
        place: int,
        *,
        limit: int,
        until_s: float,
    ) -> int | None:
        """Add events of one edge to a page; return where to go on, if that is not all."""
        name, file = edge.row.name, ""
        if place < IS_ASKED:
            part = await self._files.part(
                edge.row.id, wanted, after=place, limit=limit - len(page.events)
            )
            page.events.extend((name, one) for one in part.events)
            if part.failed is not None:
                page.untold.append(Untold(name, part.failed, is_filed=True))
                return None
            if not part.is_all or len(page.events) == limit:
                return part.reached
            place, file = part.reached, part.last_file
        if not edge.rolls_up:
            return None  # What is in no file of it is in this ledger.
        asked = place - IS_ASKED if place >= IS_ASKED else 0
        while True:
            left_s = until_s - time.monotonic()
            if len(page.events) == limit or left_s <= 0:
                return place
            n_left = limit - len(page.events)
            question = AskEvents(
                *(0, _in_bounds(wanted.start), _in_bounds(wanted.end), file, asked),
                limit=max(n_left, ASKED_MIN),
                subjects=narrow.subjects,
                route=narrow.route,
                method=narrow.method,
                kind=narrow.kind,
            )
            try:
                found, next_after = await self._ask(
                    edge, question, timeout_s=min(left_s, ANSWER_S)
                )
            except NotTold as error:
                page.untold.append(Untold(name, str(error), is_filed=False))
                return None
            taken = [one for one in found if wanted.matches(one.event)]
            page.events.extend((name, one) for one in taken[:n_left])
            if len(taken) > n_left:
                return IS_ASKED + taken[n_left - 1].event_id
            if next_after is None:
                return None
            asked, place = next_after, IS_ASKED + next_after

    async def _ask(
        self, edge: Edge, question: AskEvents, *, timeout_s: float
    ) -> tuple[list[Found], int | None]:
        """Return what an edge tells, and where to go on.

        Raises:
            NotTold: nothing, or what cannot be.
        """
        told = await self._questions.ask(edge, question, timeout_s=timeout_s)
        ends = [question.after, *(one.id for one in told.events)]
        is_in_order = all(one < next_one for one, next_one in pairwise(ends))
        if (
            not is_in_order
            or len(told.events) > question.limit
            or (told.next_after is not None and told.next_after <= question.after)
        ):
            raise NotTold("what it told is in no order: `meterline verify` there")
        return [_found(one) for one in told.events], told.next_after


def _in_bounds(time_ms: int) -> int:
    """Return a time that can be asked for: what cannot would end the connection."""
    return min(max(time_ms, 0), SEQ_MAX)


def _found(told: EventTold) -> Found:
    """Return what was told as one that was in a file would be.

    Raises:
        NotTold: it can be no event.
    """
    event = EventRow(*(getattr(told, name) for name in EventRow._fields))
    try:
        stored_in(event.properties)
        if event.quantities:
            msgspec.json.decode(event.quantities, type=dict[str, int | float | str])
    except (ValueError, msgspec.MsgspecError) as error:
        raise NotTold(f"event {told.id} of it cannot be read: {error}") from error
    return Found(None, told.id, told.producer, event)
