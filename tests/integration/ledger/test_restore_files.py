"""What came after a backup and left for files since is in the ledger that is put back."""

import asyncio
import shutil
import sqlite3
from pathlib import Path
from typing import Any, Final

import pytest

from meterline.events import Flag
from meterline_sidecar.clock import DAY_MS
from meterline_sidecar.errors import ArchiveFailed
from meterline_sidecar.files import LedgerFiles
from meterline_sidecar.ingest import from_files
from meterline_sidecar.ingest.external import External
from meterline_sidecar.ingest.from_files import store_from_files, why_not
from meterline_sidecar.ingest.names import Name
from meterline_sidecar.ledger.archived import LINES, PARQUET, Form
from meterline_sidecar.ledger.bundle import Bundle, Stored
from meterline_sidecar.ledger.chain import GENESIS, batch_mac
from meterline_sidecar.ledger.restore import Later, Openers, Restored, restore
from meterline_sidecar.ledger.shelf import (
    NAMES_MAX,
    DirectoryShelf,
    OwnShelf,
    file_name,
    first_event_of,
)
from meterline_sidecar.ledger.shelves import open_shelf
from meterline_sidecar.store import fleet
from meterline_sidecar.store.edge.archive import NewMove
from meterline_sidecar.store.edge.events import BatchRow, EventRow
from meterline_sidecar.store.open import open_copy, open_ledger, open_reader
from meterline_sidecar.store.port import Ledger
from meterline_sidecar.usage.aggregate import Aggregator
from tests.integration.cli.test_archive import ARCHIVE, LATER, LATER_MS
from tests.integration.conftest import Sidecar, sidecar_at
from tests.integration.ledger.archiving import LATER_MS as MUCH_LATER_MS
from tests.integration.ledger.archiving import archive_of, away, verified_with
from tests.integration.ledger.test_backup_and_doctor import said
from tests.integration.ledger.test_migrations import EDGE, agreed, key_of
from tests.integration.ledger.test_restore import problems
from tests.integration.ledger.test_shelf import Bucket
from tests.integration.ledger.test_shelf import bucket as bucket  # a fixture
from tests.integration.ledger.test_verify import fill
from tests.producer import NOON_MS, Connection, batch, event
from tests.sidecar_process import METERLINE, SidecarProcess, until

DAYS: Final = 4
PER_DAY: Final = 3
"""Events; and one that is refused."""
OPENERS: Final = Openers(open_reader, open_copy)
WORKER: Final = "c" * 32


async def backed_up(sidecar: Sidecar, folder: Path) -> Path:
    """Make a backup, with its key."""
    target = folder / "backup.db"
    await sidecar.database.copy_to(target)
    shutil.copyfile(LedgerFiles(sidecar.database.path).key, LedgerFiles(target).key)
    return target


def of_day(day: int) -> Any:
    """Return what the worker sends of a day: of two subjects, of nobody, and no event."""
    time_ms = NOON_MS + day * DAY_MS
    return batch(
        event(time_ms=time_ms, quantities={"tokens": day}),
        event(time_ms=time_ms, subject=f"acct_{day}"),
        event(time_ms=time_ms, subject=None),
        b"none",
        first_seq=1 + (PER_DAY + 1) * day,
    )


async def days(sidecar: Sidecar, *which: int) -> None:
    """Store a batch on each of some days."""
    async with Connection(sidecar.socket) as app:
        await app.hello(WORKER)
        for day in which:
            sidecar.clock.time_ms = NOON_MS + day * DAY_MS
            await app.ship(of_day(day))


async def newest(sidecar: Sidecar) -> None:
    """Let an event come long after all others, and count all."""
    sidecar.clock.time_ms = MUCH_LATER_MS
    async with Connection(sidecar.socket) as app:
        await app.hello("e" * 32)
        await app.ship(batch(event(time_ms=MUCH_LATER_MS)))
    await count(sidecar)


async def count(sidecar: Sidecar) -> None:
    await Aggregator(sidecar.database, agreed(), clock=sidecar.clock).run()


async def lost(
    sidecar: Sidecar,
    folder: Path,
    *,
    shelf: OwnShelf | None = None,
    form: Form = LINES,
) -> tuple[Path, list[NewMove]]:
    """Let all but the newest events leave a ledger; return an earlier backup, and the files."""
    await fill(sidecar)
    await days(sidecar, *range(DAYS))
    backup = await backed_up(sidecar, folder)
    await days(sidecar, *range(DAYS, 2 * DAYS))
    await newest(sidecar)
    await archive_of(sidecar, folder / "archive", shelf=shelf, form=form).run()
    return backup, await away(sidecar)


