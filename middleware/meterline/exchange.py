"""One request and its response: what becomes one usage event.

Everything here runs in the app's request. It takes no lock that it could wait for,
awaits nothing of its own, and raises nothing. What costs time was measured; where
the code is not the plainest, a comment says what that saves.
"""

import os
from collections.abc import Awaitable
from time import perf_counter_ns
from typing import ClassVar, Final

from meterline import inside
from meterline.asgi_types import Message, Receive, Scope, Send
from meterline.events import STATUS_MAX, Flag, Kind
from meterline.meter import Meter, encode
from meterline.metering import Metering, Request
from meterline.open_event import set_as_usual
from meterline.quantities import exact_method

SCOPE_KEY: Final = "meterline"
"""Marks a request that is being metered, with when it began."""

# As plain numbers: looking up an enum's member takes longer than encoding one.
_REQUEST: Final = int(Kind.REQUEST)
_WEBSOCKET: Final = int(Kind.WEBSOCKET)


# To plain values, whatever the classes of the server's are (``HTTPStatus.OK``). What is
# not in there is an error that is caught: to look it up otherwise takes twice as long.
_STATUSES: Final = {status: status for status in range(STATUS_MAX + 1)}
METHODS: Final[dict[str, str | None]] = {
    name: name for name in ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE")
}
_DISCONNECTS: Final = frozenset({"ClientDisconnect", "ClientDisconnected"})
_METHOD_NOT_ALLOWED: Final = 405
_SERVER_ERROR: Final = 500
_SWITCHING_PROTOCOLS: Final = 101
_FORBIDDEN: Final = 403
_SLOW_US: Final = 1000  # what took less was sent before its client could be seen to go


@set_as_usual
class Exchange(Request, eq=False):
    """One request and its response, as far as they have come.

    Its ``send`` and ``receive`` are what the app gets.
    """

    # Made by place, in this order: names would cost a quarter more.
    meter: Meter
    start_ns: int
    time_ms: int
    middleware: Metering
    scope: Scope
    inner_receive: Receive
    inner_send: Send

    def send(self, message: Message) -> Awaitable[None]:
        """Take note of what the app sends, and pass it on.

        Not ``async``: returning the server's own awaitable saves a coroutine.
        """
        try:
            kind = message["type"]
            if kind == "http.response.body":
                try:  # noqa: SIM105 - `suppress` costs more than all the rest here
                    self.bytes_out += len(message["body"])
                except (KeyError, TypeError):  # there is none
                    pass
                # Recorded before it goes out, not when the app call has ended:
                # background tasks are not the request's time.
                is_last = "more_body" not in message or not message["more_body"]
                if is_last and not self.is_over:
                    self.write(_REQUEST)
            elif kind == "http.response.start":
                try:
                    self.status = _STATUSES[message["status"]]
                except KeyError:
                    self.status = 0
            elif not self.is_over:
                self.note_unusual(message)
        except Exception:  # noqa: BLE001 - edge: the app must not see our errors
            self.middleware.note_failure()
        send = self.inner_send  # called as an attribute, it would cost three times that
        return send(message)

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
                self.bytes_out += os.stat(message["path"]).st_size
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
            try:
                self.middleware.note_failure()
            except RecursionError:
                # At the end of the app's stack there is no call to be had, and the app
                # is to see its own error. As ``Meter.fail``.
                meter = self.meter
                meter.failed += 1
                if meter.shipper is None:
                    meter.owed += 1
                else:
                    meter.shipper.spool.writer.owed += 1
        except BaseException:  # the resolver's, again: gevent's Timeout, SystemExit
            self.close()
            self.middleware.note_failure()
            raise

    def awaits_answer(self) -> bool:
        """Let the answer of an error handler outside of us come through here."""
        if send := inside.redirect_error_answer(self.send):
            self.inner_send = send
            self.wait(for_answer=True)
        return send is not None

    def finish(self) -> None:
        """Record the event, once."""
        if not self.is_over:
            self.write(_REQUEST)

    def write(self, kind: int) -> None:
        """Ask for subject and route, and append the event."""
        duration_us = (perf_counter_ns() - self.start_ns) // 1000
        middleware = self.middleware
        scope = self.scope
        status = self.status
        if kind == _REQUEST:
            try:
                method = METHODS[scope["method"]]
            except KeyError:
                method = exact_method(scope["method"])
            if duration_us > _SLOW_US and inside.has_left(self.inner_receive):
                self.flags |= Flag.INCOMPLETE
        else:
            method = "GET"
        self.method = method
        # What nearly every request asks for, with few calls: as ``resolve_subject``.
        route = middleware.templates.get(id(scope.get("route")))
        if not route or status == _METHOD_NOT_ALLOWED:
            route = self.find_route()
        self.route = route
        subject = self.subject
        if subject is None:
            resolve = middleware.resolver
            try:
                subject = resolve(self.scope)
                if subject is not None or self.inner is not None:
                    subject = self.subject = middleware.exact_subject(self, subject)
            except Exception:  # noqa: BLE001 - edge: the resolver is the app's code
                middleware.note_unresolved(self)
        if middleware.exclusion is not None and self.is_excluded():
            self.leave_out()
            return
        key = None
        if middleware.retry_header is not None and kind == _REQUEST:
            key = middleware.key_of(self)
        # These two lines stand together: see close().
        self.is_over = True
        quantities = self.quantities
        if quantities is not None:
            quantities = self.close()
        # A plain tuple: building a UsageEvent would cost more than encoding it.
        fields = (
            self.time_ms,
            kind,
            subject,
            method,
            route,
            status,
            duration_us,
            self.bytes_in,
            self.bytes_out,
            self.flags,
            quantities,
        )
        append = self.meter.append
        if self.properties is None and key is None:
            append(encode(fields))
        else:
            append(self.encoded(fields, key))

    def find_route(self) -> str | None:
        """Return the route that was taken, if one was; the scope may be another then."""
        middleware = self.middleware
        # Where Starlette's router puts itself, if it got this scope.
        if "router" not in self.scope:
            if middleware.is_starlette:
                self.look_inside(None)
            elif not middleware.has_matching and "path_template" not in self.scope:
                return None  # nobody knows of routes
        # Where the method is not allowed, no route was taken.
        if self.status == _METHOD_NOT_ALLOWED:
            return self.route
        return middleware.resolve_route(self.scope)

    def look_inside(self, error: BaseException | None) -> None:
        """Go on with the scope that the app had further inside, if it is another."""
        if self.middleware.is_starlette:
            mark = SCOPE_KEY, self.start_ns
            self.scope = inside.innermost_scope(mark, error) or self.scope

    def describe(self) -> None:
        """Find out subject, route and method as far as they are known by now."""
        self.method = exact_method(self.scope.get("method", "GET"))  # websockets: none
        self.subject = self.subject or self.middleware.resolve_subject(self)
        self.route = self.route or self.middleware.resolve_route(self.scope)


@set_as_usual
class WebSocket(Exchange, eq=False):
    """One websocket connection: one event, when it closes."""

    part: ClassVar[int] = Flag.OF_WEBSOCKET

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
            self.write(_WEBSOCKET)
