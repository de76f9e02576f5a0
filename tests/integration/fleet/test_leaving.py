"""What is old at an edge leaves its ledger for files that its centre knows, and is read there."""

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from typing import Final

import pytest

from meterline.wire import Lost
from meterline_sidecar.clock import DAY_MS, HOUR_MS
from meterline_sidecar.errors import ArchiveFailed
from meterline_sidecar.fleet.filing import Filing
from meterline_sidecar.ledger.archive import Step
from meterline_sidecar.ledger.edge_files import Reached
from meterline_sidecar.store.edge import archive as store
from meterline_sidecar.store.edge import edge_files, roll_ups
from meterline_sidecar.store.edge.edge_files import OWN
from meterline_sidecar.store.edge.events import marks
from meterline_sidecar.store.edge.roll_ups import RollUp
from meterline_sidecar.store.port import Tx
from tests.integration.fleet.conftest import Host, World, until
from tests.integration.fleet.test_files import (
    USAGE,
    all_pages,
    archive,
    files_at,
    filing,
    get,
    until_filed,
    until_noted,
)
from tests.integration.fleet.test_forwarding import used
from tests.integration.fleet.test_usage import (
    N,
    numbers,
    often,
    recount,
    sum_at,
    until_all_is_there,
    until_sum,
)
from tests.integration.ledger.archiving import verified_with
from tests.patience import PATIENCE_S
from tests.producer import NOON_MS, batch

__all__ = ["archive", "often"]
RETENTION: Final = '[retention]\nevents = "31 days"\n'


