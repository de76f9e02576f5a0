"""Edges: which there are and how they stand; adopting and retiring one."""

from collections.abc import Set
from typing import Annotated

import msgspec
from msgspec import Meta

from meterline_sidecar.clock import format_time_ms, time_text
from meterline_sidecar.fleet.edge import Edge
from meterline_sidecar.fleet.edges import Edges
from meterline_sidecar.fleet.forwarder import Forwarder
from meterline_sidecar.fleet.leading import Leading
from meterline_sidecar.web.answers.edges import (
    EdgeList,
    Forwarding,
    ShownEdge,
    ShownLeader,
)
from meterline_sidecar.web.answers.reason import Reason
from meterline_sidecar.web.operations import Operation
from meterline_sidecar.web.parts import Parts
from meterline_sidecar.web.problems import Conflict
from meterline_sidecar.web.query import Nothing

NOT_A_CENTRE = 'this sidecar takes in no edges: sidecar.role is not "centre"'


EdgeName = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=256,
        description="Its name, or the beginning of its id.",
    ),
]


class EdgeQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which edge, and why."""

    edge: EdgeName
    reason: Reason


async def list_edges(parts: Parts, query: Nothing) -> EdgeList:
    """Return all edges, and how they stand."""
    again = await parts.door.countings.counting_again() if parts.door else set[str]()
    return EdgeList(edges=shown_edges(parts.edges, again))


async def adopt_edge(parts: Parts, query: EdgeQuery, author: str) -> EdgeList:
    """Take the ledger that comes as an edge for what it is; nothing counts twice."""
    await _edges(parts).adopt(query.edge, author=author, reason=query.reason)
    return EdgeList(edges=shown_edges(parts.edges))


async def retire_edge(parts: Parts, query: EdgeQuery, author: str) -> EdgeList:
    """Note that an edge does not come back: it is refused, and holds up no period."""
    await _edges(parts).retire(query.edge, author=author, reason=query.reason)
    return EdgeList(edges=shown_edges(parts.edges))


def _edges(parts: Parts) -> Edges:
    if parts.edges is None:
        raise Conflict(NOT_A_CENTRE)
    return parts.edges


def shown_edges(
    edges: Edges | None, counting_again: Set[str] = frozenset()
) -> tuple[ShownEdge, ...]:
    """Return all edges as they are shown; none where this is no centre.

    Args:
        counting_again: the ids of those that have not counted by newer meters yet.
    """
    if edges is None:
        return ()
    return tuple(
        _shown(one, counts_again=one.row.edge in counting_again) for one in edges.all()
    )


def _shown(edge: Edge, *, counts_again: bool) -> ShownEdge:
    row = edge.row
    state = "connected" if edge.is_connected else "silent"
    if edge.refusal:
        state = "refused"
    if edge.is_retired:
        state = "retired"
    return ShownEdge(
        edge=row.edge,
        name=row.name,
        state=state,
        seen=format_time_ms(row.seen_ms),
        seen_ms=row.seen_ms,
        low=format_time_ms(row.low_ms) if row.low_ms else None,
        low_ms=row.low_ms,
        forward=row.forwards,
        lost=edge.lost,
        held=edge.held if edge.rolls_up else 0,
        counts_again=counts_again,
        behind=edge.behind,
        missing=edge.missing,
        filed=time_text(edge.filed_ms or None),
        filed_ms=edge.filed_ms,
        clock_ms=row.skew_ms,
        version=row.program,
        frames=edge.frames,
        events=edge.events,
        refusals=edge.refusals,
        credential=row.credential or None,
        trouble=edge.refusal or None,
    )


def shown_leader(leading: Leading) -> ShownLeader | None:
    """Return which centre leads; ``None`` where there is one."""
    turn = leading.turn
    if turn is None:
        return None
    return ShownLeader(
        name=turn.name if turn.left_ms or leading.is_leader else "",
        is_here=leading.is_leader,
        election=turn.fence,
        since=format_time_ms(turn.since_ms),
        since_ms=turn.since_ms,
    )


def shown_forwarding(forwarder: Forwarder | None) -> Forwarding | None:
    """Return how an edge fares with its centre; ``None`` where this is no edge."""
    if forwarder is None:
        return None
    filed_ms = 0 if forwarder.filing is None else forwarder.filing.filed_ms
    return Forwarding(
        centre=str(forwarder.address),
        edge=forwarder.edge,
        name=forwarder.name,
        connected=forwarder.is_connected,
        acked_batch=forwarder.acked,
        acked=time_text(forwarder.acked_ms),
        acked_ms=forwarder.acked_ms,
        behind=forwarder.behind,
        low=format_time_ms(forwarder.low_ms) if forwarder.low_ms else None,
        low_ms=forwarder.low_ms,
        filed=time_text(filed_ms or None),
        filed_ms=filed_ms,
        clock_ms=forwarder.skew_ms,
        trouble=forwarder.trouble,
    )


OPERATIONS = (
    Operation("/v1/edges", list_edges),
    Operation("/v1/edges/{edge}/adopt", adopt_edge, method="POST"),
    Operation("/v1/edges/{edge}/retire", retire_edge, method="POST"),
)