async def put_back(backup: Path, folder: Path, shelf: OwnShelf) -> Restored:
    """Restore a backup on a disk that is new."""
    folder.mkdir()

    async def go_on(ledger: Ledger, key: bytes) -> Later:
        return await store_from_files(ledger, shelf, key)

    return await restore(
        *(backup, folder / "meterline.db"),
        openers=OPENERS,
        progress=lambda what, done, total: None,
        go_on=go_on,
    )


def rows(path: Path, query: str) -> list[Any]:
    connection = sqlite3.connect(path)
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


@pytest.mark.parametrize("form", [LINES, PARQUET], ids=["lines", "parquet"])
async def test_what_left_for_files_after_the_backup_is_there_again_as_it_was(
    sidecar: Sidecar, tmp_path: Path, form: Form
) -> None:
    backup, files = await lost(sidecar, tmp_path, form=form)
    folder, new = tmp_path / "archive", tmp_path / "new"
    before = {file.name: file.read_bytes() for file in folder.iterdir()}

    restored = await put_back(backup, new, DirectoryShelf(folder))

    later = restored.from_files
    assert (later.events, later.ended) == (DAYS * PER_DAY, None)
    assert later.files == [file.file for file in files[-DAYS:]]
    path = new / "meterline.db"
    ends = f"SELECT id, mac FROM batches WHERE id = {files[-1].last_batch_id}"
    assert rows(path, ends) == [(files[-1].last_batch_id, files[-1].mac)]
    async with sidecar_at(new) as other:
        await count(other)
        assert (await verified_with(path, None)).findings == []
        # Whoever has it still sends it again, and the next one is new.
        await days(other, DAYS, 2 * DAYS - 1, 2 * DAYS)
        sent = f"SELECT count(*), max(seq) FROM events e JOIN producers p ON p.id = e.producer_id WHERE p.producer = '{WORKER}'"
        n_days = 2 * DAYS + 1
        last = (PER_DAY + 1) * n_days - 1
        assert rows(path, sent) == [(n_days * PER_DAY, last)]
        # It leaves again for the files that there are.
        await newest(other)
        archive = archive_of(other, folder, form=form)
        await archive.run()
        again = {one.file: one for one in await away(other)}
        assert [again[one.file].mac for one in files[1:]] == [
            one.mac for one in files[1:]
        ]
        assert {name: (folder / name).read_bytes() for name in before} == before
        assert (await verified_with(path, folder)).findings == []


async def test_files_of_others_and_damaged_ones_are_passed_over_and_told(
    sidecar: Sidecar, tmp_path: Path
) -> None:
    backup, files = await lost(sidecar, tmp_path)
    folder = tmp_path / "archive"
    async with sidecar_at(of_another_folder(tmp_path)) as other:
        await lost(other, of_another_folder(tmp_path), shelf=DirectoryShelf(folder))
    (folder / "events-of somebody.txt").write_text("my diary")

    whole = await put_back(backup, tmp_path / "whole", DirectoryShelf(folder))
    assert (whole.from_files.events, whole.from_files.ended) == (DAYS * PER_DAY, None)
    broken = f"events-{files[-3].first_event_id:012}-0{LINES.suffix}"
    (folder / broken).write_text("?")
    beside = await put_back(backup, tmp_path / "beside", DirectoryShelf(folder))
    assert beside.from_files.events == DAYS * PER_DAY
    assert beside.from_files.ended is None  # another one ends where all do

    hit = folder / files[-2].file
    hit.write_bytes(hit.read_bytes()[:-9])
    part = await put_back(backup, tmp_path / "part", DirectoryShelf(folder))
    assert part.from_files.events == (DAYS - 2) * PER_DAY
    assert part.from_files.ended is not None
    assert part.from_files.ended.startswith(f"{hit.name} at {folder}: ")
    hit.unlink()
    gone = await put_back(backup, tmp_path / "gone", DirectoryShelf(folder))
    assert gone.from_files.events == (DAYS - 2) * PER_DAY
    nowhere = await put_back(
        backup, tmp_path / "nowhere", DirectoryShelf(tmp_path / "unmounted")
    )
    assert nowhere.from_files.ended is not None
    assert "unmounted cannot be looked at" in nowhere.from_files.ended


async def test_the_file_that_goes_on_is_found_behind_a_thousand_others(
    sidecar: Sidecar, tmp_path: Path
) -> None:
    backup, _ = await lost(sidecar, tmp_path)
    folder = tmp_path / "archive"
    for i in range(NAMES_MAX + 1):
        (folder / file_name(0, i.to_bytes(8), LINES.suffix)).write_text("an hour")

    restored = await put_back(backup, tmp_path / "new", DirectoryShelf(folder))

    assert restored.from_files.events == DAYS * PER_DAY


