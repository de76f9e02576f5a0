"""What becomes of a form that was sent: it is carried out once, or shown again.

Each form that changes something has a key, made when it was shown. Whoever sends it a
second time, by going back, by pressing twice or from another tab, is told that it was
sent before, and nothing is changed. Where something is wrong with a form, its page comes
again with what was typed, and with what is wrong beside it.
"""

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response

from meterline_sidecar.store.once import Once, Used
from meterline_sidecar.web.forms import KEY, read_pairs
from meterline_sidecar.web.guard import takes_pages
from meterline_sidecar.web.once import carry_out, digest
from meterline_sidecar.web.parts import Parts
from meterline_sidecar.web.problems import REFUSALS, BadRequest, refusal_of
from meterline_sidecar.web.view.form import Sent, new_key
from meterline_sidecar.web.view.render import Page, render

Act = Callable[[Request], Awaitable[Response]]


def sent(act: Act, *, page: Page) -> Page:
    """Return what answers a form: it is carried out once, or shown again on its page.

    Args:
        page: the page that it is on; asked with the path and the query of the form.
    """

    async def answer(request: Request) -> Response:
        fields: dict[str, str] = {}
        one: Once | None = None
        try:
            pairs, files = await read_pairs(request)
            fields = dict(pairs)
            if fields.get("dry_run"):  # it changes nothing, and may be pressed again
                return await act(request)
            one = _once(request, pairs, [part for file in files for part in file])
            return await carry_out(
                request,
                one,
                lambda: act(request),
                again=lambda used: _told(request, used, one),
            )
        except tuple(REFUSALS) as error:
            if not takes_pages(request.headers):
                raise
            key = fields.get(KEY) if one is not None and not one.is_kept else None
            request.state.sent = Sent(
                act.__name__,
                fields,
                wrong=str(error),
                status=refusal_of(error).status,
                key=key or new_key(),
            )
            return await page(request)

    return answer


def _once(
    request: Request, pairs: list[tuple[str, str]], files: list[str | bytes]
) -> Once:
    key = dict(pairs).get(KEY, "")
    if not key:
        raise BadRequest(
            "this form was sent without the key that its page gave it, and nothing was"
            " changed: look at it, and send it again"
        )
    typed = sorted(pair for pair in pairs if pair[0] != KEY)
    asked = digest(
        request.url.path.encode(),
        *(text.encode() for pair in typed for text in pair),
        *(one.encode() if isinstance(one, str) else one for one in files),
    )
    parts: Parts = request.app.state.parts
    return Once(digest(b"form", key.encode()), asked, now_ms=parts.clock.now_ms())


def _told(request: Request, used: Used, one: Once | None) -> Response:
    """Return the page that says that a form was sent before."""
    is_same = one is not None and used.request == one.request
    place = used.answer.decode() if used.answer and used.status == 303 else ""
    context = {"used": used, "is_same": is_same, "place": place}
    return render(
        request, "sent.html", context, status=200 if is_same and place else 409
    )
