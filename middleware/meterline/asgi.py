"""The middleware: from an ASGI request to one usage event.

Everything here runs in the app's request. It takes no lock that it could wait for,
awaits nothing of its own, and raises nothing. What costs time was measured; where
the code is not the plainest, a comment says what that saves.
"""

import logging
import os
import sys
from collections.abc import Awaitable
from time import perf_counter_ns, time_ns
from typing import Any, Final, Unpack

from meterline import inside, subjects
from meterline.asgi_types import ASGIApp, Message, Receive, Scope, Send
from meterline.events import STATUS_MAX, Flag, Kind
from meterline.meter import Meter, Stats, encode
from meterline.open_event import OpenEvent, current_event, traffic
from meterline.options import MeterOptions
from meterline.quantities import checked_subject, exact_method
from meterline.routes import RouteMap
from meterline.stray import set_home

SCOPE_KEY: Final = "meterline"
"""Marks a request that is being metered, with when it began."""

# As plain numbers: looking up an enum's member takes longer than encoding one.
_REQUEST: Final = int(Kind.REQUEST)
_WEBSOCKET: Final = int(Kind.WEBSOCKET)

# To plain values, whatever the classes of the server's are (``HTTPStatus.OK``).
_STATUSES: Final = {status: status for status in range(STATUS_MAX + 1)}
_METHODS: Final = {
    name: name for name in ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE")
}
_DISCONNECTS: Final = frozenset({"ClientDisconnect", "ClientDisconnected"})
_METHOD_NOT_ALLOWED: Final = 405
_SERVER_ERROR: Final = 500
_SWITCHING_PROTOCOLS: Final = 101
_FORBIDDEN: Final = 403
_SLOW_US: Final = 1000  # what took less was sent before its client could be seen to go

log = logging.getLogger(__name__)


class Exchange(OpenEvent):
    """One request and its response, as far as they have come.

    Its ``send`` and ``receive`` are what the app gets. The attributes are set by
    ``MeterMiddleware``: an ``__init__`` would cost more than all of them.
    """

    __slots__ = (
        "bytes_in",
        "bytes_out",
        "inner",
        "inner_receive",
        "inner_send",
        "middleware",
        "scope",
        "time_ms",
    )

    middleware: "MeterMiddleware"
    scope: Scope
    inner: "MeterMiddleware | None"  # further inside, with a resolver of its own
    inner_receive: Receive
    inner_send: Send
    time_ms: int
    bytes_in: int
    bytes_out: int

    def send(self, message: Message) -> Awaitable[None]:
        """Take note of what the app sends, and pass it on.

        Not ``async``: returning the server's own awaitable saves a coroutine.
        """
        try:
            kind = message["type"]
            if kind == "http.response.body":
                if body := message.get("body"):
                    self.bytes_out += len(body)
                # Recorded before it goes out, not when the app call has ended:
                # background tasks are not the request's time.
                if not message.get("more_body"):
                    self.finish()
            elif kind == "http.response.start":
                self.status = _STATUSES.get(message["status"], 0)
            elif not self.is_over:
                self.note_unusual(message)
        except Exception:  # noqa: BLE001 - edge: the app must not see our errors
            self.middleware.note_failure()
        return self.inner_send(message)

    async def receive(self) -> Message:
        """Take note of what the app receives."""
        message = await self.inner_receive()
        try:
            if message["type"] == "http.request":
                if body := message.get("body"):
                    self.bytes_in += len(body)
            elif message["type"] == "http.disconnect" and not self.is_over:
                self.flags |= Flag.INCOMPLETE
        except Exception:  # noqa: BLE001 - edge: the app must not see our errors
            self.middleware.note_failure()
        return message

    def note_unusual(self, message: Message) -> None:
        """Count a body that the server takes from a file."""
        match message["type"]:
            case "http.response.pathsend":
                self.bytes_out += os.stat(message["path"]).st_size  # noqa: PTH116
                self.finish()
            case "http.response.zerocopysend":
                self.bytes_out += message.get("count") or 0
                if not message.get("more_body"):
                    self.finish()
            case _:
                pass

    def end(self, error: BaseException | None) -> None:
        """Record a response that has no last body message."""
        if self.is_over:
            return
        try:
            if self.flags & Flag.ERROR:  # and no answer has come since
                self.status = self.status or _SERVER_ERROR
            elif error is None or type(error).__name__ in _DISCONNECTS:
                self.flags |= Flag.INCOMPLETE
            elif not isinstance(error, Exception):
                # asyncio's CancelledError, trio's Cancelled, SystemExit
                self.flags |= Flag.CANCELLED
            else:
                self.flags |= Flag.ERROR
                self.look_inside(error)
                if not self.status and self.awaits_answer():
                    return
                self.status = self.status or _SERVER_ERROR  # as servers answer
            self.finish()
        except Exception:  # noqa: BLE001 - edge: the app must not see our errors
            self.middleware.note_failure()

    def awaits_answer(self) -> bool:
        """Let the answer of an error handler outside of us come through here."""
        if send := inside.redirect_error_answer(self.send):
            self.inner_send = send
            self.wait(for_answer=True)
        return send is not None

    def finish(self) -> None:
        """Record the event, once."""
        if self.is_over:
            return
        duration_us = (perf_counter_ns() - self.start_ns) // 1000
        if duration_us > _SLOW_US and inside.has_left(self.inner_receive):
            self.flags |= Flag.INCOMPLETE
        named = self.scope["method"]
        method = _METHODS[named] if named in _METHODS else exact_method(named)
        self.write(_REQUEST, method, duration_us)

    def write(self, kind: int, method: str | None, duration_us: int) -> None:
        """Ask for subject and route, and append the event."""
        middleware = self.middleware
        self.method = method
        if "router" not in self.scope:  # where Starlette's puts itself
            self.look_inside(None)
        if self.subject is None:
            self.subject = middleware.resolve_subject(self)
        scope = self.scope
        # Where the method is not allowed, no route was taken.
        if self.status != _METHOD_NOT_ALLOWED:
            # What nearly every request asks for, without a call.
            route = middleware.templates.get(id(scope.get("route")))
            self.route = route or middleware.resolve_route(scope)
        # A plain tuple: building a UsageEvent would cost more than encoding it.
        middleware.meter.append(
            encode(
                (
                    self.time_ms,
                    kind,
                    self.subject,
                    method,
                    self.route,
                    self.status,
                    duration_us,
                    self.bytes_in,
                    self.bytes_out,
                    self.flags,
                    self.close(),
                )
            )
        )

    def look_inside(self, error: BaseException | None) -> None:
        """Go on with the scope that the app had further inside, if it is another."""
        if self.middleware.routes.is_starlette:
            mark = SCOPE_KEY, self.start_ns
            self.scope = inside.innermost_scope(mark, error) or self.scope

    def describe(self) -> None:
        """Find out subject, route and method as far as they are known by now."""
        self.method = exact_method(self.scope.get("method", "GET"))  # websockets: none
        self.subject = self.subject or self.middleware.resolve_subject(self)
        self.route = self.route or self.middleware.resolve_route(self.scope)


