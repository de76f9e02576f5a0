"""The same for WSGI apps: Flask, Django under gunicorn, and whatever else speaks it.

    from meterline.wsgi import MeterMiddleware

    app.wsgi_app = MeterMiddleware(app.wsgi_app)  # Flask
    application = MeterMiddleware(get_wsgi_application())  # Django

An app is called, says status and headers, and gives back what its server goes through
piece by piece, perhaps in another thread. All of that runs in one context, so that
``meterline.record`` finds its request wherever the app runs.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextvars import Context, copy_context
from functools import lru_cache
from time import perf_counter_ns, time_ns
from typing import Any, Final, Self, Unpack, cast

from meterline import inside, subjects, wsgi_apps
from meterline.asgi_types import Scope
from meterline.events import STATUS_MAX, Flag, Kind
from meterline.exchange import METHODS, SCOPE_KEY, Exchange
from meterline.handle import LeftOut, current_event
from meterline.meter import Meter
from meterline.metering import Metering, Request, checked_app
from meterline.open_event import set_as_usual
from meterline.options import MeterOptions
from meterline.quantities import exact_method
from meterline.traffic import traffic

Environ = dict[str, Any]
StartResponse = Callable[..., Callable[[bytes], object]]
WSGIApp = Callable[[Environ, StartResponse], Iterable[bytes]]
Resolver = Callable[[Environ], str | None]

_REQUEST: Final = int(Kind.REQUEST)
_SERVER_ERROR: Final = 500
STATUSES_MAX: Final = 256  # texts that are remembered: an app has few
# Made once: a union of classes that is written where it is asked costs most of a question.
_OF_ASGI: Final = (Exchange, LeftOut)
_SIZED: Final = (list, tuple)


@set_as_usual
class Call(Request, eq=False):
    """One call of a WSGI app, until its server has closed what came of it."""

    # Made by place, in this order: names would cost a quarter more.
    meter: Meter
    start_ns: int
    time_ms: int
    middleware: Metering
    scope: Scope
    context: Context
    servers_start_response: StartResponse
    servers_write: Callable[[bytes], object] | None = None
    """Sends a piece at once; the server gives it to who says how the response begins."""
    headers: Sequence[tuple[str, str]] = ()
    has_begun: bool = False

    @classmethod
    def begin(
        cls, middleware: Metering, environ: Environ, start_response: StartResponse
    ) -> Self:
        """Return a call that begins now, as the current event of a context of its own."""
        call = cls(
            middleware.meter,
            perf_counter_ns(),
            time_ns() // 1_000_000,
            middleware,
            environ,
            copy_context(),
            start_response,
        )
        try:
            call.method = METHODS[environ["REQUEST_METHOD"]]
        except KeyError:
            call.method = exact_method(environ.get("REQUEST_METHOD", "GET"))
        call.context.run(current_event.set, call)
        traffic.started += 1
        return call

    def start_response(
        self, status: str, headers: list[tuple[str, str]], exc_info: Any = None
    ) -> Callable[[bytes], object]:
        """Pass on what the app says of its response, and take note of it."""
        given = (status, headers) if exc_info is None else (status, headers, exc_info)
        # First: where something was sent already, the server raises.
        self.servers_write = self.servers_start_response(*given)
        try:
            self.status = _status_of(status)
            self.headers = headers
            self._look()
        except Exception:  # noqa: BLE001 - edge: the app must not see our errors
            self.middleware.note_failure()
        return self.write_at_once

    def write_at_once(self, data: bytes) -> object:
        """Send a piece by what the server gave for that, as few apps do."""
        self.bytes_out += len(data)
        assert self.servers_write is not None
        return self.servers_write(data)

    def _look(self) -> None:
        """Find out subject and route: later, the frameworks have forgotten them."""
        self.has_begun = True
        self.subject = self.subject or self.middleware.resolve_subject(self)
        self.route = self.middleware.resolve_route(self.scope)

    def finish(self) -> None:
        """Record the event, once."""
        if self.is_over:
            return
        try:
            self._write()
        except Exception:  # noqa: BLE001 - edge: the app must not see our errors
            self.middleware.note_failure()

    def end(self, error: BaseException | None) -> None:
        """Record a response that did not come to its end."""
        if self.is_over:
            return
        if error is None or isinstance(error, GeneratorExit):
            self.flags |= Flag.INCOMPLETE
        elif isinstance(error, Exception):
            self.flags |= Flag.ERROR
            if not self.bytes_out:  # nothing is sent before the first piece
                self.status = _SERVER_ERROR  # as servers answer then
        else:  # SystemExit of a worker that is told to go, a greenlet that is killed
            self.flags |= Flag.CANCELLED
        self.finish()

    def leave(self) -> None:
        """Note that the server has done with it."""
        if self.left_at:
            return
        self.left_at = traffic.end()
        if self.handle is not None:
            self.handle.settle(self)

    def _write(self) -> None:
        duration_us = (perf_counter_ns() - self.start_ns) // 1000
        if not self.has_begun:
            self._look()
        if self.is_excluded():
            self.leave_out()
            return
        middleware = self.middleware
        key = None if middleware.retry_header is None else middleware.key_of(self)
        quantities = self.close()
        self.meter.append(
            self.encoded(
                (
                    self.time_ms,
                    _REQUEST,
                    self.subject,
                    self.method,
                    self.route,
                    self.status,
                    duration_us,
                    self.bytes_in,
                    self.bytes_out,
                    self.flags,
                    quantities,
                ),
                key,
            )
        )


class Body:
    """What a server goes through, piece by piece, and closes."""

    def __init__(self, call: Call, pieces: Iterable[bytes]) -> None:
        self._call = call
        self._pieces = pieces
        # Of these no code of the app's runs, which would have to run in its context.
        self._plain: Iterator[bytes] | None = None
        if type(pieces) in _SIZED:
            self._plain = iter(pieces)
        self._iterator: Iterator[bytes] | None = None
        self._left = -1  # pieces, where their number is known

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        call = self._call
        try:
            plain = self._plain
            piece = call.context.run(self._next) if plain is None else next(plain)
        except StopIteration:
            if not call.is_over:
                call.context.run(call.finish)
            raise
        except BaseException as error:
            call.context.run(call.end, error)
            raise
        call.bytes_out += len(piece)
        self._left -= 1
        if not self._left:  # recorded before it goes out
            call.context.run(call.finish)
        return piece

    def _next(self) -> bytes:
        if self._iterator is None:
            self._iterator = iter(self._pieces)
        return next(self._iterator)

    def close(self) -> None:
        """Close what the app gave back; if its end was not reached, the client left."""
        call = self._call
        try:
            if (close := getattr(self._pieces, "close", None)) is not None:
                call.context.run(close)
        except BaseException as error:
            call.context.run(call.end, error)
            raise
        finally:
            if not call.is_over:
                call.context.run(call.end, None)
            call.leave()


class SizedBody(Body):
    """The same with a length: of a single piece, servers make a Content-Length."""

    def __init__(self, call: Call, pieces: Any) -> None:
        super().__init__(call, pieces)
        self._left = self._n_pieces = len(pieces)

    def __len__(self) -> int:
        return self._n_pieces


class Input:
    """What the client sends, counted as the app reads it."""

    def __init__(self, inner: Any, call: Call) -> None:
        self._inner = inner
        self._call = call

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def _counted(self, data: bytes) -> bytes:
        self._call.bytes_in += len(data)
        return data

    def read(self, *size: Any) -> bytes:
        """Return the next bytes."""
        return self._counted(self._inner.read(*size))

    def readline(self, *size: Any) -> bytes:
        """Return the next line."""
        return self._counted(self._inner.readline(*size))

    def readlines(self, *hint: Any) -> list[bytes]:
        """Return the lines that are left."""
        return [self._counted(line) for line in self._inner.readlines(*hint)]

    def __iter__(self) -> Iterator[bytes]:
        return (self._counted(line) for line in self._inner)


class MeterMiddleware(Metering):
    """Meters a WSGI app: one usage event for every request.

    It never blocks and never raises into the app. The event is recorded when the last
    piece of the response has been handed to the server, or when that closes it before.
    Where two are nested, the outer one meters, and also where an ASGI app that is
    metered has this one inside.

    Args:
        app: the WSGI app inside.
        subject: says who used it: ``environ -> str | None``, called as the response
            begins, while the app's own request is there to be asked. Without one, the
            user that Django or Flask-Login has found, or ``REMOTE_USER``.
        exclude: which requests make no event, as in ``meterline.MeterMiddleware``.
        idempotency_header: likewise.
        options: those of ``Meter``: ``app_name``, ``disabled`` and so on.

    Raises:
        TypeError: the app cannot be called.
        ValueError: an option that cannot be meant.
    """

    def __init__(
        self,
        app: WSGIApp,
        *,
        subject: Resolver | None = None,
        exclude: Iterable[str | int] | None = None,
        idempotency_header: str | None = None,
        **options: Unpack[MeterOptions],
    ) -> None:
        super().__init__(
            # What it is given is an environ each time.
            subject=subjects.chosen(subject, cast("subjects.Resolver", wsgi_apps.user)),
            exclude=exclude,
            idempotency_header=idempotency_header,
            options=options,
            template_of=wsgi_apps.route,
        )
        self.app = checked_app(app)
        self._key_name = f"HTTP_{(self.retry_header or '').upper().replace('-', '_')}"
        inside.note_django_requests(app)

    def header_of(self, scope: Scope) -> str:
        """Return what a request has in the header with its client's key."""
        return str(scope.get(self._key_name, ""))

    def __call__(
        self, environ: Environ, start_response: StartResponse
    ) -> Iterable[bytes]:
        """Serve one request, and meter it."""
        outer = current_event.get()
        is_asgi = isinstance(outer, _OF_ASGI) and not outer.left_at
        if SCOPE_KEY in environ or is_asgi:
            if isinstance(outer, Call) and outer.start_ns == environ[SCOPE_KEY]:
                outer.inner, outer.scope = self, environ
            return self.app(environ, start_response)
        call = Call.begin(self, environ, start_response)
        environ[SCOPE_KEY] = call.start_ns
        if self.exclusion is not None and self.exclusion.covers(
            _path(environ), call.method or ""
        ):
            call.leave_out()
        if _has_body(environ):
            environ["wsgi.input"] = Input(environ["wsgi.input"], call)
        try:
            pieces = call.context.run(self.app, environ, call.start_response)
        except BaseException as error:
            call.context.run(call.end, error)
            call.leave()
            raise
        if _is_file(environ, pieces):
            # The server sends it as a file, which it would not if it were wrapped.
            call.bytes_out += _file_bytes(pieces, call.headers)
            call.context.run(call.finish)
            call.leave()
            return pieces
        made = SizedBody if isinstance(pieces, _SIZED) else Body
        return made(call, pieces)


