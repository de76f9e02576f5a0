"""A process that packs days that are over, and dies at one step of its writing.

    python -m tests.fault.days_killed PLACE STEP

Steps are each statement of a transaction that writes, what comes before each COMMIT, and
what comes behind it. It prints how many there were, if there were fewer.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypeVar

import pytest

from meterline_sidecar.clock import DAY_MS
from meterline_sidecar.config.postgres import PostgresUrl
from meterline_sidecar.store.open import open_ledger
from meterline_sidecar.store.port import Ledger, Row, Tx, Value, Work
from meterline_sidecar.terms.book import Terms
from meterline_sidecar.usage import day_parts, packed_days
from meterline_sidecar.usage.days_over import DaysOver
from tests.agreed import claim
from tests.clock import FakeClock
from tests.store.rows import DAY

T = TypeVar("T")
ZONE = "Asia/Kathmandu"


class Steps:
    """Counts steps, and kills this process at one of them."""

    def __init__(self, last: int) -> None:
        self.last = last
        self.done = 0

    def step(self) -> None:
        self.done += 1
        if self.done == self.last:
            os.kill(os.getpid(), signal.SIGKILL)

    def told_by(self, work: Work[T]) -> Work[T]:
        """Return the same work, each of whose statements is a step; and its end."""

        async def stepwise(tx: Tx) -> T:
            done = await work(_Told(tx, self))
            self.step()
            return done

        return stepwise


class _Told:
    """A transaction of which each statement is a step."""

    def __init__(self, tx: Tx, steps: Steps) -> None:
        self._tx = tx
        self._steps = steps

    async def execute(self, sql: str, parameters: Sequence[Value] = ()) -> int:
        self._steps.step()
        return await self._tx.execute(sql, parameters)

    async def execute_many(self, sql: str, rows: Iterable[Sequence[Value]]) -> None:
        self._steps.step()
        await self._tx.execute_many(sql, rows)

    async def fetch_one(self, sql: str, parameters: Sequence[Value] = ()) -> Row | None:
        self._steps.step()
        return await self._tx.fetch_one(sql, parameters)

    async def fetch_all(self, sql: str, parameters: Sequence[Value] = ()) -> list[Row]:
        self._steps.step()
        return await self._tx.fetch_all(sql, parameters)


async def pack(ledger: Ledger) -> None:
    """Pack the days that are over, and keep their parts."""
    terms = claim(Terms(), "acme", "*", time_zone=ZONE)
    clock = FakeClock(DAY + 9 * DAY_MS)
    await DaysOver(ledger, terms, clock=clock).run()


def pack_small(patch: pytest.MonkeyPatch) -> None:
    """Have days of two groups packed, and parts of two windows kept, without a rest."""
    patch.setattr(packed_days, "GROUPS_MIN", 2)
    patch.setattr(day_parts, "WINDOWS_MIN", 2)
    for module in (packed_days, day_parts):
        patch.setattr(module, "REST", 0)


async def main(place: str, last: int) -> None:
    pack_small(pytest.MonkeyPatch())
    is_url = place.startswith("postgresql:")
    ledger = await open_ledger(PostgresUrl(place) if is_url else Path(place))
    steps, write = Steps(last), ledger.write

    async def told(work: Work[T]) -> T:
        done = await write(steps.told_by(work))
        steps.step()
        return done

    ledger.write = told  # type: ignore[method-assign]
    await pack(ledger)
    await ledger.close()
    sys.stdout.write(f"{steps.done}\n")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