class WebSocket(Exchange):
    """One websocket connection: one event, when it closes."""

    __slots__ = ()

    part = int(Flag.OF_WEBSOCKET)

    def send(self, message: Message) -> Awaitable[None]:
        """Take note of what the app sends, and pass it on."""
        try:
            match message["type"]:
                case "websocket.send":
                    self.bytes_out += inside.payload_bytes(message)
                case "websocket.accept":
                    self.status = _SWITCHING_PROTOCOLS
                case "websocket.http.response.start":
                    self.status = _STATUSES.get(message["status"], 0)
                case "websocket.http.response.body":
                    self.bytes_out += len(message.get("body") or b"")
                    if not message.get("more_body"):
                        self.finish()
                case "websocket.close":
                    # Before it was accepted, closing is refusing.
                    self.status = self.status or _FORBIDDEN
                    self.finish()
                case _:
                    pass
        except Exception:  # noqa: BLE001 - edge: the app must not see our errors
            self.middleware.note_failure()
        return self.inner_send(message)

    async def receive(self) -> Message:
        """Take note of what the app receives."""
        message = await self.inner_receive()
        try:
            if message["type"] == "websocket.receive":
                self.bytes_in += inside.payload_bytes(message)
            elif message["type"] == "websocket.disconnect":
                self.finish()
        except Exception:  # noqa: BLE001 - edge: the app must not see our errors
            self.middleware.note_failure()
        return message

    def finish(self) -> None:
        """Record the event, once."""
        if not self.is_over:
            duration_us = (perf_counter_ns() - self.start_ns) // 1000
            self.write(_WEBSOCKET, "GET", duration_us)


