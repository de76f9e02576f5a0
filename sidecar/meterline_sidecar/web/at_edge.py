"""What is asked of an edge that only its centre does: it is refused, with the address."""

from typing import Final

from starlette.datastructures import Headers
from starlette.responses import HTMLResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from meterline_sidecar.web.guard import takes_pages
from meterline_sidecar.web.problems import problem
from meterline_sidecar.web.rights import SAFE_METHODS
from meterline_sidecar.web.view.render import refused_page

OF_EDGES: Final = frozenset(
    (
        *("/login", "/logout", "/v1/reload", "/v1/erasures", "/erasures"),
        *("/v1/archive/run", "/v1/archive/restore"),
    )
)
"""What an edge changes itself: nothing that is billed, names in its own ledger, and the
files that it writes of that."""
OF_KEEPERS: Final = frozenset(("/v1/held/accept", "/v1/held/reject"))
"""And one that keeps its events: whether their times are right is judged there."""


class AtEdge:
    """ASGI middleware of an edge: whatever changes money belongs to the centre.

    So do events over HTTP: only there is it known which ids others have taken.

    Args:
        centre: its address.
        keeps_events: whether it sends what they come to, in their place.
    """

    def __init__(self, app: ASGIApp, *, centre: str, keeps_events: bool) -> None:
        self._app = app
        self._centre = centre
        self._own = OF_EDGES | OF_KEEPERS if keeps_events else OF_EDGES

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand the request on, or refuse it."""
        is_change = scope["type"] == "http" and scope["method"] not in SAFE_METHODS
        if is_change and scope["path"] not in self._own:
            await self._refusal(scope)(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _refusal(self, scope: Scope) -> Response:
        host = self._centre.rpartition(":")[0]
        text = (
            f"this sidecar is an edge: its centre on {host} bills, and takes in events"
            " over HTTP; ask that one"
        )
        if takes_pages(Headers(scope=scope)):
            return HTMLResponse(refused_page(409, text, scope["path"]), 409)
        return problem(409, text)