def of_another_folder(folder: Path) -> Path:
    found = folder / "another ledger"
    found.mkdir(exist_ok=True)
    return found


async def test_what_somebody_forged_without_the_key_is_not_stored(
    sidecar: Sidecar, tmp_path: Path
) -> None:
    backup, files = await lost(sidecar, tmp_path)
    folder = tmp_path / "archive"
    first = folder / files[-DAYS].file
    bundle = LINES.decode(first.read_bytes())
    stored = bundle.batches[0]
    forged = stored._replace(
        events=[one._replace(bytes_out=one.bytes_out + 1) for one in stored.events]
    )
    first.write_bytes(LINES.encode(bundle._replace(batches=[forged])))

    restored = await put_back(backup, tmp_path / "new", DirectoryShelf(folder))

    assert restored.from_files.events == 0
    assert restored.from_files.ended == (
        f"{first.name} at {folder}: batch {stored.batch.id} is not what was committed"
    )


async def test_a_file_whose_worker_has_a_gap_before_it_is_refused_with_what_to_do(
    tmp_path: Path,
) -> None:
    key = b"k" * 32
    later = EventRow(5, NOON_MS, 0, None, "GET", "/", 200, 0, 0, 0, 0, None, None)
    of_it = BatchRow(1, 0, 5, 5, 1, 1, 1, 0, NOON_MS)
    mac = batch_mac(
        key, GENESIS, batch=of_it, producer=WORKER, events=[later], losses=[]
    )
    bundle = Bundle(GENESIS, [Stored(of_it, WORKER, mac, [later], [])])
    (tmp_path / file_name(1, mac, LINES.suffix)).write_bytes(LINES.encode(bundle))
    ledger = await open_ledger(tmp_path / "meterline.db")

    with pytest.raises(ArchiveFailed, match=r"batch 1 of a file.*--without-archive"):
        await store_from_files(ledger, DirectoryShelf(tmp_path), key)
    await ledger.close()


async def test_files_in_a_bucket_are_found_as_well(
    sidecar: Sidecar, tmp_path: Path, bucket: Bucket
) -> None:
    shelf = open_shelf("s3://cold/ledger")
    backup, _ = await lost(sidecar, tmp_path, shelf=shelf)

    restored = await put_back(backup, tmp_path / "new", shelf)

    assert restored.from_files.events == DAYS * PER_DAY


async def test_it_ends_before_an_event_that_would_count_twice_if_it_were_sent_again(
    sidecar: Sidecar, tmp_path: Path
) -> None:
    await fill(sidecar)
    backup = await backed_up(sidecar, tmp_path)
    await days(sidecar, 0, 1)
    key = key_of(sidecar.database.path)
    external = External(
        sidecar.database, sidecar.ingest, clock=sidecar.clock, watch=None, key=key
    )
    named = external.prepare(Name("jobs", "1"), event(), is_timed=True)
    await external.take([named], n_bytes=0)
    await days(sidecar, 2)
    await newest(sidecar)
    folder = tmp_path / "archive"
    await archive_of(sidecar, folder).run()

    restored = await put_back(backup, tmp_path / "new", DirectoryShelf(folder))

    later = restored.from_files
    assert later.events == 2 * PER_DAY
    assert later.ended is not None
    assert "has an id of its sender's, which no file has" in later.ended
    assert later.ended.startswith("events-")


async def test_a_centre_takes_nothing_from_files(
    sidecar: Sidecar, tmp_path: Path
) -> None:
    await fill(sidecar)
    async with sidecar.database.transaction() as tx:
        await fleet.add_edge(tx, EDGE)
    later = await store_from_files(
        sidecar.database, DirectoryShelf(tmp_path), key_of(sidecar.database.path)
    )

    assert later.ended is not None
    assert "this is a centre" in later.ended


