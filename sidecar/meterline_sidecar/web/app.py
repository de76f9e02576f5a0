"""Puts the HTTP side together."""

from starlette.applications import Starlette

from meterline_sidecar.parts import Parts
from meterline_sidecar.web import status, v1
from meterline_sidecar.web.problems import HANDLERS


def make_app(parts: Parts) -> Starlette:
    """Return the ASGI app that answers for these parts."""
    app = Starlette(
        routes=[*status.ROUTES, *v1.ROUTES],
        exception_handlers={**HANDLERS},
    )
    app.state.parts = parts
    return app
