"""Which of several centres leads: one of them closes, rates, reports and tells.

Several centres may share a ledger in a PostgreSQL database. Each takes in edges, answers
and shows pages. What is done by itself, and about money, one does: whoever has the lease,
which runs out by the database's clock unless it is kept. A job of the leader runs under
the number of its election (``store.fence``), and is cut off as soon as its own clock says
that the lease may be over. Whoever cannot say so in time, because its host slept, finds
each of its transactions refused; it goes on as one of the others.

Alone, as on SQLite, a sidecar leads always: the lock on its file says so.

What a process has in memory of the ledger may be old where others write, too. How each of
these stays right:

- terms: rows are only added. They are read behind the last one that is known, each second
  (``TermsKeeper.follow_ledger``), before anything is agreed, and in the transaction that
  stores a new subject. What is agreed, and what becomes final, is checked to follow from
  all rows in the transaction that writes it;
- customers, their calendars, standings, sign-ups: derived from terms, by their last row;
- where the chain of events ends: read in each transaction that goes on with it;
- how far a producer is: read where it says hello, and compared in each transaction that
  stores events of it. Who is connected elsewhere meanwhile says hello again;
- ids of subjects and endpoints: they never change. After an erasure all are asked anew;
- names of events: looked up in the transaction that stores them; so are their sources;
- the producer of events over HTTP: one of its own for each process;
- edges: read when one says hello, and changed field by field in the row as it is; of those
  that are connected elsewhere, each second. Which process speaks for an edge is a fact of
  the ledger, checked before anything of it is noted;
- usage and its generations: read in each step, and compared in the transaction that
  counts; only the leader counts by itself;
- how many keys of requests there are, and pages of live events: they limit and show.
- what Stripe is told, alerts, reconciliation, what is held up from closing: of the leader
  alone, which looks at the ledger anew when it is elected.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Generator
from typing import Final, Self

from meterline_sidecar.errors import LeaseLost, MeterlineError, NotTheLeader
from meterline_sidecar.store.fence import fenced
from meterline_sidecar.store.port import Candidate, Lease, Turn

LEASE_S: Final = 15.0
KEPT_PART: Final = 0.27
"""After which part of a lease it is kept: every 4 s of 15."""
PAUSE_S_MIN: Final = 0.1
WAIT_PART: Final = 0.5
"""How long the database may take to answer, as a part of a lease."""

log = logging.getLogger(__name__)

Job = Callable[[], Awaitable[object]]


class Leading:
    """Whether this process leads, and the jobs that it does while it does.

    Args:
        lease: of the ledger; ``None``: this process is alone.
        lease_s: how long a leader may be silent before another one is elected.
    """

    def __init__(
        self, lease: Lease | None, me: Candidate, *, lease_s: float = LEASE_S
    ) -> None:
        self.me = me
        self._lease = lease
        self._lease_s = lease_s
        self._until_s = 0.0
        """Up to when nobody else can lead, by the event loop's time."""
        self._led: int | None = None
        """The election that this process was last made ready for."""
        self._running: set[asyncio.Future[object]] = set()
        self._when_elected: list[Job] = []
        self._keeping: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._electing = asyncio.Lock()
        self.turn: Turn | None = None
        """Who led at the last look; ``None`` where there is nothing to look at."""
        self.trouble: str | None = None
        """Why it is not known who leads, in words."""

    # --- its life

    async def __aenter__(self) -> Self:
        """Lead, if nobody does; then keep looking.

        Raises:
            DatabaseGone: the database did not answer.
        """
        if self._lease is not None:
            # Whoever was killed here would else lead until its lease is over. Only now:
            # if two hosts have one seat by mistake, they take turns at starts alone.
            await self._lease.give_up(self.me)
            await self._look(self._lease)
            self._led = None if self.turn is None else self.turn.fence
            self._keeping = asyncio.create_task(self._keep(self._lease))
        return self

    async def __aexit__(self, *error: object) -> None:
        """Stop leading, and let another one."""
        if self._lease is None or self._keeping is None:
            return
        self._keeping.cancel()
        await asyncio.wait([self._keeping])
        was_leader = self.is_leader
        self._step_down("it stops")
        if was_leader:
            with contextlib.suppress(MeterlineError, TimeoutError):
                async with asyncio.timeout(self._lease_s * WAIT_PART):
                    await self._lease.give_up(self.me)

    @property
    def is_alone(self) -> bool:
        """Whether no other process can lead."""
        return self._lease is None

    @property
    def is_leader(self) -> bool:
        """Whether this process leads, as far as its own clock can say."""
        return self._lease is None or asyncio.get_running_loop().time() < self._until_s

    def leads(self) -> bool:
        """Say so, to whoever asks again and again."""
        return self.is_leader

    @property
    def fence(self) -> int | None:
        """The number of its election, while it leads one of several."""
        if self._lease is None or self.turn is None or not self.is_leader:
            return None
        return self.turn.fence

    @contextlib.contextmanager
    def as_leader(self) -> Generator[None]:
        """Do what somebody asks for and only a leader does, as its jobs are done.

        Raises:
            NotTheLeader: this process does not lead; the text says who does.
        """
        if not self.is_leader:
            raise NotTheLeader(f"only the centre that leads does this: {self.who()}")
        with fenced(self.fence):
            yield

    def who(self) -> str:
        """Return in words who leads."""
        if self.turn is None or not self.turn.left_ms or self.turn.life == self.me.life:
            return "none does at the moment, one will within seconds"
        return f"ask {self.turn.name}"

    # --- jobs

    def when_elected(self, work: Job) -> None:
        """Do this first, each time that this process begins to lead after another."""
        self._when_elected.append(work)

    def only(self, job: Job) -> Job:
        """Return a job that is done while this process leads, and cut off behind that."""
        if self._lease is None:
            return job

        async def led() -> None:
            number = self.fence
            if number is None or not await self._is_ready(number):
                return
            with fenced(number):
                task = asyncio.ensure_future(job())
            await self._watched(task)

        return led

    async def _watched(self, task: "asyncio.Future[object]") -> None:
        """Wait for a job; who is no leader any more has it end, and no error."""
        self._running.add(task)
        try:
            await asyncio.wait([task])
        finally:
            self._running.discard(task)
            if not task.done():  # who waits was cut off itself
                task.cancel()
        if task.cancelled():
            return
        try:
            task.result()
        except LeaseLost as error:
            self._step_down(str(error))

    async def _is_ready(self, number: int) -> bool:
        """Make ready to lead, the first time after another one did."""
        if self._led == number:
            return True
        async with self._electing:
            if self._led == number:
                return True
            with fenced(number):
                for work in self._when_elected:
                    task = asyncio.ensure_future(work())
                    await self._watched(task)
                    if self.fence != number or task.cancelled():
                        return False
            self._led = number
        return True

    def _step_down(self, why: str) -> None:
        if self._timer is not None:
            self._timer.cancel()
            log.warning("this centre does not lead any more: %s", why)
        self._timer, self._until_s = None, 0.0
        for task in list(self._running):
            task.cancel()

    # --- keeping

    async def _keep(self, lease: Lease) -> None:
        """Look who leads again and again, until cancelled."""
        while True:
            await asyncio.sleep(self._pause_s())
            try:
                async with asyncio.timeout(self._lease_s * WAIT_PART):
                    await self._look(lease)
                self.trouble = None
            except (MeterlineError, TimeoutError) as error:
                why = str(error) or "the database does not answer"
                if self.trouble is None:
                    log.warning("it is not known which centre leads: %s", why)
                self.trouble = why

    def _pause_s(self) -> float:
        """Return how long until the next look: no longer than another one's lease."""
        usual_s = self._lease_s * KEPT_PART
        if self.turn is None or self.is_leader or self.trouble is not None:
            return usual_s
        return min(usual_s, max(self.turn.left_ms / 1_000, PAUSE_S_MIN))

    async def _look(self, lease: Lease) -> None:
        begun_s = _now_s()
        before, self.turn = self.turn, await lease.turn(self.me, lease_s=self._lease_s)
        is_new = before is None or before.fence != self.turn.fence
        if self.turn.life != self.me.life:
            self._step_down(f"{self.turn.name} does")
            if is_new:
                log.info("this centre follows: %s leads", self.turn.name)
            return
        if is_new or not self.is_leader:
            log.info("this centre leads: election %d", self.turn.fence)
        # From before it was asked: the database began to count no earlier.
        self._until_s = begun_s + self._lease_s
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_at(
            self._until_s, self._step_down, "its lease is over"
        )


def _now_s() -> float:
    return asyncio.get_running_loop().time()
