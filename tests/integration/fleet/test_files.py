"""Raw events of an edge lie in files, which its centre knows, reads and checks."""

import asyncio
import shutil
import sqlite3
from pathlib import Path
from typing import Any, Final

import pytest
from msgspec.structs import replace

from meterline.edge_wire import EdgeFile
from meterline.wire import WireError
from meterline_sidecar.cli.commands.events import tell_untold
from meterline_sidecar.clock import HOUR_MS
from meterline_sidecar.fleet import raw_events, telling
from meterline_sidecar.fleet.filing import Filing
from meterline_sidecar.fleet.noted import NotedFiles
from meterline_sidecar.fleet.telling import Telling
from meterline_sidecar.ledger.journal import Journal
from meterline_sidecar.store.edge import edge_files as store
from meterline_sidecar.store.edge.edge_files import OWN, NewEdgeFile
from meterline_sidecar.store.edge.event_log import EventPage
from meterline_sidecar.web.answers.edge_events import Untold
from tests.integration.fleet.conftest import Host, World, until
from tests.integration.fleet.test_usage import often, until_all_is_there
from tests.integration.ledger.archiving import verified_with
from tests.patience import PATIENCE_S
from tests.producer import NOON_MS, batch, event
from tests.sidecar_process import METERLINE

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


async def until_acked(edge: Host, n_batches: int) -> None:
    """Wait until the centre has so many batches of an edge."""
    await until(
        lambda: (at := filing(edge).reached) is not None and at.batch >= n_batches
    )


async def until_filed(edge: Host, n_batches: int, *, is_urgent: bool = True) -> None:
    """Have files written until so many batches are in them."""
    async with asyncio.timeout(PATIENCE_S):
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
    async with asyncio.timeout(PATIENCE_S):
        while await files_at(centre, 1) != wanted:
            await asyncio.sleep(0.01)
    return wanted


@pytest.mark.parametrize("keys", ["", USAGE])
async def test_what_is_over_of_an_hour_is_written_and_known_at_the_centre(
    world: World, archive: str, keys: str
) -> None:
    async with (
        world.centre(METERLINE + archive) as centre,
        world.edge(keys=keys, more=archive) as edge,
    ):
        await edge.ship(batch(*(event(bytes_out=i) for i in range(5))))
        await until_acked(edge, 1)
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


async def get(host: Host, path: str, **params: Any) -> Any:
    found = await host.http.get(path, params=params)
    assert found.status_code == 200, found.text
    return found.json()


async def all_pages(host: Host, path: str, **params: Any) -> list[Any]:
    """Return the events of all pages, of two each."""
    events: list[Any] = []
    after = 0
    while after is not None:
        page = await get(host, path, after=after, limit=2, **params)
        events += page["events"]
        after = page["next_after"]
    return events


async def filed(world: World, centre: Host, edge: Host) -> None:
    """Let an edge take in two hours of events, and file all of them."""
    for hour in range(2):
        world.clock.time_ms = NOON_MS + hour * HOUR_MS
        at_ms = world.clock.time_ms
        await edge.ship(
            batch(
                event(time_ms=at_ms, subject="acct_1", route="/a", bytes_out=7),
                event(time_ms=at_ms, subject="stranger", bytes_out=11),
                event(time_ms=at_ms, subject="acme_2", status=500, bytes_out=13),
                first_seq=1 + 3 * hour,
            )
        )
    await until_all_is_there(centre, edge)
    (last,) = await edge.rows("SELECT max(id) FROM batches")
    await until_filed(edge, last[0])
    await until_noted(centre, edge)


