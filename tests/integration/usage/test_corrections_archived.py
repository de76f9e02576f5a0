"""What corrections do to hours whose events left, beside a ledger that none left."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from meterline_sidecar.clock import DAY_MS, HOUR_MS
from meterline_sidecar.errors import ArchiveFailed
from meterline_sidecar.ingest import correction_plans as plans
from meterline_sidecar.ingest.correction_plans import Plan
from meterline_sidecar.store.edge import archive
from meterline_sidecar.store.edge import corrections as store
from tests.agreed import agree_to, keep
from tests.integration.conftest import sidecar_at
from tests.integration.ledger.archiving import archive_of, away, verified_with
from tests.integration.usage.test_corrections import (
    NEW,
    WHY,
    Corrected,
    some_events,
    windows,
)
from tests.producer import NOON_MS, Connection, batch, event

N_EVENTS = 40
N_NEXT_DAY = 3
N_LATE = 8
FIRST_LATE = N_EVENTS + N_NEXT_DAY + 1


@dataclass
class Ledgers:
    """The same events twice; of one ledger the first of them left, late ones are here."""

    whole: Corrected
    left: Corrected
    folder: Path

    async def make(self, plan: Plan) -> int:
        """Make a correction in both."""
        (made, _) = [await one.corrections.make(plan, WHY) for one in self.both]
        return made.id

    @property
    def both(self) -> tuple[Corrected, Corrected]:
        return self.whole, self.left

    async def are_alike(self) -> bool:
        """Say whether both come to the same, and the one whose events left is sound."""
        whole, left = [await windows(one) for one in self.both]
        path = self.left.sidecar.database.path
        return whole == left and not (await verified_with(path, self.folder)).findings


@pytest.fixture
async def ledgers(tmp_path: Path) -> AsyncGenerator[Ledgers]:
    folder = tmp_path / "archive"
    for name in ("whole", "left"):
        (tmp_path / name).mkdir()
    async with (
        sidecar_at(tmp_path / "whole") as whole,
        sidecar_at(tmp_path / "left") as left,
    ):
        first = some_events(N_EVENTS, seed=1)
        ledgers = Ledgers(
            await Corrected.of(whole, first),
            await Corrected.of(left, first, folder=folder),
            folder,
        )
        for ledger in ledgers.both:
            ledger.sidecar.clock.time_ms += DAY_MS
            next_day = [event(time_ms=NOON_MS + DAY_MS)] * N_NEXT_DAY
            async with Connection(ledger.sidecar.socket) as app:
                await app.hello("b" * 32)
                await app.ship(batch(*next_day))
                late = some_events(N_LATE, seed=2)
                await app.ship(batch(*late, first_seq=1 + N_NEXT_DAY))
            await ledger.aggregator.run()
        assert await archive_of(left, folder).run() == 2
        assert await ledgers.are_alike()
        yield ledgers


async def test_what_is_corrected_in_hours_whose_events_left_comes_to_the_same(
    ledgers: Ledgers,
) -> None:
    late = {FIRST_LATE: True, FIRST_LATE + 3: True}
    in_them = event(time_ms=NOON_MS - HOUR_MS, quantities={"seats": 12})

    void = await ledgers.make(Plan("void", late))
    assert await ledgers.are_alike()
    added = await ledgers.make(
        await plans.add(ledgers.left.sidecar.database, [in_them])
    )
    assert await ledgers.are_alike()
    for correction in (added, void):
        plan = await plans.revert(ledgers.left.sidecar.database, correction)
        await ledgers.make(plan)
        assert await ledgers.are_alike()


async def test_what_is_counted_again_knows_corrections_of_hours_whose_events_left(
    ledgers: Ledgers,
) -> None:
    await ledgers.make(Plan("void", {FIRST_LATE: True}))

    for ledger in ledgers.both:
        terms = agree_to(ledger.terms, "new", NEW, from_ms=0, learned_ms=NOON_MS)
        await keep(ledger.sidecar.database, terms, key=ledger.key)
        await ledger.aggregator.follow(terms)
        assert await ledger.aggregator.run() == 0

    counted: Any = await windows(ledgers.left)
    assert any("new" in totals for totals, _ in counted.values())
    assert await ledgers.are_alike()


async def test_a_correction_whose_hours_cannot_be_read_is_refused_and_counting_goes_on(
    ledgers: Ledgers,
) -> None:
    file, _ = await away(ledgers.left.sidecar)
    kept = ledgers.folder / file.file
    kept.rename(ledgers.folder / "elsewhere")

    for plan in (
        Plan("late", {FIRST_LATE: True}, (NOON_MS - HOUR_MS,)),
        await plans.void(ledgers.left.sidecar.database, plans.Search((FIRST_LATE,))),
        await plans.add(ledgers.left.sidecar.database, [event(time_ms=file.first_ms)]),
    ):
        with pytest.raises(ArchiveFailed, match=file.file):
            await ledgers.left.corrections.make(plan, WHY)
    async with ledgers.left.sidecar.database.reading() as tx:
        assert await store.corrections_before(tx, 1 << 60, limit=9) == []
    # Of other hours no file is needed.
    await ledgers.make(
        await plans.add(
            ledgers.left.sidecar.database, [event(time_ms=file.beyond_ms + DAY_MS)]
        )
    )
    (ledgers.folder / "elsewhere").rename(kept)
    assert await ledgers.are_alike()


async def test_only_files_with_something_of_the_hours_are_read(
    ledgers: Ledgers,
) -> None:
    file, next_day = await away(ledgers.left.sidecar)
    first, last = (
        at_ms // HOUR_MS * HOUR_MS for at_ms in (file.first_ms, file.beyond_ms - 1)
    )
    assert last - first == HOUR_MS, "the file has something of two hours"

    async def needed(*hours: int) -> int:
        async with ledgers.left.sidecar.database.reading() as tx:
            return len(await archive.files_of_hours(tx, hours))

    assert await needed() == 0
    assert [await needed(hour) for hour in (first, last)] == [1, 1]
    around = (first - HOUR_MS, last + HOUR_MS)
    assert await needed(*around) == 0
    assert await needed(*around, last) == 1

    kept = ledgers.folder / next_day.file
    kept.rename(ledgers.folder / "elsewhere")
    await ledgers.make(Plan("void", {FIRST_LATE: True}, (first,)))
    (ledgers.folder / "elsewhere").rename(kept)
    assert await ledgers.are_alike()
