"""Raw events of an edge lie in files, which its centre knows, reads and checks."""

import asyncio
from typing import Final

import pytest

from meterline_sidecar.clock import HOUR_MS
from meterline_sidecar.fleet.filing import Filing
from meterline_sidecar.store.edge import edge_files as store
from meterline_sidecar.store.edge.edge_files import OWN, NewEdgeFile
from tests.integration.fleet.conftest import Host, World
from tests.integration.fleet.test_usage import METERS, often
from tests.integration.ledger.archiving import verified_with
from tests.producer import NOON_MS, batch, event

__all__ = ["often"]
USAGE: Final = 'forward = "usage"\n'


@pytest.fixture
def archive(world: World) -> str:
    """Make a place that edges and centre reach."""
    folder = world.folder / "archive"
    folder.mkdir()
    return f'[archive]\nurl = "{folder}"\n'


def filing(host: Host) -> Filing:
    assert host.parts.forwarder is not None
    assert host.parts.forwarder.filing is not None
    return host.parts.forwarder.filing


async def until_filed(edge: Host, n_batches: int, *, is_urgent: bool = True) -> None:
    """Have files written until so many batches are in them."""
    async with asyncio.timeout(30):
        while True:
            await filing(edge).write_next(is_urgent=is_urgent)
            files = await files_at(edge, OWN)
            if files and files[-1].last_batch_id >= n_batches:
                return
            await asyncio.sleep(0.01)


async def files_at(host: Host, edge_id: int) -> list[NewEdgeFile]:
    async with host.parts.database.reading() as tx:
        return [file.what for file in await store.files_of(tx, edge_id)]


async def until_noted(centre: Host, edge: Host) -> list[NewEdgeFile]:
    """Wait until the centre has noted all files of its first edge; return them."""
    wanted = [file._replace(edge_id=1) for file in await files_at(edge, OWN)]
    async with asyncio.timeout(30):
        while await files_at(centre, 1) != wanted:
            await asyncio.sleep(0.01)
    return wanted


@pytest.mark.parametrize("keys", ["", USAGE])
async def test_what_is_over_of_an_hour_is_written_and_known_at_the_centre(
    world: World, archive: str, keys: str
) -> None:
    async with (
        world.centre(METERS + archive) as centre,
        world.edge(keys=keys, more=archive) as edge,
    ):
        await edge.ship(batch(*(event(bytes_out=i) for i in range(5))))
        async with asyncio.timeout(30):
            while (reached := filing(edge).reached) is None or reached.batch < 1:
                await asyncio.sleep(0.01)
        assert await filing(edge).write_next() is None  # the hour is not over

        world.clock.time_ms += HOUR_MS
        await until_filed(edge, 1, is_urgent=False)
        (file, *_) = await until_noted(centre, edge)

        assert file.first_event_id == 1
        assert file.events >= 5
        assert (file.first_ms, file.beyond_ms) == (NOON_MS, NOON_MS + 1)
        folder = world.folder / "archive"
        assert {path.name for path in folder.iterdir()} == {
            one.file for one in await files_at(centre, 1)
        }
    for name in ("one", "centre"):
        report = await verified_with(world.folder / name / "meterline.db", folder)
        assert (report.findings, report.edge_files) == ([], len(list(folder.iterdir())))
