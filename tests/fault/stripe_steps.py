"""A reporter that kills itself between two of its steps; run by ``test_stripe_kill``.

    python -m tests.fault.stripe_steps FOLDER BASE STRIDE

For every step, or every STRIDE-th, there is: a fresh ledger, a process that dies with SIGKILL before that
step, and another that does the rest. Prints a line for each, until one outlives all
its steps. Forks from one process that has imported everything, to be quick.
"""

import asyncio
import contextlib
import os
import shutil
import signal
import sys
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from typing import Final

from meterline_sidecar.access.secret import Secret
from meterline_sidecar.clock import HOUR_MS, SystemClock
from meterline_sidecar.meters import Totals
from meterline_sidecar.store.edge import usage
from meterline_sidecar.store.edge.usage import Key
from meterline_sidecar.store.port import Database, Tx
from meterline_sidecar.store.sqlite.driver import SqliteDatabase
from meterline_sidecar.stripe.api import StripeApi
from meterline_sidecar.stripe.billed import BilledMeter
from meterline_sidecar.stripe.copy_guard import CopyGuard, SentMark
from meterline_sidecar.stripe.enqueue import Enqueuer
from meterline_sidecar.stripe.meter_events import MeterEvent, Outcome
from meterline_sidecar.stripe.pacing import Backoff, Breaker, Rate
from meterline_sidecar.stripe.report import Reporter

KEY: Final = "sk_test_meterline"
VALUES: Final = (5, 7, 11)
METER: Final = BilledMeter("api_calls", "count", "api_calls", "delta")


class Steps:
    """Counts steps and dies before the last one."""

    def __init__(self, n_steps: int | None) -> None:
        self._left = n_steps

    def pass_one(self) -> None:
        """Go one step on, or die."""
        if self._left is None:
            return
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        self._left -= 1


class MortalDatabase(Database):
    """A database with a step before, in the middle of, and after each transaction."""

    def __init__(self, database: SqliteDatabase, steps: Steps) -> None:
        self._database = database
        self._steps = steps

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncGenerator[Tx]:
        self._steps.pass_one()
        async with self._database.transaction() as tx:
            yield tx
            self._steps.pass_one()
        self._steps.pass_one()

    def reading(self) -> contextlib.AbstractAsyncContextManager[Tx]:
        return self._database.reading()


class MortalStripe:
    """Stripe with a step before and after each request."""

    is_live = False

    def __init__(self, api: StripeApi, steps: Steps) -> None:
        self._api = api
        self._steps = steps

    async def send(self, event: MeterEvent) -> Outcome:
        self._steps.pass_one()
        outcome = await self._api.send(event)
        self._steps.pass_one()
        return outcome

    async def stream(self, events: Sequence[MeterEvent], *, key: str) -> Outcome:
        raise NotImplementedError


class MortalMark(SentMark):
    """The mark with a step before and after each write."""

    def __init__(self, database: Path, steps: Steps) -> None:
        super().__init__(database)
        self._steps = steps

    def write(self, sends: int, install: str = "") -> None:
        self._steps.pass_one()
        super().write(sends, install)
        self._steps.pass_one()


async def prepare(path: Path) -> None:
    """Make a ledger in which three closed hours of one customer wait."""
    now_ms = SystemClock().now_ms()
    database = await SqliteDatabase.open(path)
    async with database.transaction() as tx:
        generation = await usage.add_generation(tx, "{}")
        await usage.intern_groups(tx, ["{}"])
        await tx.execute(
            "INSERT INTO subjects (id, name, customer) VALUES (1, 's', 'acme')"
        )
        for i, value in enumerate(VALUES, start=1):
            hour_ms = (now_ms // HOUR_MS - 1 - i) * HOUR_MS
            totals: Totals = {"api_calls": value}
            row = (Key(1, hour_ms, 1), totals, i)
            await usage.put_totals(tx, generation.id, [row])
        await usage.advance(tx, generation.id, len(VALUES), before=0, now_ms=now_ms)
    await database.close()


async def work(path: Path, base: str, name: str, steps: Steps) -> None:
    """Enqueue and send everything."""
    clock = SystemClock()
    database = await SqliteDatabase.open(path)
    mortal = MortalDatabase(database, steps)
    enqueuer = Enqueuer(
        mortal, meters=[METER], customers={"acme": f"cus_{name}"}, clock=clock
    )
    api = StripeApi(lambda: Secret(KEY), api_base=base)
    reporter = Reporter(
        mortal,
        MortalStripe(api, steps),
        clock=clock,
        wall=clock,
        copy_guard=CopyGuard(MortalMark(path, steps)),
        rate=Rate(1_000, 0),
        backoff=Backoff(0.001, 0.002),
        breaker=Breaker(first_s=0.001, max_s=0.002),
    )
    await enqueuer.run()
    for _ in range(5):
        await reporter.run()
        await asyncio.sleep(0.003)
    await api.close()
    await database.close()


def forked(path: Path, base: str, name: str, n_steps: int | None) -> int:
    """Work in a process of its own; return how it ended, as ``os.waitpid`` says."""
    pid = os.fork()
    if pid == 0:
        asyncio.run(work(path, base, name, Steps(n_steps)))
        os._exit(0)
    return os.waitpid(pid, 0)[1]


def main() -> None:
    """Die before one step after the other."""
    folder, base, stride = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    fresh = folder / "fresh.db"
    asyncio.run(prepare(fresh))
    n_steps = 0
    while True:
        name = f"k{n_steps}"
        path = folder / f"{name}.db"
        shutil.copyfile(fresh, path)
        died = os.WIFSIGNALED(forked(path, base, name, n_steps))
        again = forked(path, base, name, None)
        sys.stdout.write(f"{name} {int(died)} {again}\n")
        sys.stdout.flush()
        if not died:
            return
        n_steps += stride


if __name__ == "__main__":
    main()
