"""The front of the Stripe server: keys, limits, idempotency, faults, routes."""

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final, Self, TypeVar
from urllib.parse import parse_qsl

from tests.stripe_server import control, errors
from tests.stripe_server.account import DAY_S, Account, Event, SavedAnswer
from tests.stripe_server.catalog import Catalog
from tests.stripe_server.errors import StripeRefusal, answer
from tests.stripe_server.faults import Fault, FaultPlan
from tests.stripe_server.http import HttpServer, Request, Response, Wire
from tests.stripe_server.v2 import Streams

T = TypeVar("T")

OWNER: Final = "acct_1Meterline"

BEFORE: Final = {
    Fault.LIMIT_GLOBAL_RATE: lambda: errors.rate_limit("global-rate"),
    Fault.LIMIT_ENDPOINT_RATE: lambda: errors.rate_limit("endpoint-rate"),
    Fault.LIMIT_GLOBAL_CONCURRENCY: lambda: errors.rate_limit("global-concurrency"),
    Fault.LIMIT_ENDPOINT_CONCURRENCY: lambda: errors.rate_limit("endpoint-concurrency"),
    Fault.LIMIT_RESOURCE: lambda: errors.rate_limit("resource-specific"),
    Fault.PLAIN_429: lambda: errors.rate_limit(None),
    Fault.LOCK_TIMEOUT: errors.lock_timeout,
    Fault.CONFLICT: errors.too_many_concurrent,
    Fault.REFUSED: errors.refused,
}
"""Faults that answer before anything is executed or saved."""


