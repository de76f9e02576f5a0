"""Sends the outbox to Stripe, so that each row counts there exactly once.

A row is ``sending`` on disk before a socket is touched, and what is sent is a
function of the row: after a crash at any line the same request goes out again, and
Stripe, which knows its identifier for at least 24 hours, counts it once. What is
still in doubt after 23 hours is not sent again but left to ``reconcile.py``.
"""

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Protocol, assert_never

from meterline_sidecar.clock import Clock
from meterline_sidecar.problems.problem import n_of
from meterline_sidecar.store import outbox
from meterline_sidecar.store import outbox_sending as sending
from meterline_sidecar.store.outbox import OutboxRow
from meterline_sidecar.store.port import Database, Tx
from meterline_sidecar.stripe.account import wrong_account
from meterline_sidecar.stripe.batching import ReadyRows, StripeRequest
from meterline_sidecar.stripe.copy_guard import CopyGuard
from meterline_sidecar.stripe.meter_events import (
    AGE_MS_MAX,
    RESEND_MS_MAX,
    TOO_OLD,
    Busy,
    Delivered,
    Early,
    MeterEvent,
    Mismatch,
    NoMeter,
    Outcome,
    Rejected,
    Unauthorized,
    Unknown,
    Unreachable,
)
from meterline_sidecar.stripe.pacing import Backoff, Breaker, Probes, Rate
from meterline_sidecar.stripe.settle import settlement_of, shorten, tells_of_a_copy

IN_FLIGHT_MIN: Final = 8
IN_FLIGHT_MAX: Final = 64
READY_ROWS_MAX: Final = 1_000
READY_ROWS_PER_SERIES: Final = 20
RUN_S_MAX: Final = 60.0
"""A run ends after this time, and the next one begins by taking out old rows."""

log = logging.getLogger(__name__)


class MeterEvents(Protocol):
    """The way to Stripe that the reporter needs."""

    @property
    def is_live(self) -> bool | None:
        """Whether the key is of live mode; ``None`` while there is no key."""
        ...

    async def send(self, event: MeterEvent) -> Outcome:
        """Send one event, once, and say what is known about it then."""
        ...

    async def stream(self, events: Sequence[MeterEvent], *, key: str) -> Outcome:
        """Send up to 100 events at once, to be checked by Stripe later."""
        ...