async def test_raw_events_of_an_edge_are_read_at_its_centre_and_compared_with_usage(
    world: World, archive: str
) -> None:
    async with (
        world.centre(METERLINE + archive) as centre,
        world.edge(keys=USAGE, more=archive) as edge,
    ):
        await filed(world, centre, edge)
        await centre.parts.aggregator.run()

        path = "/v1/edge-events"
        found = await all_pages(centre, path)
        assert [one["id"] for one in found] == [1, 2, 3, 4, 5, 6]
        assert found[0]["event"].endswith("-1")
        assert [one["customer"] for one in found[:3]] == ["acme", None, "acme"]
        assert {one["edge"] for one in found} == {"one"}
        assert len({one["file"] for one in found}) == 2
        theirs = await all_pages(centre, path, customer="acme", edge="one")
        assert [one["id"] for one in theirs] == [1, 3, 4, 6]
        assert len(await all_pages(centre, path, status="5xx")) == 2
        assert len(await all_pages(centre, path, subject="stranger")) == 2
        assert len(await all_pages(centre, path, route="/a", method="GET")) == 2
        assert await all_pages(centre, path, kind="use") == []
        span = {"start": "2026-11-06T00:00:00Z", "end": "2026-11-06T12:30:00Z"}
        assert len(await all_pages(centre, path, **span)) == 3

        line = {"line": "api_calls", "period": "2026-11"}
        of_line = "/v1/customers/acme/invoice/edge-events"
        found = await all_pages(centre, of_line, **line)
        # Another customer's, nobody's, and what its meter does not count, are left out.
        assert [(one["id"], one["counted"]) for one in found] == [(1, 1), (4, 1)]
        explained = await get(
            centre, "/v1/customers/acme/invoice/explain", period="2026-11"
        )
        (of_meter,) = (one for one in explained["lines"] if one["line"] == "api_calls")
        assert of_meter["quantity"] == "2"
        assert len(explained["events"]["edges"][0]["files"]) == 2
        assert await all_pages(centre, of_line, day="2026-11-30", **line) == []

        page = await get(centre, "/v1/events")
        (told,) = page["edges"]
        assert (told["edge"], len(told["files"])) == ("one", 2)
        assert told["filed_to"].startswith("2026-11-06T13:")
        shown = (await centre.http.get("/events?period=2026-11")).text
        assert "meterline events --at-edges --edge one" in shown

    database, folder = (
        world.folder / "centre" / "meterline.db",
        world.folder / "archive",
    )
    report = await verified_with(database, folder)
    assert (report.findings, report.edge_hours, report.edges_ahead) == ([], 2, [])

    with sqlite3.connect(database) as changed:
        changed.execute(
            "UPDATE events SET properties ="
            " replace(properties, '\"api_calls\":1', '\"api_calls\":7')"
            " WHERE time_ms < ? AND properties LIKE '%api_calls%'",
            (NOON_MS + HOUR_MS,),
        )
    report = await verified_with(database, folder)
    (differs,) = (text for text in report.findings if text.startswith("edge one"))
    assert differs == (
        "edge one, 2026-11-06T12h: api_calls is 2 by the events in its files, and 14 came"
        " as usage"
    )