@dataclass(slots=True)
class StripeServer:
    """A Stripe account behind real HTTP, on a port of its own."""

    account: Account = field(default_factory=Account)
    faults: FaultPlan = field(default_factory=FaultPlan)
    offset_s: float = 0.0
    """How far the account's clock is ahead of the machine's."""
    keys: set[str] = field(default_factory=lambda: {"sk_test_meterline"})
    owners: dict[str, str] = field(default_factory=dict[str, str])
    """Which account a key is of; those that are not here are of ``OWNER``."""
    restricted: set[str] = field(default_factory=set[str])
    """Keys that may not read the account."""
    latency_s: float = 0.0
    """How long the execution of a meter event takes."""
    rate_max: int | None = None
    """Meter events a second, above which they are limited; ``None``: any number."""
    seen: Counter[str] = field(default_factory=Counter[str])
    """How often what was answered: ``"200"``, ``"replayed"``, ``"duplicate"`` ..."""
    most_at_once: int = 0
    """The most meter events ever in flight for one customer and meter."""
    read_faults: list[int] = field(default_factory=list[int])
    """The statuses that the next reads are refused with."""
    account_faults: list[int] = field(default_factory=list[int])
    """The statuses that the next questions about whose a key is are refused with."""
    asked_whose: int = 0
    """How often it was asked whose a key is."""
    write_faults: list[Fault | None] = field(default_factory=list[Fault | None])
    """What the next changes meet, but those of meter events; ``None``: nothing."""
    date: str | None = None
    """The ``Date`` of every answer, if it has one."""
    reads: int = 0
    """Read calls: Stripe counts them against a budget."""
    catalog: Catalog = field(init=False)
    streams: Streams = field(init=False)
    _busy: Counter[tuple[str, str]] = field(default_factory=Counter[tuple[str, str]])
    _second: tuple[int, int] = (0, 0)
    _http: HttpServer | None = None
    _n_requests: int = 0

    def __post_init__(self) -> None:
        """Put every room on the same account."""
        if self.account.now_s is time.time:
            self.account.now_s = lambda: time.time() + self.offset_s
        self.catalog = Catalog(self.account)
        self.streams = Streams(self.account)

    async def start(self, port: int = 0) -> str:
        """Start to serve and return the base address."""
        self._http = HttpServer(self.handle)
        return f"http://127.0.0.1:{await self._http.start(port)}"

    async def close(self) -> None:
        """Stop serving; the account stays as it is."""
        assert self._http is not None
        await self._http.close()

    async def handle(self, request: Request) -> Response:
        """Answer one request."""
        self._n_requests += 1
        try:
            response = await self._route(request)
        except StripeRefusal as refusal:
            response = refusal.response()
        self.seen[str(response.status)] += 1
        if self.date is not None:
            response.headers["Date"] = self.date
        response.headers["Request-Id"] = f"req_{self._n_requests:08d}"
        return response

    async def _route(self, request: Request) -> Response:
        if request.path.startswith("/_control/"):
            return control.handle(self, request)
        key = request.headers.get("authorization", "").removeprefix("Bearer ")
        if not key:
            raise errors.no_key()
        path = request.path.strip("/").split("/")
        if path == ["v2", "billing", "meter_event_stream"]:
            return self._stream(request, key)
        if key not in self.keys:
            raise errors.bad_key(key)
        if request.method == "POST" and path == ["v1", "billing", "meter_events"]:
            return await self._post_event(request, key)
        if request.method == "GET" and path == ["v1", "account"]:
            return self._whose(key)
        if request.method == "GET" and self.read_faults:
            raise StripeRefusal(self.read_faults.pop(0), "Try again later")
        response: Response | None = None
        match request.method, path:
            case "POST", ["v2", "billing", "meter_event_session"]:
                response = self.streams.open_session()
            case "GET", ["v2", "core", "events", event_id]:
                response = self.streams.event(event_id)
            case _, ["v1", *_]:
                self.reads += request.method == "GET"
                if request.method == "POST":
                    fault = self.write_faults.pop(0) if self.write_faults else None
                    idempotency_key = request.headers.get("idempotency-key", "")
                    early = self._before(fault, idempotency_key, key)
                    if early is not None:
                        return early
                    written = await self._idempotent(
                        request, lambda: self._catalog(request, fault)
                    )
                    return self._spoil(written, fault)
                response = self.catalog.handle(request)
            case _:
                pass
        if response is None:
            raise StripeRefusal(
                404, f"Unrecognized request URL ({request.method}: {request.path})."
            )
        return response

    def _whose(self, key: str) -> Response:
        self.asked_whose += 1
        if self.account_faults:
            raise StripeRefusal(self.account_faults.pop(0), "Try again later")
        owner = self.owners.get(key, OWNER)
        if key in self.restricted:
            raise errors.may_not_read_account(key, owner)
        return answer(200, {"id": owner, "object": "account"})

    async def _catalog(self, request: Request, fault: Fault | None) -> Response:
        if fault is Fault.SAVED_500_BEFORE:
            raise errors.internal()
        response = self.catalog.handle(request)
        if fault is Fault.SAVED_500_AFTER:
            raise errors.internal()
        if response is None:
            raise StripeRefusal(
                404, f"Unrecognized request URL ({request.method}: {request.path})."
            )
        return response

    def _stream(self, request: Request, token: str) -> Response:
        fault = self.faults.next()
        if fault in BEFORE:
            raise BEFORE[fault]()
        if fault in (Fault.RESET_BEFORE, Fault.HTML_502_BEFORE):
            return Response(502, b"", wire=Wire.RESET)
        return self._spoil(self.streams.accept(request, token), fault)

    # --- meter events

    async def _post_event(self, request: Request, api_key: str) -> Response:
        self._limit_rate()
        fault = self.faults.next()
        key = request.headers.get("idempotency-key", "")
        early = self._before(fault, key, api_key)
        if early is not None:
            return early
        response = await self._idempotent(
            request, lambda: self._execute(request, key, fault)
        )
        return self._spoil(response, fault)

    def _before(self, fault: Fault | None, key: str, api_key: str) -> Response | None:
        """Return, or raise, what is answered before anything is executed."""
        if fault in BEFORE:
            raise BEFORE[fault]()
        match fault:
            case Fault.UNAUTHORIZED:
                raise errors.bad_key(api_key)
            case Fault.FORBIDDEN:
                raise errors.forbidden(api_key)
            case Fault.KEY_IN_USE:
                raise errors.key_in_use(key)
            case Fault.RESET_BEFORE:
                return Response(200, b"", wire=Wire.RESET)
            case Fault.HTML_502_BEFORE:
                return errors.html_502()
            case Fault.GARBAGE_200_BEFORE:
                return answer(200, {"object": "list", "data": []})
            case Fault.UNSAVED_500_BEFORE:
                raise errors.internal()
            case _:
                return None

    def _limit_rate(self) -> None:
        if self.rate_max is None:
            return
        second = int(self.account.now_s())
        count = self._second[1] + 1 if self._second[0] == second else 1
        self._second = (second, count)
        if count > self.rate_max:
            raise errors.rate_limit("endpoint-rate")

    async def _idempotent(
        self, request: Request, execute: Callable[[], Awaitable[Response]]
    ) -> Response:
        """Execute ``request``, or replay what its key answered before."""
        key = request.headers.get("idempotency-key", "")
        now_s = self.account.now_s()
        content = (request.path, request.body)
        saved = self.account.keys.get(key)
        if saved is not None and now_s - saved.at_s < DAY_S:
            if saved.request != content:
                raise errors.key_mismatch(key)
            if saved.response is None:
                raise errors.key_in_use(key)
            self.seen["replayed"] += 1
            headers = {**saved.response.headers, "Idempotent-Replayed": "true"}
            return Response(saved.response.status, saved.response.body, headers)
        self.account.keys[key] = mine = SavedAnswer(content, now_s)
        try:
            response = await execute()
        except StripeRefusal as refusal:
            if refusal.is_saved:
                mine.response = refusal.response()
            else:
                del self.account.keys[key]
            raise
        except BaseException:
            del self.account.keys[key]
            raise
        mine.response = response
        return Response(response.status, response.body, dict(response.headers))

    async def _execute(
        self, request: Request, key: str, fault: Fault | None
    ) -> Response:
        if fault is Fault.SAVED_500_BEFORE:
            raise errors.internal()
        fields = _parse_event(request.body)
        event_name = fields.pop("event_name")
        now_s = self.account.now_s()
        timestamp_s = int(fields.pop("timestamp", str(int(now_s))))
        identifier = fields.pop("identifier", self.account.new_id("mev"))
        payload = {name[8:-1]: value for name, value in fields.items()}
        _, customer, value = self.account.check_event(event_name, payload, timestamp_s)
        series = (event_name, customer)
        self._busy[series] += 1
        self.most_at_once = max(self.most_at_once, self._busy[series])
        try:
            if self._busy[series] > 1:
                raise errors.too_many_concurrent()
            if self.latency_s:
                await asyncio.sleep(self.latency_s)
            if self.account.knows(identifier):
                self.seen["duplicate"] += 1
                raise errors.duplicate(identifier)
            event = Event(
                event_name, customer, value, timestamp_s, identifier, key, now_s
            )
            self._count(event, fault)
        finally:
            self._busy[series] -= 1
        if fault is Fault.SAVED_500_AFTER:
            raise errors.internal()
        return answer(
            200,
            {
                "object": "billing.meter_event",
                "created": int(now_s),
                "event_name": event_name,
                "identifier": identifier,
                "livemode": False,
                "payload": payload,
                "timestamp": timestamp_s,
            },
        )

    def _count(self, event: Event, fault: Fault | None) -> None:
        if fault is Fault.SILENT_LOSS:
            self.account.identifiers[event.identifier] = event.received_s
        elif fault is Fault.REJECT_LATER:
            self.account.identifiers[event.identifier] = event.received_s
            self.account.report("meter_event_customer_not_found", event)
        else:
            self.account.accept(event)

    def _spoil(self, response: Response, fault: Fault | None) -> Response:
        """Return what the network and the front make of an executed request."""
        match fault:
            case Fault.RESET_AFTER:
                response.wire = Wire.RESET
            case Fault.HALF_BODY:
                response.wire = Wire.HALF
            case Fault.HANG:
                response.wire = Wire.BLOCK
            case Fault.SLOW:
                response.delay_s = self.faults.slow_s
            case Fault.UNSAVED_500_AFTER:
                return errors.internal().response()
            case Fault.HTML_502_AFTER:
                return errors.html_502()
            case Fault.GARBAGE_200_AFTER:
                return Response(200, b"<!doctype html><p>Welcome to the hotel wifi")
            case Fault.EMPTY_200_AFTER:
                return Response(200, b"")
            case _:
                pass
        return response