async def all_that_is_old_leaves(edge: Host) -> None:
    """Let files take what is old out of the ledger, once the centre has all of it."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            await edge.parts.aggregator.run()
            step = await edge.parts.archive.step(by_hand=True)
            if step == Step(None, None):
                return
            await asyncio.sleep(0.01)


async def used_for_long(world: World, centre: Host, edge: Host) -> None:
    """Let an edge take in two hours of events, and one 40 days later; file all of it."""
    first = (
        used(1, subject="stranger"),
        b"\xc1",
        used(10, external_id="job-7", source="jobs"),
    )
    await edge.ship(batch(*first), Lost(4, 5, "spool full"))
    await until_sum(centre, 11)
    for i, after_ms in ((1, HOUR_MS), (2, 40 * DAY_MS)):
        world.clock.time_ms += after_ms
        await edge.ship(numbers(2 * i, 2 * i + 1, first_seq=4 + 2 * i))
        await until_sum(centre, int("1" * (2 * i + 2)))
    await until_all_is_filed(centre, edge)


async def until_all_is_filed(centre: Host, edge: Host) -> None:
    """Wait until all that is there is in files, and the centre knows of each."""
    (last,) = await edge.rows("SELECT max(id) FROM batches")
    await until_filed(edge, last[0])
    await until_noted(centre, edge)


async def test_what_is_old_leaves_for_the_files_that_the_centre_knows(
    world: World, archive: str
) -> None:
    folder = world.folder / "archive"
    async with (
        world.centre(N + archive) as centre,
        world.edge(keys=USAGE, more=archive + RETENTION) as edge,
    ):
        await used_for_long(world, centre, edge)
        before = sorted(folder.iterdir())

        await all_that_is_old_leaves(edge)

        assert sorted(folder.iterdir()) == before  # no other file is written
        async with edge.parts.database.reading() as tx:
            away = await store.files(tx)
        assert len(away) >= 2
        written = await files_at(edge, OWN)
        assert [move.file for move in away] == [
            file.file for file in written if file.learned_ms < NOON_MS + DAY_MS
        ]
        ((first,),) = await edge.rows("SELECT min(id) FROM events")
        assert first == away[-1].last_event_id + 1
        for name in ("one", "centre"):
            report = await verified_with(world.folder / name / "meterline.db", folder)
            assert report.findings == []

        for i in range(len(away)):
            back = await edge.post("/v1/archive/restore", file=away[0].file)
            assert back.json()["is_done"] == (i == len(away) - 1), back.text
        assert await edge.rows("SELECT min(id) FROM events") == [(1,)]
        moved = (await edge.post("/v1/archive/run")).json()
        assert (moved["moved"]["file"], moved["is_copy"]) == (away[0].file, False)
        await all_that_is_old_leaves(edge)

        # A name is taken out of a file that is in both lists, once.
        asked = {"subject": "stranger", "reason": "asked"}
        erased = await edge.http.post("/v1/erasures", json=asked)
        assert erased.status_code == 200, erased.text
        noted = await until_noted(centre, edge)
        assert {path.name for path in folder.iterdir()} == {one.file for one in noted}
        assert away[0].file not in {one.file for one in noted}
        span = {"start": "2026-11-01T00:00:00Z", "end": "2027-01-01T00:00:00Z"}
        shown = await all_pages(centre, "/v1/edge-events", **span)
        assert len(shown) == 6
        assert not any(one["subject"] == "stranger" for one in shown)
    for name in ("one", "centre"):
        report = await verified_with(world.folder / name / "meterline.db", folder)
        assert report.findings == []


async def test_a_meter_is_counted_again_from_files_and_waits_for_one_that_is_gone(
    world: World, archive: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("meterline_sidecar.fleet.roller.UNREAD_S", 0.01)
    folder = world.folder / "archive"
    async with (
        world.centre(N + archive) as centre,
        world.edge(keys=USAGE, more=archive + RETENTION) as edge,
    ):
        await used_for_long(world, centre, edge)
        await all_that_is_old_leaves(edge)
        (first, *_) = await files_at(edge, OWN)
        (folder / first.file).rename(world.folder / "lost")

        await centre.parts.terms.recount_meter(
            "n", from_ms=0, author="tests", reason="tried"
        )
        assert centre.parts.edges is not None
        (one,) = centre.parts.edges.all()
        await until(lambda: any(first.file in text for text in one.missing))
        problems = (await get(edge, "/status"))["problems"]
        assert "job_failing" in {one["code"] for one in problems}
        # What is read is counted on meanwhile.
        await edge.ship(numbers(6, first_seq=10))
        await until_sum(centre, 1_111_111)

        (world.folder / "lost").rename(folder / first.file)
        await recounted(centre, edge)
        assert await sum_at(centre) == 1_111_111
        await until(lambda: one.missing == ())
    for name in ("one", "centre"):
        report = await verified_with(world.folder / name / "meterline.db", folder)
        assert report.findings == []


async def recounted(centre: Host, edge: Host) -> None:
    """Wait until the counting beside is read."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            await centre.parts.aggregator.run()
            beside = await centre.rows(
                "SELECT count(*) FROM generations WHERE is_complete = 0 AND id NOT IN"
                " (SELECT generation FROM generation_ends)"
            )
            if beside == [(0,)]:
                return
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("keys", ["", USAGE])
async def test_a_centre_that_has_lost_all_is_sent_what_left_from_its_files(
    world: World, archive: str, keys: str
) -> None:
    database = world.folder / "centre" / "meterline.db"
    more = archive + RETENTION
    async with world.edge(keys=keys, more=more) as edge:
        async with world.centre(N + archive) as centre:
            await used_for_long(world, centre, edge)
            await all_that_is_old_leaves(edge)
        for path in database.parent.glob("meterline.db*"):
            if path.name != "meterline.db.tokens":
                path.unlink()

        async with world.centre(N + archive) as centre:
            await until_sum(centre, 111_111)
            await until_noted(centre, edge)
            if not keys:
                names = "SELECT external_id FROM external_events"
                assert await centre.rows(names) == [("job-7",)]
                lost = "SELECT lost, refused FROM producers"
                assert await centre.rows(lost) == [(2, 1)]
            adopted = await centre.post("/v1/edges/one/adopt", reason="tried")
            assert adopted.status_code == 200, adopted.text
            await edge.ship(numbers(6, first_seq=10))
            await until_sum(centre, 1_111_111)
            if keys:
                await until_all_is_there(centre, edge)
                await recount(centre, "n", edge)
                assert await sum_at(centre) == 1_111_111
    report = await verified_with(database, world.folder / "archive")
    assert report.findings == []


async def test_what_an_earlier_life_had_counted_is_told_apart_in_files_as_well(
    world: World, archive: str
) -> None:
    more = archive + RETENTION
    async with world.centre(N + archive) as centre:
        async with world.edge(keys=USAGE, more=more) as edge:
            await edge.ship(numbers(0))
            await until_sum(centre, 1)
        shutil.copytree(world.folder / "one", world.folder / "copy")
        async with world.edge(keys=USAGE, more=more) as edge:
            await edge.ship(numbers(1, first_seq=2))
            await until_sum(centre, 11)

        async with world.edge(folder="copy", keys=USAGE, more=more) as edge:
            # What a spool that was put back as well has once more, and what is new.
            await edge.ship(numbers(1, 2, first_seq=2))
            assert centre.parts.edges is not None
            (one,) = centre.parts.edges.all()
            await until(lambda: one.row.trouble)
            await centre.post("/v1/edges/one/adopt", reason="restored")
            await until_sum(centre, 111)
            world.clock.time_ms += 40 * DAY_MS
            await edge.ship(numbers(3, first_seq=4))
            await until_sum(centre, 1_111)
            await until_all_is_filed(centre, edge)
            await all_that_is_old_leaves(edge)

            await recount(centre, "n", edge)
            assert await sum_at(centre) == 1_111
    for name in ("copy", "centre"):
        database = world.folder / name / "meterline.db"
        report = await verified_with(database, world.folder / "archive")
        assert report.findings == []


