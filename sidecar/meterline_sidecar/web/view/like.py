"""Customers by a part of what they are called, a few at a time: for filters of pages."""

from bisect import bisect_left
from collections.abc import Mapping
from itertools import islice, takewhile
from typing import Annotated, Final

import msgspec
from msgspec import Meta
from starlette.requests import Request
from starlette.responses import Response

from meterline_sidecar.config.shape import Customer
from meterline_sidecar.web.operations import read_query
from meterline_sidecar.web.parts import Parts
from meterline_sidecar.web.problems import answer

LIKE: Final = 20  # as many as a person looks through


class LikeQuery(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a customer's id or name."""

    q: Annotated[str, Meta(max_length=100)] = ""


async def like(request: Request) -> Response:
    """Answer some customers with a text in their id or name, as scripts offer them."""
    query = read_query(request, LikeQuery)
    found = await customers_like(request.app.state.parts, query.q)
    return answer([{"id": one.id, "name": one.name} for one in found])


async def customers_like(parts: Parts, text: str) -> list[Customer]:
    """Return some customers with a text in their id or name.

    Those whose ids begin with it come first, without a look at any other; others only
    where there are not enough of these.
    """
    wanted = text.strip()
    ids = parts.customers.ids
    starts = islice(ids, bisect_left(ids, wanted), None)
    near = list(islice(takewhile(lambda id_: id_.startswith(wanted), starts), LIKE))
    found = [one for one in map(parts.customers.get, near) if one is not None]
    if len(found) == LIKE:
        return found
    known = set(near)
    async for one in parts.customers.each():
        if one.id not in known and _has(one, wanted.lower()):
            found.append(one)
            if len(found) == LIKE:
                break
    return found


def _has(customer: Customer, wanted: str) -> bool:
    return wanted in customer.id.lower() or wanted in customer.name.lower()


async def meant(
    parts: Parts, filters: Mapping[str, str]
) -> list[tuple[str, dict[str, str]]]:
    """Return who may be meant where a filter names no customer.

    Each by their name, and with what the filters are then.
    """
    typed = filters.get("customer", "")
    if not typed or parts.customers.get(typed) is not None:
        return []
    kept = {name: text for name, text in filters.items() if text and name != "before"}
    return [
        (one.name, {**kept, "customer": one.id})
        for one in await customers_like(parts, typed)
    ]