@pytest.mark.parametrize(
    ("flag", "why"),
    [
        (Flag.NAMED, "an id of its sender's"),
        (Flag.EXTERNAL, "an id of its sender's"),
        (Flag.DUPLICATE, "an id of its sender's"),
        (Flag.CONFLICT, "an id of its sender's"),
        (Flag.RELEASED, "stands for one that was held"),
        (Flag.CORRECTION, "is of a correction"),
        (Flag.ROLLED_UP, "is what an edge rolled up"),
        (Flag.HELD, None),
        (Flag.REPEATED, None),
        (Flag.ERROR, None),
    ],
)
def test_what_has_more_in_a_ledger_than_its_row_is_not_stored(
    flag: int, why: str | None
) -> None:
    plain = EventRow(1, 0, 0, None, "GET", "/", 200, 0, 0, 0, 0, None, None)
    flagged = plain._replace(seq=2, flags=flag)
    of_both = BatchRow(7, 0, 1, 2, 10, 2, 1, 0, 0)
    stored = Stored(of_both, WORKER, b"mac", [plain, flagged], [])

    said = why_not(stored)

    assert (said is None) is (why is None)
    assert why is None or (said is not None and said.startswith(f"event 11 {why}"[:9]))
    assert why is None or (said is not None and why in said)
    erased = why_not(stored._replace(events=[plain], seal=b"seal"))
    assert erased is not None
    assert "a name was erased from batch 7" in erased


@pytest.mark.parametrize(
    ("name", "first"),
    [
        ("events-000000000012-00aa.jsonl.gz", 12),
        ("events-1234567890123-00aa.parquet", 1_234_567_890_123),
        ("events-12-00aa.jsonl.gz", None),
        (
            "events-\u0662\u0662\u0662\u0662\u0662\u0662\u0662\u0662\u0662\u0662\u0662\u0662-a",
            None,
        ),
        ("usage-000000000012-00aa.jsonl.gz", None),
        ("", None),
    ],
)
def test_the_first_event_of_a_file_is_in_its_name(name: str, first: int | None) -> None:
    assert first_event_of(name) == first


async def test_no_more_files_are_read_than_a_limit_allows(
    sidecar: Sidecar, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backup, files = await lost(sidecar, tmp_path)
    folder = tmp_path / "archive"
    monkeypatch.setattr(from_files, "LOOKED_AT_MAX", 2)

    whole = await put_back(backup, tmp_path / "whole", DirectoryShelf(folder))
    for i in range(2):  # others' files, which would be read before ours
        name = f"events-{files[-1].first_event_id:012}-!{i}{LINES.suffix}"
        (folder / name).write_bytes((folder / files[0].file).read_bytes())
    part = await put_back(backup, tmp_path / "part", DirectoryShelf(folder))

    # The end is known by the file that ends there, however many are before it.
    assert whole.from_files == Later(
        events=DAYS * PER_DAY, files=[file.file for file in files[-DAYS:]]
    )
    assert part.from_files.events == (DAYS - 1) * PER_DAY
    assert part.from_files.ended is not None
    assert (
        f", 2 were read, and none of them goes on with batch {files[-1].first_batch_id}"
        in (part.from_files.ended)
    )


def test_a_restore_takes_what_left_since_and_counts_nothing_twice(
    tmp_path: Path,
) -> None:
    (tmp_path / "archive").mkdir()
    sidecar = SidecarProcess(
        tmp_path, meterline=METERLINE + ARCHIVE, clock="2026-11-06T12:00:05Z"
    )

    async def ship(producer: str, *payloads: Any, first_seq: int = 1) -> None:
        async with Connection(sidecar.socket) as app:
            await app.hello(producer)
            await app.ship(batch(*payloads, first_seq=first_seq))

    many = [event(subject="stranger") for _ in range(7)]
    with sidecar:
        asyncio.run(ship(WORKER, *many))
        said(sidecar, "backup", str(tmp_path / "copy.db"))
        asyncio.run(ship(WORKER, *many, first_seq=8))
        sidecar.set_clock(LATER)
        asyncio.run(ship("b" * 32, event(time_ms=LATER_MS)))
        sidecar.until_counted(15)
        until(lambda: said(sidecar, "archive", "run")["waits"] is None)
        assert sidecar.stop() == 0
    for path in tmp_path.glob("meterline.db*"):
        path.unlink()

    alone = said(sidecar, "restore", "--without-archive", str(tmp_path / "copy.db"))
    restored = said(sidecar, "restore", str(tmp_path / "copy.db"))

    assert alone["from_files"] == {"events": 0, "files": [], "ended": None}
    assert restored["from_files"]["events"] == 7
    assert len(restored["from_files"]["files"]) == 1
    by_hand = sidecar.meterline(
        *("restore", str(tmp_path / "copy.db"), "--config", str(sidecar.config))
    )
    assert "from 1 file of the archive: 7 events that came after" in by_hand.stdout
    said(sidecar, "verify", "--accept")
    with sidecar:
        assert "ledger_not_trusted" not in problems(sidecar)
        asyncio.run(ship(WORKER, *many, event(subject="stranger"), first_seq=8))
        sidecar.until_counted(15)
        assert said(sidecar, "verify")["report"]["events"] == 15
