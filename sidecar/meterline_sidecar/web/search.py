"""What events can be searched by, wherever they are: in a list, or to correct them."""

from typing import Annotated

from msgspec import Meta

from meterline_sidecar.store.edge.event_log import Filter
from meterline_sidecar.web.answers.events import KINDS
from meterline_sidecar.web.query import (
    CustomerId,
    Span,
    Statuses,
    Where,
    statuses_of,
    where_of,
)
from meterline_sidecar.where import KindName


class RequestSearch(Span, frozen=True, kw_only=True):
    """Which events are looked for, by what each says of its request."""

    customer: CustomerId | None = None
    subject: Annotated[str, Meta(max_length=256)] | None = None
    route: Annotated[str, Meta(max_length=512, description="A route's template.")] | (
        None
    ) = None
    method: Annotated[str, Meta(max_length=32)] | None = None
    status: Statuses | None = None
    kind: KindName | None = None


class Search(RequestSearch, frozen=True, kw_only=True):
    """Which events are looked for, by all that the ledger knows of them."""

    where: Where | None = None
    source: (
        Annotated[str, Meta(max_length=256, description="Who sent it over HTTP.")]
        | None
    ) = None
    external_id: (
        Annotated[str, Meta(max_length=256, description="What its source calls it.")]
        | None
    ) = None


def filter_of(search: Search) -> Filter:
    """Return what is looked for, but for its time.

    Raises:
        BadRequest: a status or a property that cannot be one.
    """
    return Filter(
        customer=search.customer,
        subject=search.subject,
        route=search.route,
        method=search.method,
        statuses=statuses_of(search.status),
        kind=None if search.kind is None else KINDS.index(search.kind),
        where=where_of(search.where),
        source=search.source,
        external_id=search.external_id,
    )
