"""Forms that filter a page: what was typed stays there, and a mistake is told beside it."""

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from meterline_pricing import PricingError
from meterline_sidecar.web.guard import takes_pages
from meterline_sidecar.web.problems import BadRequest, NoSuchThing, refusal_of
from meterline_sidecar.web.view.like import meant
from meterline_sidecar.web.view.render import render

Read = Callable[[], Awaitable[dict[str, Any]]]
"""Returns what the page shows where nothing is wrong with the filters."""


def typed(request: Request, kind: type[msgspec.Struct]) -> dict[str, str]:
    """Return what stands in each field of a form, right or wrong."""
    return {name: request.query_params.get(name, "") for name in kind.__struct_fields__}


async def filtered(
    request: Request, template: str, form: dict[str, Any], read: Read
) -> Response:
    """Answer a page with filters; with wrong ones, the form and what is wrong with it.

    Args:
        form: what the template needs for the form alone; ``query`` is what was typed.
        read: its result is given to the template, too; where it raises, ``wrong`` is
            the reason, and nothing else is.
    """
    try:
        found = await read()
    except (BadRequest, NoSuchThing, PricingError) as error:
        if not takes_pages(request.headers):
            raise
        near = await meant(request.app.state.parts, form["query"])
        context = {**form, "wrong": str(error), "meant": near}
        return render(request, template, context, status=refusal_of(error).status)
    return render(request, template, {**form, **found, "wrong": ""})
