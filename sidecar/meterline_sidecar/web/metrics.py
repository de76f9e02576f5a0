"""The state of every part for Prometheus: ``/metrics``."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from meterline_sidecar.later import later
from meterline_sidecar.web.api.status import read_status
from meterline_sidecar.web.parts import Parts

_module = later("meterline_sidecar.web.exposition", needs="prometheus_client")
"""1 MiB with Prometheus's client, which a sidecar that nobody scrapes does without."""


async def metrics(request: Request) -> Response:
    """Answer the state in Prometheus's text format."""
    parts: Parts = request.app.state.parts
    state = await read_status(parts)
    n_named = parts.config.sidecar.metrics_customers
    named = parts.standings.ranked(n_named) if n_named else None
    text, media_type = _module().exposition(state, named)
    return Response(text, media_type=media_type)


ROUTES = [Route("/metrics", metrics)]