async def test_nothing_leaves_before_the_centre_has_it_and_the_file_is_read_back(
    world: World, archive: str
) -> None:
    folder = world.folder / "archive"
    async with (
        world.centre(N + archive) as centre,
        world.edge(keys=USAGE, more=archive + RETENTION) as edge,
    ):
        await used_for_long(world, centre, edge)
        database = edge.parts.database
        among = Filing(database, filing(edge).files)  # which is told nothing by itself
        async with database.reading() as tx:
            (file, *_) = await edge_files.files_after(tx, 0, edge_id=OWN, limit=1)
            what, newest = file.what, await marks(tx)

        async def why(reached: Reached | None, *, followed: str | None = None) -> str:
            among.reached = reached
            async with database.reading() as tx:
                known = await roll_ups.list_roll_ups(tx)
                if followed is not None:
                    known = [RollUp(followed, "", 0, 0)] if followed else []
                with pytest.MonkeyPatch.context() as others:
                    others.setattr(roll_ups, "list_roll_ups", returning(known))
                    return str(await among.why_not_there(tx, file))

        everything = Reached(newest.batch_id, newest.event_id)
        assert await why(None) == "the centre has not reported yet what it has"
        assert await why(everything) == f"the centre has not noted {what.file} yet"
        await among.begin(what.file)
        none_of_it = Reached(what.last_batch_id - 1, newest.event_id)
        assert "does not have batch" in await why(none_of_it)
        assert "come to" in await why(everything, followed="another")
        assert "by which meters" in await why(everything, followed="")
        assert await why(everything) == "None"

        content = (folder / what.file).read_bytes()
        (folder / what.file).write_bytes(content[:-1])
        with pytest.raises(ArchiveFailed, match="not the file that was written"):
            await all_that_is_old_leaves(edge)
        assert await edge.rows("SELECT min(id) FROM events") == [(1,)]
        problems = (await get(edge, "/status"))["problems"]
        assert "archive_not_written" in {one["code"] for one in problems}
        (folder / what.file).write_bytes(content)
        await all_that_is_old_leaves(edge)
        assert await edge.rows("SELECT min(id) FROM events") != [(1,)]


def returning(found: list[RollUp]) -> Callable[[Tx], Awaitable[list[RollUp]]]:
    """Return what returns this."""

    async def list_roll_ups(_: Tx) -> list[RollUp]:
        return found

    return list_roll_ups


@pytest.mark.parametrize("keys", ["", USAGE])
async def test_what_is_stored_while_the_centre_is_away_for_a_day_is_filed_by_the_hour(
    world: World, archive: str, keys: str
) -> None:
    async with world.centre(N + archive):
        pass  # which makes the token
    async with world.edge(keys=keys, more=archive + RETENTION) as edge:
        for hour in range(24):
            await edge.ship(numbers(hour // 2, first_seq=hour + 1))
            world.clock.time_ms += HOUR_MS
            assert await filing(edge).run() == 0  # not before the centre has it
        async with world.centre(N + archive) as centre:
            await until_sum(centre, int("2" * 12))
            await until_all_is_filed(centre, edge)

            written = await files_at(edge, OWN)
            stored = [one.learned_ms // HOUR_MS for one in written]
            assert stored == sorted(set(stored))  # each hour is one file
            assert len(stored) >= 24
            span = {"start": "2026-11-01T00:00:00Z", "end": "2027-01-01T00:00:00Z"}
            if keys:  # what is sent as it is, stands in the centre's ledger
                shown = await all_pages(centre, "/v1/edge-events", **span)
                assert [one["quantities"]["n"] for one in shown] == [
                    10 ** (hour // 2) for hour in range(24)
                ]
                assert all(one["file"] for one in shown)
    for name in ("one", "centre"):
        report = await verified_with(
            world.folder / name / "meterline.db", world.folder / "archive"
        )
        assert report.findings == []