class MeterMiddleware:
    """Meters an ASGI app: one usage event for every request and every websocket.

        app.add_middleware(MeterMiddleware)                       # Starlette, FastAPI
        app = MeterMiddleware(app, subject=from_state("account")) # any ASGI app

    It never blocks, never raises into the app, and needs neither lifespan nor the
    sidecar to be there. Where two are nested, the outer one meters.

    Args:
        app: the ASGI app inside.
        subject: says who used it: ``scope -> str | None``, called when the response
            is over. Without one, the user that the app has put in the scope.
        options: those of ``Meter``: ``app_name``, ``disabled`` and so on.

    Raises:
        ValueError: an option that cannot be meant.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        subject: subjects.Resolver | None = None,
        **options: Unpack[MeterOptions],
    ) -> None:
        self.app = app
        self.meter = Meter(**options)
        self.routes = RouteMap(app)
        self.templates = self.routes.templates
        self._subject = subject or subjects.default
        inside.note_django_requests(app)
        set_home(self.meter)

    @property
    def stats(self) -> Stats:
        """What was recorded, dropped and shipped by this process."""
        return self.meter.stats

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, websocket or lifespan, and meter it."""
        kind = scope["type"]
        if kind == "http":
            exchange = Exchange()
        elif kind == "websocket":
            exchange = WebSocket()
        else:
            if kind == "lifespan":
                send = self._lifespan(send)
            await self.app(scope, receive, send)
            return
        if SCOPE_KEY in scope:
            outer = current_event.get()
            if isinstance(outer, Exchange) and outer.start_ns == scope[SCOPE_KEY]:
                outer.inner, outer.scope = self, scope
            await self.app(scope, receive, send)
            return
        # Also tells this request's scopes from others'; the exchange would be a cycle.
        scope[SCOPE_KEY] = exchange.start_ns = perf_counter_ns()
        exchange.time_ms = time_ns() // 1_000_000
        exchange.middleware = self
        exchange.meter = self.meter
        exchange.scope = scope
        exchange.inner_receive = receive
        exchange.inner_send = send
        exchange.status = exchange.bytes_in = exchange.bytes_out = exchange.flags = 0
        exchange.subject = exchange.route = exchange.quantities = None
        exchange.handle = exchange.inner = None
        exchange.is_over = exchange.is_left = False
        # Always set: a server may start a request in the context of the one before.
        token = current_event.set(exchange)
        traffic.started += 1
        try:
            await self.app(scope, exchange.receive, exchange.send)
            if not exchange.is_over:
                exchange.end(None)
        except BaseException as error:
            exchange.end(error)
            raise
        finally:
            exchange.is_left = True
            traffic.ended = ended = traffic.ended + 1
            exchange.alone_at = ended if ended == traffic.started else -1
            if exchange.handle is not None:
                exchange.handle.settle(exchange)
            try:  # noqa: SIM105 - `suppress` costs more than all the rest here
                current_event.reset(token)
            except ValueError:  # closed by the collector, in somebody else's context
                pass

    def _lifespan(self, send: Send) -> Send:
        """Open with the app, and close before its server is told that it has ended."""
        self.meter.open()

        async def metered_send(message: Message) -> None:
            if message["type"].startswith("lifespan.shutdown."):
                await self._close()
            await send(message)

        return metered_send

    async def _close(self) -> None:
        # Imported already where it runs; 60 ms where it does not.
        asyncio: Any = sys.modules.get("asyncio")
        try:
            if asyncio is not None and asyncio._get_running_loop() is not None:
                await asyncio.to_thread(self.meter.close)
                return
        except RuntimeError:
            log.debug("no thread to be had for closing", exc_info=True)
        # Or trio: there is nothing left to hold up.
        self.meter.close()

    def resolve_subject(self, exchange: Exchange) -> str | None:
        """Return who used it; ``None``, with a flag, where the answer is no subject."""
        try:
            subject = self._subject(exchange.scope)
            if subject is None and exchange.inner is not None:
                subject = exchange.inner._subject(exchange.scope)
        except Exception:  # edge: the resolver is the app's code
            problem = "the subject resolver raised"
            log.debug(problem, exc_info=True)
        else:
            text, problem = ("", "") if subject is None else checked_subject(subject)
            if not problem:
                return text or None
        exchange.flags |= Flag.BAD_SUBJECT
        self.meter.complaints.add(problem)
        return None

    def resolve_route(self, scope: Scope) -> str | None:
        """Return the template of the route that was taken, if one was."""
        try:
            return self.routes.template(scope)
        except Exception:  # edge: frameworks change their insides
            self.meter.complaints.add("could not find a request's route")
            log.debug("could not find a request's route", exc_info=True)
            return None

    def note_failure(self) -> None:
        """Count an event that our own error has cost, and say so once."""
        self.meter.fail("could not meter a request")