def _parse_event(body: bytes) -> dict[str, str]:
    """Return the fields of a form, each known and none missing."""
    fields = dict(parse_qsl(body.decode(), keep_blank_values=True))
    for name in fields:
        is_payload = name.startswith("payload[") and name.endswith("]")
        if name not in ("event_name", "identifier", "timestamp") and not is_payload:
            raise errors.unknown_param(name)
    if "event_name" not in fields:
        raise errors.missing("event_name")
    for name in ("event_name", "identifier"):
        if len(fields.get(name, "")) > 100:
            raise StripeRefusal(400, f"Invalid string: {name} too long", param=name)
    if not fields.get("timestamp", "0").isdecimal():
        raise StripeRefusal(
            400, f"Invalid integer: {fields['timestamp']}", param="timestamp"
        )
    return fields


class ServerThread:
    """A ``StripeServer`` on an event loop and a thread of its own.

    For tests that block their own loop, or that must not share it.
    """

    def __init__(self, server: StripeServer | None = None) -> None:
        self.server = server or StripeServer()
        self.base = ""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self.base = self.run(self.server.start())
        return self

    def __exit__(self, *_: object) -> None:
        self.run(self.server.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def run(self, work: Awaitable[T]) -> T:
        """Return the result of ``work``, done on the server's loop."""

        async def wrap() -> T:
            return await work

        return asyncio.run_coroutine_threadsafe(wrap(), self._loop).result(10)