class Reporter:
    """Sends what is due, as fast as Stripe takes it.

    One request at a time for a customer and meter; whatever fails holds up only
    what it concerns: a row, an event name, or the whole account.
    """

    def __init__(
        self,
        database: Database,
        stripe: MeterEvents,
        *,
        clock: Clock,
        wall: Clock,
        copy_guard: CopyGuard,
        rate: Rate,
        stream_above_per_s: float | None = None,
        backoff: Backoff | None = None,
        breaker: Breaker | None = None,
    ) -> None:
        """Take two clocks: ``clock`` is the one that bills and may be rehearsed.

        ``wall`` says when to try again: a rehearsed clock that stands still must
        not stop a retry. The stream is used while more rows are due than
        ``stream_above_per_s`` could send in a minute, and with a live key alone.
        """
        self._database = database
        self._stripe = stripe
        self._clock = clock
        self._wall = wall
        self._copy_guard = copy_guard
        self._rate = rate
        self._stream_above_per_s = stream_above_per_s
        self._backoff = backoff or Backoff()
        self._breaker = breaker or Breaker()
        self._ready = ReadyRows(self._is_sendable)
        self._in_flight: dict[asyncio.Task[Outcome], StripeRequest] = {}
        self._probes = Probes()
        self._held: dict[str, str] = {}
        self._released: set[str] = set()
        self._is_hurried = False
        self._swept_ms: int | None = None
        self._wrong_account: str | None = None
        self._streams = False
        self._is_drained = False
        self._is_stopping = False
        self._running = asyncio.Lock()

    @property
    def problem(self) -> str | None:
        """Why nothing can be sent at all just now; ``None`` when all is well."""
        return self._wrong_account or self._breaker.reason

    def hurry(self) -> None:
        """Let the next run try at once whatever waits for its next attempt."""
        self._is_hurried = True
        self._probes.hurry()
        self._breaker.hurry()

    def hold(self, reasons: Mapping[str, str]) -> None:
        """Park these event names, for a reason each, and no others any more."""
        self._released |= self._held.keys() - reasons.keys()
        self._held = dict(reasons)

    async def stop(self) -> None:
        """Start no more requests, and return when the last one is settled."""
        self._is_stopping = True
        async with self._running:
            pass

    async def run(self) -> None:
        """Send every row that is due, until none is, or for about a minute.

        Rows that fail are due again later: run it every few seconds.
        """
        async with self._running:
            if not await self._prepare():
                return
            ends_at_s = _now_s() + RUN_S_MAX
            async with asyncio.TaskGroup() as group:
                while await self._cycle(group, ends_at_s=ends_at_s):
                    pass

    async def _prepare(self) -> bool:
        """Bring the outbox in order; return whether it may be sent."""
        now_ms = self._clock.now_ms()
        self._ready.clear()
        self._in_flight.clear()
        self._is_drained = False
        async with self._database.transaction() as tx:
            if not await self._check_account(tx):
                return False
            await self._copy_guard.check(tx, now_ms=now_ms)
            # Nothing is in flight yet: these are of a run, or a process, that died.
            await sending.recover(tx)
            if self._swept_ms is None or now_ms < self._swept_ms:
                # The clock was ahead, or may have been before this start.
                await sending.revive(tx, expired_ms=now_ms - AGE_MS_MAX, now_ms=now_ms)
            self._swept_ms = now_ms
            doubted, expired = await sending.sweep(
                tx,
                doubted_ms=now_ms - RESEND_MS_MAX,
                expired_ms=now_ms - AGE_MS_MAX,
                expired_reason=TOO_OLD,
            )
            if self._is_hurried:
                await sending.wake(tx)
                self._is_hurried = False
            await self._park_held(tx)
            await self._probe_parked(tx)
            self._streams = await self._is_worth_streaming(tx)
        self._copy_guard.enrol()
        if doubted:
            log.error("%s in doubt for 23 h: run reconcile", n_of(doubted, "row"))
        if expired:
            log.error("%s got too old for Stripe, unsent", n_of(expired, "row"))
        return True

    async def _check_account(self, tx: Tx) -> bool:
        """Say whether the outbox was begun, and the key is of its account."""
        self._wrong_account = await wrong_account(tx, is_live=self._stripe.is_live)
        return self._wrong_account is None and await outbox.cursor(tx) is not None

    async def _park_held(self, tx: Tx) -> None:
        for event_name in self._released - self._held.keys():
            await sending.unpark(tx, event_name)
        self._released.clear()
        for event_name, reason in self._held.items():
            await sending.park(tx, event_name, shorten(reason))

    async def _probe_parked(self, tx: Tx) -> None:
        """Let one row of each parked event name try whether its meter exists now."""
        for event_name, row_id in await sending.parked_heads(tx):
            if event_name in self._held:
                continue
            if self._probes.take(event_name, _now_s()):
                await sending.probe(tx, row_id)
                self._ready.alone.add(row_id)  # the stream would not tell

    async def _is_worth_streaming(self, tx: Tx) -> bool:
        if self._stream_above_per_s is None or not self._stripe.is_live:
            return False
        n_due = await sending.count_due(tx, wall_ms=self._wall.now_ms())
        return n_due > self._stream_above_per_s * RUN_S_MAX

    async def _cycle(self, group: asyncio.TaskGroup, *, ends_at_s: float) -> bool:
        """Settle what came back and send what may go; return whether to go on.

        One transaction writes both: what is known of the last requests, and that
        the next ones are being sent.
        """
        settled = self._collect()
        is_ending = self._is_stopping or _now_s() >= ends_at_s
        requests: list[StripeRequest] = []
        if not is_ending:
            await self._refill()
            requests = self._choose()
        for request in await self._commit(settled, requests):
            self._in_flight[group.create_task(self._send(request))] = request
        if self._in_flight:
            # Woken by a token of the rate as well, where a row waits for one.
            timeout_s = max(0.005, self._rate.wait_s()) if self._has_work() else None
            await asyncio.wait(
                self._in_flight,
                timeout=timeout_s,
                return_when=asyncio.FIRST_COMPLETED,
            )
            return True
        if is_ending or not self._has_work():
            return False
        await asyncio.sleep(self._rate.wait_s())
        return True

    async def _send(self, request: StripeRequest) -> Outcome:
        events = request.events()
        if request.batch_key is None:
            return await self._stripe.send(events[0])
        outcome = await self._stripe.stream(events, key=request.batch_key)
        if isinstance(outcome, NoMeter | Rejected | Early | Mismatch):
            # One of them is at fault, and only by themselves they show which.
            self._ready.alone.update(row.id for row in request.rows)
            return Busy(f"refused in a batch: {outcome.reason}", slows_down=False)
        return outcome

    def _collect(self) -> list[tuple[StripeRequest, Outcome]]:
        done = [task for task in self._in_flight if task.done()]
        settled = [(self._in_flight.pop(task), task.result()) for task in done]
        for request, _ in settled:
            self._ready.back(request.rows)
        return settled

    def _has_work(self) -> bool:
        """Return whether a row may be there that only waits for a token of the rate."""
        has_rows = self._ready.has_free() or not (self._ready or self._is_drained)
        return has_rows and self._breaker.room(_now_s()) != 0

    async def _refill(self) -> None:
        if self._ready or self._is_drained or self._breaker.room(_now_s()) == 0:
            return
        async with self._database.reading() as tx:
            rows = await sending.due(
                tx,
                wall_ms=self._wall.now_ms(),
                per_series=READY_ROWS_PER_SERIES,
                limit=READY_ROWS_MAX,
            )
        if self._breaker.reason is not None:
            # A probe may get into doubt: that is one row while all fail, and now and then
            # another, which may succeed where those cannot.
            is_other = self._breaker.takes_another()
            rows.sort(
                key=lambda row: (not is_other and row.doubt_ms is None, row.attempts)
            )
        self._ready.extend(rows)
        # Nothing new can become due that could not wait for the next run.
        self._is_drained = not rows

    def _choose(self) -> list[StripeRequest]:
        """Take from ``_ready`` the rows that may be sent now."""
        room = self._breaker.room(_now_s())
        most = min(IN_FLIGHT_MAX, max(IN_FLIGHT_MIN, int(self._rate.per_s / 4)))
        slots = (most if room is None else room) - len(self._in_flight)
        n_max = max(0, min(slots, self._rate.available(_now_s())))
        requests: list[StripeRequest] = []
        while len(requests) < n_max:
            request = self._ready.take(streams=self._streams)
            if request is None:
                break
            requests.append(request)
        self._rate.take(len(requests))
        return requests

    def _is_sendable(self, row: OutboxRow) -> bool:
        """Say whether a row got too old since the sweep at the run's beginning."""
        now_ms = self._clock.now_ms()
        doubted_ms = now_ms if row.doubt_ms is None else row.doubt_ms
        is_safe = row.mode == "set" or doubted_ms > now_ms - RESEND_MS_MAX
        return is_safe and row.hour_ms >= now_ms - AGE_MS_MAX

    async def _commit(
        self,
        settled: Sequence[tuple[StripeRequest, Outcome]],
        requests: Sequence[StripeRequest],
    ) -> list[StripeRequest]:
        """Write outcomes, and what is being sent; return what is to be sent then."""
        if not settled and not requests:
            return []
        was_open = self._breaker.reason is not None
        settlements = [
            settlement
            for request, outcome in settled
            for settlement in self._settlements(request, outcome)
        ]
        marked: set[int] = set()
        now_ms = self._clock.now_ms()
        async with self._database.transaction() as tx:
            await sending.settle(tx, settlements)
            if any(tells_of_a_copy(r, o) for q, o in settled for r in q.rows):
                await self._copy_guard.contradict(tx, now_ms=now_ms)
            if was_open and self._breaker.reason is None:
                # What failed while nothing could succeed has waited for nothing.
                await sending.wake(tx)
                self._is_drained = False
            await self._park_and_unpark(tx, settled)
            for request in requests:
                marked |= await sending.mark_sending(
                    tx, request.rows, now_ms=now_ms, batch_key=request.batch_key
                )
        self._copy_guard.count(len(marked))
        return [kept for request in requests if (kept := self._keep(request, marked))]

    def _keep(self, request: StripeRequest, marked: set[int]) -> StripeRequest | None:
        """Return ``request`` without the rows that changed since they were read."""
        rows = tuple(row for row in request.rows if row.id in marked)
        self._ready.back(row for row in request.rows if row.id not in marked)
        return StripeRequest(rows, request.batch_key) if rows else None

    async def _park_and_unpark(
        self, tx: Tx, settled: Iterable[tuple[StripeRequest, Outcome]]
    ) -> None:
        for request, outcome in settled:
            for event_name in {row.event_name for row in request.rows}:
                if isinstance(outcome, NoMeter):
                    self._probes.begin(event_name, _now_s())
                    await sending.park(tx, event_name, shorten(outcome.reason))
                elif _shows_a_meter(outcome) and self._probes.end(event_name):
                    await sending.unpark(tx, event_name)
                    self._is_drained = False

    def _settlements(
        self, request: StripeRequest, outcome: Outcome
    ) -> list[sending.Settlement]:
        """Return what becomes of the rows, and tell the rate and the breaker."""
        now_s = _now_s()
        match outcome:
            case Unknown() | Unreachable():
                self._breaker.fail(outcome.reason, now_s)
            case Unauthorized():
                self._breaker.fail(outcome.reason, now_s, at_once=True)
            case Busy():
                if outcome.slows_down:
                    self._rate.refuse(now_s)
            case Delivered() | NoMeter() | Rejected() | Early() | Mismatch():
                self._breaker.succeed()
            case _:
                assert_never(outcome)
        return [
            settlement_of(
                row,
                outcome,
                now_ms=self._clock.now_ms(),
                wall_ms=self._wall.now_ms(),
                backoff=self._backoff,
            )
            for row in request.rows
        ]


def _shows_a_meter(outcome: Outcome) -> bool:
    return isinstance(outcome, Delivered) and outcome.how != "streamed"


def _now_s() -> float:
    return asyncio.get_running_loop().time()