async def test_what_is_in_no_file_yet_is_asked_of_the_edge_and_else_it_is_named(
    world: World, archive: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with world.centre(METERLINE + archive) as centre:
        async with world.edge(keys=USAGE, more=archive) as edge:
            await filed(world, centre, edge)
            await edge.ship(
                batch(
                    event(time_ms=world.clock.time_ms, subject="acct_1", route="/b"),
                    event(time_ms=world.clock.time_ms, subject="stranger"),
                    event(time_ms=world.clock.time_ms, subject="acme_2", status=500),
                    first_seq=7,
                )
            )
            assert centre.parts.edges is not None
            (one,) = centre.parts.edges.all()
            await until(lambda: one.asking is not None)

            path = "/v1/edge-events"
            found = await all_pages(centre, path)
            assert [one["id"] for one in found[:6]] == [1, 2, 3, 4, 5, 6]
            assert [one["event"][-2:] for one in found[6:]] == ["-7", "-8", "-9"]
            assert [one["file"] is None for one in found] == [False] * 6 + [True] * 3
            theirs = await all_pages(centre, path, customer="acme", edge="one")
            assert [one["event"][-2:] for one in theirs[4:]] == ["-7", "-9"]
            assert len(await all_pages(centre, path, route="/b", kind="request")) == 1
            assert len(await all_pages(centre, path, subject="stranger")) == 3
            assert len(await all_pages(centre, path, status="5xx")) == 3
            span = {"start": "2026-11-06T12:00:00Z", "end": "2026-11-06T12:30:00Z"}
            assert len(await all_pages(centre, path, **span)) == 3
            line = {"line": "api_calls", "period": "2026-11"}
            of_line = "/v1/customers/acme/invoice/edge-events"
            counted = await all_pages(centre, of_line, **line)
            assert [one["event"][-2:] for one in counted] == ["-1", "-4", "-7"]

            with monkeypatch.context() as silent:
                silent.setattr(Telling, "take", _nothing)
                silent.setattr(raw_events, "ANSWER_S", 0.01)
                (untold,) = (await get(centre, path))["untold"]
                assert (untold["edge"], "within" in untold["why"]) == ("one", True)
            with monkeypatch.context() as wrong:
                wrong.setattr(telling, "_end_of_files", _backwards)
                wrong.setattr(telling, "read_events", _backwards)
                (untold,) = (await get(centre, path))["untold"]
                assert "in no order" in untold["why"]
            for tells, why in ((None, "too old to be asked"), (False, "tells no")):
                one.tells = tells
                (untold,) = (await get(centre, path))["untold"]
                assert why in untold["why"]
            one.tells = True
            assert (await get(centre, path))["untold"] == []

        page = await get(centre, path)
        (untold,) = page["untold"]
        assert untold["why"].startswith("it is away since 2026-11-06T13:00")
        assert len(page["events"]) == 6  # those in files
        folder = world.folder / "archive"
        database = world.folder / "centre" / "meterline.db"
        report = await verified_with(database, folder)
        assert (report.findings, report.edge_hours) == ([], 1)
        assert report.edges_ahead == [
            "edge one: usage of 1 hour is newer than its files that are noted here"
        ]
        world.clock.time_ms += HOUR_MS
        async with world.edge(
            keys=f"{USAGE}tells_events = false\n", more=archive
        ) as edge:
            await until(lambda: one.asking is not None)
            (untold,) = (await get(centre, path))["untold"]
            assert "centre.tells_events" in untold["why"]
            one.tells = True  # whatever a centre believes, the edge decides
            (untold,) = (await get(centre, path))["untold"]
            assert untold["why"] == "it tells no events"
        page = "/customers/acme/explain?period=2026-11&line=api_calls"
        assert "Raw events at edges" in (await centre.http.get(page)).text
        shown = (await centre.http.get(f"{page}&at_edges=true")).text
        assert "it is away since" in shown
        assert shown.count("<td>one: ") == 2


def _nothing(*_: object) -> None:
    """Do nothing."""


async def _backwards(*_: object, **question: int) -> Any:
    """Return a page that goes on where it began."""
    return EventPage([], 0) if question else 0


async def test_a_file_that_was_changed_or_is_gone_is_a_finding_at_the_centre(
    world: World, archive: str
) -> None:
    async with (
        world.centre(METERLINE + archive) as centre,
        world.edge(keys=USAGE, more=archive) as edge,
    ):
        await filed(world, centre, edge)
        first, second = await files_at(centre, 1)

        folder = world.folder / "archive"
        content = (folder / first.file).read_bytes()
        (folder / first.file).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        (folder / second.file).unlink()

        page = await get(centre, "/v1/edge-events")
        (untold,) = page["untold"]
        assert (page["events"], page["next_after"]) == ([], None)
        assert (untold["edge"], untold["is_filed"]) == ("one", True)
        assert untold["why"].startswith(f"{first.file} at {folder}: it is not the file")
    report = await verified_with(world.folder / "centre" / "meterline.db", folder)
    assert [finding.split(":")[0] for finding in report.findings] == [
        "a file of an edge",
        "a file of an edge",
    ]
    without = await verified_with(world.folder / "centre" / "meterline.db", None)
    assert (without.findings, without.edge_files_unread) == ([], 2)


async def test_a_file_that_cannot_be_read_is_named_with_its_edge_and_the_rest_is_listed(
    world: World, archive: str, capsys: pytest.CaptureFixture[str]
) -> None:
    async with (
        world.centre(METERLINE + archive) as centre,
        world.edge(keys=USAGE, more=archive) as edge,
        world.edge("two", keys=USAGE) as other,
    ):
        await filed(world, centre, edge)
        at_ms = world.clock.time_ms
        await other.ship(
            batch(event(time_ms=at_ms, subject="acct_1")), producer="f" * 32
        )
        await until_all_is_there(centre, other)
        assert centre.parts.edges is not None
        both = centre.parts.edges.all()
        await until(lambda: all(one.asking is not None for one in both))
        _, second = await files_at(centre, 1)
        folder = world.folder / "archive"
        (folder / second.file).unlink()

        path = "/v1/edge-events"
        page = await get(centre, path)
        seen = [(one["edge"], one["id"], one["file"] is None) for one in page["events"]]
        here = [("one", i, False) for i in (1, 2, 3)]
        assert seen == [*here, ("two", 1, True)]
        (untold,) = page["untold"]
        assert (untold["edge"], untold["is_filed"]) == ("one", True)
        assert second.file in untold["why"]
        assert "archive.edges" in untold["why"]  # what to do
        assert [one["id"] for one in await all_pages(centre, path)] == [1, 2, 3, 1]
        (alone,) = (await get(centre, path, edge="one"))["untold"]
        assert alone == untold
        line = {"line": "api_calls", "period": "2026-11"}
        of_line = await get(centre, "/v1/customers/acme/invoice/edge-events", **line)
        assert [one["edge"] for one in of_line["events"]] == ["one", "two"]
        assert of_line["untold"] == [untold]
        await centre.parts.aggregator.run()
        shown = await centre.http.get(
            "/customers/acme/explain", params={**line, "at_edges": "true"}
        )
        assert f"events in files are listed up to one only: {folder}/{second.file}" in (
            shown.text
        )

        tell_untold([Untold(**untold)])
        told = capsys.readouterr().out
        assert told.startswith(
            "edge one: what it has in files is listed up to one only:"
        )


async def test_a_name_that_an_edge_erases_is_in_no_file_and_the_centre_follows(
    world: World, archive: str
) -> None:
    async with (
        world.centre(METERLINE + archive) as centre,
        world.edge(keys=USAGE, more=archive) as edge,
    ):
        await filed(world, centre, edge)
        before = {file.file for file in await files_at(centre, 1)}

        asked = {"subject": "stranger", "reason": "asked"}
        would = await edge.http.post("/v1/erasures", json={**asked, "dry_run": True})
        assert set(would.json()["archive_files"]) == before
        erased = await edge.http.post("/v1/erasures", json=asked)
        assert erased.status_code == 200, erased.text
        await until_noted(centre, edge)

        folder = world.folder / "archive"
        files = {path.name for path in folder.iterdir()}
        assert files == {file.file for file in await files_at(centre, 1)}
        assert not files & before
        found = await all_pages(centre, "/v1/edge-events")
        assert len(found) == 6
        assert not any(one["subject"] == "stranger" for one in found)
    for name in ("one", "centre"):
        report = await verified_with(world.folder / name / "meterline.db", folder)
        assert (report.findings, report.edge_files) == ([], 2)


async def test_a_centre_or_an_edge_that_was_put_back_notes_each_file_once(
    world: World, archive: str
) -> None:
    def kept(name: str, to: str) -> None:
        """Copy a ledger that is closed."""
        for path in sorted((world.folder / name).glob("meterline.db*")):
            if path.is_file():
                shutil.copy2(path, path.with_name(path.name.replace("meterline", to)))

    def put_back(name: str, of: str) -> None:
        folder: Path = world.folder / name
        for path in folder.glob("meterline.db*"):
            path.unlink()
        for path in sorted(folder.glob(f"{of}.db*")):
            shutil.copy2(path, path.with_name(path.name.replace(of, "meterline")))

    async with world.centre(METERLINE + archive), world.edge(more=archive) as edge:
        await edge.ship(batch(event()))
        await until_filed(edge, 1)
    kept("one", "old")
    kept("centre", "old")
    async with (
        world.centre(METERLINE + archive) as centre,
        world.edge(more=archive) as edge,
    ):
        await edge.ship(batch(event(), event(), first_seq=2))
        await until_filed(edge, 2)
        files = await until_noted(centre, edge)
        assert len(files) == 2

    put_back("centre", "old")
    async with (
        world.centre(METERLINE + archive) as centre,
        world.edge(more=archive) as edge,
    ):
        assert await until_noted(centre, edge) == files

    put_back("one", "old")
    async with (
        world.centre(METERLINE + archive) as centre,
        world.edge(more=archive) as edge,
    ):
        adopted = await centre.post("/v1/edges/one/adopt", reason="put back")
        assert adopted.status_code == 200, adopted.text
        await edge.ship(batch(event(), event(status=500), first_seq=2))
        await until_filed(edge, 2)
        async with asyncio.timeout(PATIENCE_S):
            while len(await files_at(centre, 1)) != 3:
                await asyncio.sleep(0.01)
    report = await verified_with(
        world.folder / "centre" / "meterline.db", world.folder / "archive"
    )
    assert (report.findings, report.edge_files) == ([], 3)


async def test_whoever_is_killed_behind_a_file_writes_it_again_under_its_name(
    world: World, archive: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = world.folder / "archive"
    async with world.centre(METERLINE + archive) as centre:
        async with world.edge(more=archive) as edge:
            await edge.ship(batch(event(), event()))
            await until_acked(edge, 1)
            with monkeypatch.context() as killed:

                async def die(*_: object) -> int:
                    raise RuntimeError("killed")

                killed.setattr(store, "add_file", die)
                with pytest.raises(RuntimeError):
                    await filing(edge).write_next(is_urgent=True)
            (left,) = folder.iterdir()
            content = left.read_bytes()
            assert await files_at(edge, OWN) == []

        async with world.edge(more=archive) as edge:
            await edge.ship(batch(event(), first_seq=3))
            await until_acked(edge, 2)
            # More is there by now, and this ends where that one did.
            await filing(edge).write_next(is_urgent=True)
            (file,) = await until_noted(centre, edge)
            assert [path.name for path in folder.iterdir()] == [file.file]
            assert (left.name, left.read_bytes()) == (file.file, content)
            await filing(edge).write_next(is_urgent=True)
            first, second = await until_noted(centre, edge)
            assert (first.events, second.events) == (2, 1)


async def test_what_cannot_be_written_waits_and_is_a_problem(
    world: World, archive: str
) -> None:
    folder = world.folder / "archive"
    folder.rmdir()
    async with (
        world.centre(METERLINE + archive) as centre,
        world.edge(more=archive) as edge,
    ):
        await edge.ship(batch(event()))
        await until_acked(edge, 1)
        refused = await edge.post("/v1/archive/run")
        assert refused.status_code == 409
        status = await get(edge, "/status")
        assert "archive_not_written" in {one["code"] for one in status["problems"]}

        folder.mkdir()
        copied = (await edge.post("/v1/archive/run")).json()
        assert (copied["is_copy"], copied["moved"]["events"]) == (True, 1)
        assert (await edge.post("/v1/archive/run")).json()["is_done"]
        await until_noted(centre, edge)
        status = await get(edge, "/status")
        assert "archive_not_written" not in {one["code"] for one in status["problems"]}
        (listed,) = (await get(centre, "/v1/archive/edge-files"))["files"]
        assert (listed["edge"], listed["events"]) == ("one", 1)
        (listed,) = (await get(centre, "/v1/edges"))["edges"]
        assert listed["filed_ms"] == NOON_MS
        metrics = (await centre.http.get("/metrics")).text
        assert 'meterline_edge_filed_timestamp_seconds{edge="one"' in metrics


async def test_an_older_centre_is_told_of_no_file_and_a_newer_one_of_all(
    world: World, archive: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with world.centre(METERLINE + archive) as centre:
        with monkeypatch.context() as older:

            async def none(*_: object) -> None:
                return None

            older.setattr(NotedFiles, "last_of", none)
            async with world.edge(more=archive) as edge:
                await edge.ship(batch(event()))
                await until_filed(edge, 1)
                assert edge.parts.forwarder is not None
                edge.parts.forwarder.stop()  # which tells of all that it may
                assert edge.forwarding is not None
                await edge.forwarding
            assert await files_at(centre, 1) == []

        async with world.edge(more=archive) as edge:
            (file,) = await until_noted(centre, edge)

        noted = NotedFiles(centre.parts.database, Journal(b"key"))
        assert centre.parts.edges is not None
        (one,) = centre.parts.edges.all()
        good = EdgeFile(*file[1:])
        for bad in (
            {"first_batch_id": 9},
            {"first_ms": 2**50},
            {"file_bytes": 2**40},
            {"events": 2**40},
        ):
            with pytest.raises(WireError, match="no file can be"):
                await noted.note(one, replace(good, **bad))
        await noted.note(one, good)
        assert await files_at(centre, 1) == [file]
