"""Events come, leave and come back in any order: each is in one place, and none is lost."""

import os
import random
from pathlib import Path

from meterline_sidecar.clock import DAY_MS
from meterline_sidecar.ledger.archive import Archive
from meterline_sidecar.store.edge.begin import begin
from meterline_sidecar.terms.book import Terms
from meterline_sidecar.usage.aggregate import Aggregator
from tests.agreed import claim, keep, terms_of
from tests.integration.conftest import Sidecar
from tests.integration.ledger.archiving import (
    archive_of,
    archived_at,
    away,
    verified_with,
)
from tests.integration.ledger.test_migrations import key_of
from tests.integration.ledger.test_verify import METERS
from tests.producer import Connection, batch, event

STEPS = 60
KEEPS_MS = 31 * DAY_MS
LATE_DAYS = 50
WORKERS = ("a" * 32, "b" * 32)


def terms_of_all() -> Terms:
    return claim(terms_of(*METERS), "acme", "acct_*")


class World:
    """A ledger with an archive, and the truth about what was stored."""

    def __init__(self, sidecar: Sidecar, folder: Path, chance: random.Random) -> None:
        self.sidecar = sidecar
        self.folder = folder
        self.chance = chance
        self.path = sidecar.database.path
        self.stored: list[tuple[str, int]] = []
        """The subject and the time of every event, in the order of their ids."""
        self.open: set[str] = set()
        self.archive: Archive = archive_of(
            sidecar,
            folder,
            before=lambda: (sidecar.clock.time_ms - KEEPS_MS) // DAY_MS * DAY_MS,
            judge=lambda subject, time_ms: "open" if subject in self.open else None,
        )
        terms = terms_of_all()
        self.aggregator = Aggregator(
            sidecar.database,
            terms,
            clock=sidecar.clock,
            read_events=archived_at(self.path, folder).events_after,
        )

    async def ship(self) -> None:
        now_ms, chance = self.sidecar.clock.time_ms, self.chance
        fresh = [
            (f"acct_{chance.randrange(4)}", now_ms - chance.choice((0, 0, late)))
            for late in (chance.randrange(LATE_DAYS) * DAY_MS for _ in range(3))
        ]
        async with Connection(self.sidecar.socket) as app:
            first = 1 + await app.hello(chance.choice(WORKERS))
            events = [event(subject=who, time_ms=at_ms) for who, at_ms in fresh]
            lost = [b"none"] * chance.randrange(2)
            await app.ship(batch(*events, *lost, first_seq=first))
        self.stored += fresh

    async def wait(self) -> None:
        self.sidecar.clock.time_ms += self.chance.randrange(1, 12) * DAY_MS

    async def count(self) -> None:
        await self.aggregator.run()

    async def settle_or_not(self) -> None:
        self.open ^= {f"acct_{self.chance.randrange(4)}"}

    async def leave(self) -> None:
        await self.archive.step(by_hand=True)

    async def come_back(self) -> None:
        files = await away(self.sidecar)
        if files:
            await self.archive.bring_back(self.chance.choice(files[-3:]).file)

    async def check(self) -> None:
        archived = archived_at(self.path, self.folder)
        found: list[tuple[str | None, int]] = []
        for move in await away(self.sidecar):
            bundle = await archived.bundle(move)
            found += [(event.subject, event.time_ms) for _, event in bundle.numbered()]
        async with self.sidecar.database.reading() as tx:
            assert len(found) == (await begin(tx)).event_id
            found += await tx.fetch_all(
                "SELECT s.name, e.time_ms FROM events e"
                " JOIN subjects s ON s.id = e.subject_id ORDER BY e.id"
            )
        assert found == self.stored
        for folder in (self.folder, None):
            assert (await verified_with(self.path, folder)).findings == []


async def test_whatever_comes_leaves_and_comes_back_is_in_one_place(
    sidecar: Sidecar, tmp_path: Path
) -> None:
    seed = int(os.environ.get("SEED") or random.randrange(2**32))
    print(f"SEED={seed}")  # noqa: T201 - pytest shows it when the test fails
    await keep(sidecar.database, terms_of_all(), key=key_of(sidecar.database.path))
    world = World(sidecar, tmp_path / "archive", random.Random(seed))
    await world.aggregator.start()

    for _ in range(STEPS):
        await world.chance.choice(
            (
                *(world.ship, world.ship, world.wait, world.wait, world.count),
                *(world.leave, world.leave, world.leave, world.come_back),
                *(world.settle_or_not, world.check),
            )
        )()
    await world.count()
    world.open.clear()
    await world.archive.run()
    await world.check()
