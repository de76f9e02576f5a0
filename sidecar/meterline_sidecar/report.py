"""Sends the outbox to Stripe, so that each row counts there exactly once.

A row is ``sending`` on disk before a socket is touched, and what is sent is a
function of the row: after a crash at any line the same request goes out again, and
Stripe, which knows its identifier for at least 24 hours, counts it once. What is
still in doubt after 23 hours is not sent again but left to ``reconcile.py``.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Final, Protocol, assert_never

from msgspec.structs import replace

from meterline_sidecar.clock import DAY_MS, HOUR_MS, Clock
from meterline_sidecar.meter_events import (
    Busy,
    Delivered,
    MeterEvent,
    Mismatch,
    NoMeter,
    Outcome,
    Rejected,
    Unauthorized,
    Unknown,
    Unreachable,
)
from meterline_sidecar.pacing import Backoff, Breaker, Rate
from meterline_sidecar.store import outbox
from meterline_sidecar.store.outbox import OutboxRow, Settlement
from meterline_sidecar.store.port import Database, Tx

RESEND_MS_MAX: Final = 23 * HOUR_MS
"""Stripe forgets an identifier after 24 hours at the earliest; one is our margin."""
AGE_MS_MAX: Final = 34 * DAY_MS
"""Stripe refuses usage older than 35 days; one is our margin."""
IN_FLIGHT_MIN: Final = 8
IN_FLIGHT_MAX: Final = 64
READY_ROWS_MAX: Final = 1_000
READY_ROWS_PER_SERIES: Final = 20
RUN_S_MAX: Final = 60.0
"""A run ends after this time, and the next one begins by taking out old rows."""
PROBE_S_FIRST: Final = 30.0
PROBE_S_MAX: Final = 3_600.0
REASON_CHARS_MAX: Final = 500

log = logging.getLogger(__name__)


class MeterEvents(Protocol):
    """The way to Stripe that the reporter needs."""

    async def send(self, event: MeterEvent) -> Outcome:
        """Send one event, once, and say what is known about it then."""
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
        rate: Rate,
        backoff: Backoff | None = None,
        breaker: Breaker | None = None,
    ) -> None:
        """Take two clocks: ``clock`` is the one that bills and may be rehearsed.

        ``wall`` says when to try again: a rehearsed clock that stands still must
        not stop a retry.
        """
        self._database = database
        self._stripe = stripe
        self._clock = clock
        self._wall = wall
        self._rate = rate
        self._backoff = backoff or Backoff()
        self._breaker = breaker or Breaker()
        self._ready: deque[OutboxRow] = deque()
        self._in_flight: dict[asyncio.Task[Outcome], OutboxRow] = {}
        self._busy: set[tuple[str, str | None]] = set()
        self._probes: dict[str, tuple[float, int]] = {}
        self._is_drained = False
        self._is_stopping = False
        self._running = asyncio.Lock()

    @property
    def problem(self) -> str | None:
        """Why nothing can be sent at all just now; ``None`` when all is well."""
        return self._breaker.reason

    def stop(self) -> None:
        """Start no more requests; ``run`` returns when the last one is settled."""
        self._is_stopping = True

    async def run(self) -> None:
        """Send every row that is due, until none is, or for about a minute.

        Rows that fail are due again later: run it every few seconds.
        """
        async with self._running:
            await self._prepare()
            ends_at_s = _now_s() + RUN_S_MAX
            async with asyncio.TaskGroup() as group:
                while await self._cycle(group, ends_at_s=ends_at_s):
                    pass

    async def _prepare(self) -> None:
        now_ms = self._clock.now_ms()
        self._ready.clear()
        self._in_flight.clear()
        self._busy.clear()
        self._is_drained = False
        async with self._database.transaction() as tx:
            # Nothing is in flight yet: these are of a run, or a process, that died.
            await outbox.recover(tx)
            doubted, expired = await outbox.sweep(
                tx,
                doubted_ms=now_ms - RESEND_MS_MAX,
                expired_ms=now_ms - AGE_MS_MAX,
            )
            await self._probe_parked(tx)
        if doubted:
            log.error("outcome unknown for 23 h: reconcile", extra={"rows": doubted})
        if expired:
            log.error("too old for Stripe, never sent", extra={"rows": expired})

    async def _probe_parked(self, tx: Tx) -> None:
        """Let one row of each parked event name try whether its meter exists now."""
        for event_name, row_id in await outbox.parked_heads(tx):
            probe_at_s, probes = self._probes.setdefault(event_name, (_now_s(), 0))
            if _now_s() >= probe_at_s:
                wait_s = min(PROBE_S_MAX, PROBE_S_FIRST * 2**probes)
                self._probes[event_name] = (_now_s() + wait_s, min(probes + 1, 16))
                await outbox.probe(tx, row_id)

    async def _cycle(self, group: asyncio.TaskGroup, *, ends_at_s: float) -> bool:
        """Settle what came back and send what may go; return whether to go on.

        One transaction writes both: what is known of the last requests, and that
        the next ones are being sent.
        """
        settled = self._collect()
        is_ending = self._is_stopping or _now_s() >= ends_at_s
        rows: list[OutboxRow] = []
        if not is_ending:
            await self._refill()
            rows = self._choose()
        for row in await self._commit(settled, rows):
            task = group.create_task(self._stripe.send(row.event()))
            self._in_flight[task] = row
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

    def _collect(self) -> list[tuple[OutboxRow, Outcome]]:
        done = [task for task in self._in_flight if task.done()]
        settled = [(self._in_flight.pop(task), task.result()) for task in done]
        for row, _ in settled:
            self._busy.discard(row.series)
        return settled

    def _has_work(self) -> bool:
        """Return whether a row only waits for a token of the rate."""
        room = self._breaker.room(_now_s())
        return room != 0 and any(row.series not in self._busy for row in self._ready)

    async def _refill(self) -> None:
        if self._ready or self._is_drained or self._breaker.room(_now_s()) == 0:
            return
        async with self._database.reading() as tx:
            rows = await outbox.due(
                tx,
                wall_ms=self._wall.now_ms(),
                per_series=READY_ROWS_PER_SERIES,
                limit=READY_ROWS_MAX,
            )
        self._ready.extend(rows)
        # Nothing new can become due that could not wait for the next run.
        self._is_drained = not rows

    def _choose(self) -> list[OutboxRow]:
        """Take from ``_ready`` the rows that may be sent now."""
        room = self._breaker.room(_now_s())
        most = min(IN_FLIGHT_MAX, max(IN_FLIGHT_MIN, int(self._rate.per_s / 4)))
        slots = (most if room is None else room) - len(self._in_flight)
        n_max = min(slots, self._rate.available(_now_s()))
        chosen: list[OutboxRow] = []
        kept: list[OutboxRow] = []
        while self._ready and len(chosen) < n_max:
            row = self._ready.popleft()
            if self._is_too_late(row):
                continue  # the next run's sweep says what becomes of it
            if row.series in self._busy:
                kept.append(row)
            else:
                self._busy.add(row.series)
                chosen.append(row)
        self._ready.extendleft(reversed(kept))
        self._rate.take(len(chosen))
        return chosen

    def _is_too_late(self, row: OutboxRow) -> bool:
        now_ms = self._clock.now_ms()
        is_in_doubt = row.doubt_ms is not None and row.mode == "delta"
        return row.hour_ms < now_ms - AGE_MS_MAX or (
            is_in_doubt and (row.doubt_ms or 0) <= now_ms - RESEND_MS_MAX
        )

    async def _commit(
        self,
        settled: Sequence[tuple[OutboxRow, Outcome]],
        rows: Sequence[OutboxRow],
    ) -> list[OutboxRow]:
        """Write outcomes, and that ``rows`` are being sent; return those rows."""
        if not settled and not rows:
            return []
        settlements = [self._judge(row, outcome) for row, outcome in settled]
        async with self._database.transaction() as tx:
            await outbox.settle(tx, settlements)
            await self._park_and_unpark(tx, settled)
            marked = await outbox.mark_sending(tx, rows, now_ms=self._clock.now_ms())
        for row in rows:
            if row.id not in marked:
                self._busy.discard(row.series)
        return [row for row in rows if row.id in marked]

    async def _park_and_unpark(
        self, tx: Tx, settled: Iterable[tuple[OutboxRow, Outcome]]
    ) -> None:
        for row, outcome in settled:
            if isinstance(outcome, NoMeter):
                self._probes.setdefault(row.event_name, (_now_s() + PROBE_S_FIRST, 0))
                await outbox.park(tx, row.event_name, _shorten(outcome.reason))
            elif isinstance(outcome, Delivered) and row.event_name in self._probes:
                del self._probes[row.event_name]
                await outbox.unpark(tx, row.event_name)

    def _judge(self, row: OutboxRow, outcome: Outcome) -> Settlement:
        """Return what becomes of a row, and tell the rate and the breaker."""
        now_s = _now_s()
        match outcome:
            case Unknown() | Unreachable():
                self._breaker.fail(outcome.reason, now_s)
            case Unauthorized():
                self._breaker.fail(outcome.reason, now_s, at_once=True)
            case Busy():
                if outcome.slows_down:
                    self._rate.refuse(now_s)
            case Delivered() | NoMeter() | Rejected() | Mismatch():
                self._breaker.succeed()
            case _:
                assert_never(outcome)
        return judge(
            row,
            outcome,
            now_ms=self._clock.now_ms(),
            wall_ms=self._wall.now_ms(),
            backoff=self._backoff,
        )


def judge(
    row: OutboxRow, outcome: Outcome, *, now_ms: int, wall_ms: int, backoff: Backoff
) -> Settlement:
    """Return what becomes of a row that was sent.

    A refusal settles a row only where no earlier send of it is in doubt: else the
    event may be counted after all, and only Stripe's own totals can tell.
    """
    was_in_doubt = row.doubt_ms is not None
    reason = None if isinstance(outcome, Delivered) else _shorten(outcome.reason)
    later = Settlement(
        row.id,
        "pending",
        reason,
        clears_doubt=not was_in_doubt,
        next_ms=wall_ms + int(backoff.wait_s(row.attempts) * 1000),
    )
    match outcome:
        case Delivered(request_id, how):
            return Settlement(
                row.id,
                "confirmed",
                None if how == "accepted" else how,
                request_id,
                clears_doubt=True,
                settled_ms=now_ms,
            )
        case Unknown():
            return replace(
                later, needs_new_key=outcome.needs_new_key, clears_doubt=False
            )
        case Unreachable() | Unauthorized():
            return later
        case Busy():
            # The rate is what slows down; this row did nothing wrong.
            wait_s = backoff.wait_s(min(row.attempts, 1))
            return replace(later, next_ms=wall_ms + int(wait_s * 1000))
        case NoMeter():
            # Under the old key, Stripe would repeat its refusal for a day.
            return replace(later, state="parked", needs_new_key=True, next_ms=0)
        case Rejected():
            state: outbox.State = "unresolved" if was_in_doubt else "dead"
            return replace(
                later, state=state, needs_new_key=True, settled_ms=now_ms, next_ms=0
            )
        case Mismatch():
            return replace(later, state="unresolved", settled_ms=now_ms, next_ms=0)
        case _:
            assert_never(outcome)


def _shorten(reason: str) -> str:
    return reason[:REASON_CHARS_MAX]


def _now_s() -> float:
    return asyncio.get_running_loop().time()
