"""What the app's inside knows of a request and the middleware cannot see from outside.

All of it is looked at in rare cases only: a scope that was copied on the way in, an
error that somebody outside of the middleware answers, a client that has left.
"""

import sys
from _weakref import ref  # as in `stray`
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, Final, cast

from meterline.asgi_types import Message, Receive, Scope, Send

FRAMES_MAX: Final = 200
DEPTH_MAX: Final = 16  # wrappers round an app
DJANGO_REQUEST: Final = "meterline.django"

_ERROR_HANDLER: Final = "ServerErrorMiddleware.__call__"
_frame_of_caller: Final[Callable[[int], FrameType]] = sys._getframe  # pyright: ignore[reportPrivateUsage]
_OURS: Final = frozenset({"meterline.asgi", "meterline.exchange", __name__})


def innermost_scope(mark: tuple[str, int], error: BaseException | None) -> Scope | None:
    """Return the scope that the code had which answered, or raised ``error``.

    Middleware may hand on a copy of the scope, as the specification of ASGI asks. What
    is put there later (the user, the route) is in the copy alone.

    Args:
        mark: what the middleware has put into the scope, and so is in each copy.
        error: without one, that which is being handled, as by who answers it.
    """
    key, value = mark
    for frame in (*_frames_of(error or sys.exception()), *_callers()):
        if "scope" in frame.f_code.co_varnames:
            scope: Any = frame.f_locals.get("scope")
            if type(scope) is dict and cast("Scope", scope).get(key) == value:
                return cast("Scope", scope)
    return None


def _callers() -> Iterator[FrameType]:
    """Yield the frames between whoever sends and the middleware, innermost first."""
    frame: FrameType | None = _frame_of_caller(1)
    is_ours = True
    for _ in range(FRAMES_MAX):
        if frame is None:
            return
        if frame.f_globals.get("__name__") in _OURS:
            if not is_ours:  # the middleware's own call, or that of one inside
                yield frame
                return
        else:
            is_ours = False
            yield frame
        frame = frame.f_back


def _frames_of(error: BaseException | None) -> Iterator[FrameType]:
    """Yield the frames that ``error`` has passed, innermost first."""
    frames: list[FrameType] = []
    traceback = error.__traceback__ if error is not None else None
    while traceback is not None and len(frames) < FRAMES_MAX:
        frames.append(traceback.tb_frame)
        traceback = traceback.tb_next
    return reversed(frames)


def redirect_error_answer(send: Send) -> Send | None:
    """Let the answer to an error that is about to be raised pass through ``send``.

    Starlette's error handlers sit outside of all other middleware and answer by the
    server's own ``send``, which they keep in a closure: it is replaced there, for this
    one request. Returns the server's; ``None`` where no such handler is.
    """
    frame: FrameType | None = _frame_of_caller(1)
    for _ in range(FRAMES_MAX):
        if frame is None:
            return None
        if frame.f_code.co_qualname == _ERROR_HANDLER:
            break
        frame = frame.f_back
    else:
        return None
    # As it is written there: ``async def _send(message)`` calls ``send``.
    inner: Any = frame.f_locals.get("_send")
    if inner is None or "send" not in (names := inner.__code__.co_freevars):
        return None
    cell: Any = inner.__closure__[names.index("send")]
    servers: Send = cell.cell_contents
    cell.cell_contents = send
    return servers


def has_left(receive: Receive) -> bool:
    """Tell whether the client is known to have left, without waiting for it.

    Uvicorn's requests have it as an attribute; other servers say it to an app that
    listens, and to nobody else.
    """
    return getattr(getattr(receive, "__self__", None), "disconnected", False) is True


def note_django_requests(app: Any) -> None:
    """Let the Django app in ``app``, if it is one, put its request into the scope.

    Django keeps the user on a request object of its own, which is in no scope.
    """
    for _ in range(DEPTH_MAX):
        app = getattr(app, "__self__", app)
        if type(app).__module__.startswith("django.core.handlers"):
            made: Any = getattr(app, "request_class", None)
            if made is not None and not hasattr(made, DJANGO_REQUEST):
                app.request_class = _noting(made)
            return
        app = getattr(app, "app", None)
        if app is None:
            return


def _noting(made: Any) -> Callable[..., Any]:
    def __init__(self: Any, scope: Scope, *arguments: Any) -> None:
        scope[DJANGO_REQUEST] = ref(self)  # weak: the request has the scope
        made.__init__(self, scope, *arguments)

    names = {"__init__": __init__, DJANGO_REQUEST: True, "__module__": made.__module__}
    return type(made.__name__, (made,), names)


def payload_bytes(message: Message) -> int:
    """Return the size of a websocket message's payload."""
    if data := message.get("bytes"):
        return len(data)
    text: str = message.get("text") or ""
    return len(text) if text.isascii() else len(text.encode())