def _path(environ: Environ) -> str:
    """Return the path as the app sees it; WSGI has its bytes as characters."""
    path: str = environ.get("PATH_INFO") or "/"
    return path.encode("latin-1", "replace").decode("utf-8", "replace")


@lru_cache(STATUSES_MAX)
def _status_of(status: str) -> int:
    number = status[:3]
    is_one = number.isascii() and number.isdecimal()
    return int(number) if is_one and int(number) <= STATUS_MAX else 0


def _has_body(environ: Environ) -> bool:
    is_sized = environ.get("CONTENT_LENGTH") not in (None, "", "0")
    return is_sized or "HTTP_TRANSFER_ENCODING" in environ


def _is_file(environ: Environ, pieces: object) -> bool:
    wrapper: Any = environ.get("wsgi.file_wrapper")
    return isinstance(wrapper, type) and isinstance(pieces, wrapper)


def _file_bytes(pieces: Any, headers: Sequence[tuple[str, str]]) -> int:
    """Return how much of a file the server is going to send."""
    try:
        length = dict(headers).get("Content-Length")
        if length is not None and length.isdecimal():
            return int(length)
        descriptor = pieces.filelike.fileno()
        position: int = os.lseek(descriptor, 0, os.SEEK_CUR)
        return max(0, os.fstat(descriptor).st_size - position)
    except (AttributeError, OSError, TypeError, ValueError):
        return 0
