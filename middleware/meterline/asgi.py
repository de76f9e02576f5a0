"""The middleware: one usage event for every request and every websocket."""

import contextlib
import sys
from collections.abc import Awaitable, Iterable
from time import perf_counter_ns, time_ns
from typing import Any, Unpack

from meterline import inside, subjects
from meterline.asgi_types import ASGIApp, Message, Receive, Scope, Send
from meterline.compiled import in_python, install, native
from meterline.exchange import METHODS, SCOPE_KEY, Exchange, WebSocket
from meterline.generators import Begin
from meterline.handle import LeftOut, current_event
from meterline.logs import Log
from meterline.meter import Meter, encode
from meterline.metering import Metering, checked_app
from meterline.open_event import generators, set_as_usual
from meterline.options import MeterOptions
from meterline.quantities import good_names
from meterline.routes import RouteMap
from meterline.shipper import Shipper
from meterline.spool.writer import Writer
from meterline.traffic import Traffic, traffic
from meterline.waiting import Room

log = Log(__name__)

# Looked up once: what is called for every request is otherwise looked for in a class.
_set_current = current_event.set
_reset_current = current_event.reset


class MeterMiddleware(Metering):
    """Meters an ASGI app: one usage event for every request and every websocket.

        app.add_middleware(MeterMiddleware)                       # Starlette, FastAPI
        app = MeterMiddleware(app, subject=from_state("account")) # any ASGI app

    It never blocks, never raises into the app, and needs neither lifespan nor the
    sidecar to be there. Where two are nested, the outer one meters.

    Args:
        app: the ASGI app inside.
        subject: says who used it: ``scope -> str | None``, called when the response
            is over. Without one, the user that the app has put in the scope.
        exclude: which requests and websockets make no event: paths, templates of
            routes, methods and statuses, as in ``[*meterline.NOISE, "/internal/*"]``.
            Without it, what ``METERLINE_EXCLUDE`` says.
        idempotency_header: the header by which clients tell a request that they send
            again, such as ``Idempotency-Key``: for a day, or as long as the sidecar is
            told, one of them counts. Without it, what ``METERLINE_IDEMPOTENCY_HEADER``
            says, or none.
        options: those of ``Meter``: ``app_name``, ``disabled`` and so on.

    Raises:
        TypeError: the app cannot be called.
        ValueError: an option that cannot be meant.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        subject: subjects.Resolver | None = None,
        exclude: Iterable[str | int] | None = None,
        idempotency_header: str | None = None,
        **options: Unpack[MeterOptions],
    ) -> None:
        self.app = checked_app(app)
        self.routes = RouteMap(app)
        super().__init__(
            subject=subjects.chosen(subject, subjects.default),
            exclude=exclude,
            idempotency_header=idempotency_header,
            options=options,
            template_of=self.routes.template,
        )
        self._retry_header = (self.retry_header or "").encode()
        self.left_out = LeftOut(meter=self.meter)
        self.templates = self.routes.templates
        self.is_starlette = self.routes.is_starlette
        self.has_matching = self.routes.has_matching
        inside.note_django_requests(app)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, websocket or lifespan, and meter it."""
        made = Exchange
        if scope["type"] != "http":
            if scope["type"] != "websocket":
                if scope["type"] == "lifespan":
                    send = self._lifespan(send)
                await self.app(scope, receive, send)
                return
            made = WebSocket
        if SCOPE_KEY in scope:
            outer = current_event.get()
            if isinstance(outer, Exchange) and outer.start_ns == scope[SCOPE_KEY]:
                outer.inner, outer.scope = self, scope
            await self.app(scope, receive, send)
            return
        if self.exclusion is not None and self._is_excluded(scope):
            await self._leave_out(scope, receive, send)
            return
        # Also tells this request's scopes from others'; the exchange would be a cycle.
        scope[SCOPE_KEY] = start_ns = perf_counter_ns()
        exchange = made(
            self.meter,
            start_ns,
            time_ns() // 1_000_000,
            self,
            scope,
            receive,
            send,
        )
        # Always set: a server may start a request in the context of the one before.
        token = _set_current(exchange)
        traffic.started += 1
        app = self.app  # called as an attribute, it would be taken for a method first
        try:
            await app(scope, exchange.receive, exchange.send)
            if not exchange.is_over:
                exchange.end(None)
        except BaseException as error:
            exchange.end(error)
            raise
        finally:
            # As ``traffic.end``, uncalled.
            exchange.left_at = traffic.ended = traffic.ended + 1
            if exchange.handle is not None:
                exchange.handle.settle(exchange)
            try:  # noqa: SIM105 - `suppress` costs more than all the rest here
                _reset_current(token)
            except ValueError:  # closed by the collector, in somebody else's context
                pass

    def _is_excluded(self, scope: Scope) -> bool:
        """Tell whether a request is left out by its path or method."""
        assert self.exclusion is not None
        path: str = scope["path"]
        if root := scope.get("root_path"):
            # As the app inside sees it. Not every server has the root in the path.
            inner = path.removeprefix(root)
            path = inner if inner[:1] == "/" else path
        return self.exclusion.covers(path, scope.get("method", "GET"))

    async def _leave_out(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request that makes no event, also not by a middleware inside."""
        self.meter.leave_out()
        scope[SCOPE_KEY] = 0
        # What it records must not be added to the request before it, or around it.
        token = current_event.set(self.left_out)
        traffic.started += 1
        try:
            await self.app(scope, receive, send)
        finally:
            traffic.ended += 1
            with contextlib.suppress(ValueError):  # as in ``__call__``
                current_event.reset(token)

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

    def header_of(self, scope: Scope) -> str:
        """Return what a request has in the header with its client's key."""
        for name, value in scope["headers"]:
            if name.lower() == self._retry_header:
                text: str = value.decode("latin-1")
                return text
        return ""


# --- the same, with what is compiled

if native is not None:

    @set_as_usual
    class _Compiled(Exchange, eq=False):
        """An exchange whose ``send`` is compiled."""

    async def _awaiting(awaitable: Awaitable[object]) -> None:
        """Await what an app has returned that is no coroutine."""
        await awaitable

    _is_installed = install(
        Exchange=Exchange,
        Compiled=_Compiled,
        Metering=Metering,
        Meter=Meter,
        Shipper=Shipper,
        Room=Room,
        Writer=Writer,
        Traffic=Traffic,
        traffic=traffic,
        current_event=current_event,
        scope_key=SCOPE_KEY,
        methods=tuple(METHODS),
        encode=encode,
        append=Writer.append,
        receive=Exchange.receive,
        send=Exchange.send,
        usual_resolver=subjects.default,
        good_names=good_names,
        get_asyncgen_hooks=sys.get_asyncgen_hooks,
        hook=Begin,
        watch=generators.watch,
        perf_counter_ns=perf_counter_ns,
        time_ns=time_ns,
        call=MeterMiddleware.__call__,
        awaiting=_awaiting,
        asgi_names=globals(),
        exchange_names=Exchange.write.__globals__,
    )
    _serve = native.serve
    in_python["__call__"] = MeterMiddleware.__call__

    async def _call(
        self: MeterMiddleware, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Serve as in Python; for those who look, or have a class of their own."""
        await _serve(self, scope, receive, send)

    _call.__qualname__ = MeterMiddleware.__call__.__qualname__
    if _is_installed:
        setattr(MeterMiddleware, "__call__", _call)  # noqa: B010 - mypy
        native.answer_calls(MeterMiddleware)
