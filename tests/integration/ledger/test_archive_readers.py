"""Whoever reads events goes on where some of them left, or says which file it needs."""

from pathlib import Path
from typing import Any, Final

import pytest

from meterline_sidecar.clock import HOUR_MS
from meterline_sidecar.errors import ArchiveFailed, EventsArchived
from meterline_sidecar.ingest import correction_plans as plans
from meterline_sidecar.ingest.correction_plans import Search
from meterline_sidecar.ingest.external import External
from meterline_sidecar.ingest.held import Held
from meterline_sidecar.ingest.names import Name
from meterline_sidecar.ledger.chain import Head
from meterline_sidecar.ledger.journal import Journal
from meterline_sidecar.ledger.verify import check_head
from meterline_sidecar.meters import Meter
from meterline_sidecar.store.edge import event_log, gaps, held
from meterline_sidecar.store.edge.archive import (
    file_of_event,
    files_of_name,
    files_of_span,
)
from meterline_sidecar.store.sqlite.driver import SqliteDatabase
from meterline_sidecar.terms.book import Terms
from meterline_sidecar.usage.aggregate import Aggregator
from tests.agreed import agree_to, keep
from tests.integration.conftest import Sidecar
from tests.integration.ledger.archiving import (
    LATER_MS,
    archive_of,
    archived_at,
    away,
    fill_for_long,
    rows_of,
    verified_with,
)
from tests.integration.ledger.test_coverage import copy_beside
from tests.integration.ledger.test_migrations import key_of
from tests.integration.ledger.test_verify import tamper
from tests.producer import NOON_MS, event

COUNTS = ("usage", "usage_days", "usage_totals", "unique_values", "groups")
GENERATION = 1  # in which everything was counted first
AGAIN = Meter("calls", "count", group_by=("status",))


async def count_again(sidecar: Sidecar, path: Path, **options: Any) -> dict[str, Any]:
    """Let a meter count otherwise from the beginning; return what all comes to."""
    database = await SqliteDatabase.open(path)
    try:
        terms = Terms()
        async with database.reading() as tx:
            await terms.catch_up(tx)
        agree_to(terms, "calls", AGAIN, from_ms=0, learned_ms=LATER_MS)
        await keep(database, terms, key=key_of(path))
        aggregator = Aggregator(database, terms, clock=sidecar.clock, **options)
        await aggregator.start()
        await aggregator.run()
    finally:
        await database.close()
    return {table: rows_of(path)[table] for table in COUNTS}


async def copied(sidecar: Sidecar, target: Path) -> Path:
    await sidecar.database.copy_to(target)
    copy_beside(sidecar.database.path, target)
    return target


async def test_a_recount_reads_what_left(sidecar: Sidecar, tmp_path: Path) -> None:
    await fill_for_long(sidecar)
    whole, folder = await copied(sidecar, tmp_path / "whole.db"), tmp_path / "archive"
    await archive_of(sidecar, folder).run()
    left = await copied(sidecar, tmp_path / "left.db")
    archived = archived_at(left, folder)

    counted = await count_again(sidecar, left, read_events=archived.events_after)

    assert counted == await count_again(sidecar, whole)
    assert {row[0] for row in counted["usage"]} == {1 + GENERATION}
    assert (await verified_with(left, folder)).findings == []


async def test_a_recount_that_cannot_read_what_left_waits_and_names_the_file(
    sidecar: Sidecar, tmp_path: Path
) -> None:
    await fill_for_long(sidecar)
    folder = tmp_path / "archive"
    await archive_of(sidecar, folder).run()
    left = await copied(sidecar, tmp_path / "left.db")
    before = rows_of(left)["usage"]
    (file,) = folder.iterdir()
    file.rename(tmp_path / "elsewhere")
    archived = archived_at(left, folder)

    with pytest.raises(ArchiveFailed, match=file.name):
        await count_again(sidecar, left, read_events=archived.events_after)
    with pytest.raises(EventsArchived, match=f"archive restore {file.name}`"):
        await count_again(sidecar, left)

    # What was counted before is read on.
    assert rows_of(left)["usage"] == before


CHANGES: Final = [
    ("UPDATE usage SET totals = '{}' WHERE window_ms > {later}", "usage: "),
    ("DELETE FROM usage WHERE window_ms > {later}", "usage: "),
    ("DELETE FROM usage WHERE last_event_id = {last}", "usage: "),
    (
        "UPDATE usage SET last_event_id = 3 WHERE last_event_id = {last}",
        "usage: ",
    ),
    ("DELETE FROM usage_days WHERE day_ms < {later}", "usage_days: "),
    ("UPDATE usage_totals SET totals = '{}' WHERE start_ms > {later}", "usage_tot"),
    ("DELETE FROM usage_totals WHERE start_ms < {later}", "usage_totals: "),
    ("UPDATE producers SET ingested = 0 WHERE producer LIKE 'e%'", "ingested"),
    ("UPDATE producers SET last_seq = 9 WHERE producer LIKE 'e%'", "last_seq"),
    ("UPDATE event_hours SET last_event_id = 1 + last_event_id", "event_hours: "),
    ("DELETE FROM event_hours WHERE hour_ms > {later}", "event_hours: "),
    ("UPDATE held_events SET state = 'waiting'", "held event"),
    ("UPDATE archive_moves SET last_batch_id = 2", "archive_moves"),
    ("DELETE FROM archive_moves", "missing"),
    ("UPDATE events SET status = 500", "batch "),
]
"""What is done to a ledger whose events have left, and what a verification says of it."""


async def test_what_is_in_the_ledger_is_compared_without_the_files(
    sidecar: Sidecar, tmp_path: Path
) -> None:
    await fill_for_long(sidecar)
    await archive_of(sidecar, tmp_path / "archive").run()
    left = await copied(sidecar, tmp_path / "left.db")
    whole = left.read_bytes()
    async with sidecar.database.reading() as tx:
        last_id = await event_log.last_event_id(tx)
    assert (await verified_with(left, None)).findings == []

    for statement, finding in CHANGES:
        left.write_bytes(whole)
        filled = statement.replace("{later}", str(LATER_MS - HOUR_MS))
        tamper(left, filled.replace("{last}", str(last_id)))

        findings = (await verified_with(left, None)).findings
        assert any(finding in text for text in findings), (statement, findings)


async def test_events_of_a_time_name_the_files_that_have_more_of_them(
    sidecar: Sidecar, tmp_path: Path
) -> None:
    await fill_for_long(sidecar)
    await archive_of(sidecar, tmp_path / "archive").run()
    (file,) = await away(sidecar)
    span = {"start": NOON_MS, "end": NOON_MS + HOUR_MS}

    async with sidecar.database.reading() as tx:
        page = await event_log.read_events(
            tx, event_log.Filter(), after=0, limit=100, **span
        )
        newest = await event_log.newest_events(
            tx, event_log.Filter(), before=None, limit=100, **span
        )
        files = await files_of_span(tx, NOON_MS, NOON_MS + HOUR_MS, limit=20)
        later = await files_of_span(tx, LATER_MS, LATER_MS + 1, limit=20)
        holders = [
            await file_of_event(tx, event_id)
            for event_id in (1, file.last_event_id, file.last_event_id + 1)
        ]
        gone = await event_log.read_event(tx, 1)
        named = await files_of_name(tx, "1", source=None)
        of_others = await files_of_name(tx, "1", source="cron")

    # Only the one that came late is here.
    assert [one.id for one in page.events] == [file.last_event_id + 2]
    assert (page.next_after, newest) == (None, page)
    assert (files, later) == ([file], [])
    assert holders == [file, file, None]
    assert gone is None
    assert (named, of_others) == ([file], [])


async def test_what_is_sent_again_counts_once_though_it_left(
    sidecar: Sidecar, tmp_path: Path
) -> None:
    path = await fill_for_long(sidecar)
    await archive_of(sidecar, tmp_path / "archive").run()
    external = External(
        sidecar.database,
        sidecar.ingest,
        clock=sidecar.clock,
        watch=None,
        key=key_of(path),
    )

    sent = [
        external.prepare(Name("jobs", "1"), event(), is_timed=True),
        external.prepare(Name("jobs", "2"), event(status=500), is_timed=True),
    ]
    verdicts = await external.take(sent, n_bytes=0)

    assert [one.verdict for one in verdicts] == ["duplicate", "conflict"]


async def test_a_rejected_event_that_left_is_not_accepted_in_silence(
    sidecar: Sidecar, tmp_path: Path
) -> None:
    path = await fill_for_long(sidecar)
    await archive_of(sidecar, tmp_path / "archive").run()
    journal = Journal(key_of(path))
    holder = Held(sidecar.database, sidecar.ingest, journal, clock=sidecar.clock)
    async with sidecar.database.reading() as tx:
        (row,) = await held.read_held(tx, held.Wanted(), after=0, limit=9)
    before = rows_of(path)

    with pytest.raises(EventsArchived, match="meterline archive restore"):
        await holder.decide(
            held.Wanted(event=row.event_id), is_accepted=True, author="me", reason="x"
        )
    assert rows_of(path) == before


async def test_a_worker_whose_first_batch_left_may_miss_something_from_then(
    sidecar: Sidecar, tmp_path: Path
) -> None:
    await fill_for_long(sidecar)
    async with sidecar.database.transaction() as tx:
        await tx.execute(
            "UPDATE producers SET recorded_seq = recorded_seq + 5, started_ms = ?,"
            " seen_ms = ? WHERE producer LIKE '0000%'",
            (LATER_MS, LATER_MS),
        )
    span = {"start_ms": NOON_MS - HOUR_MS, "end_ms": NOON_MS + HOUR_MS}
    async with sidecar.database.reading() as tx:
        before = await gaps.open_gaps(tx, **span)

    await archive_of(sidecar, tmp_path / "archive").run()

    async with sidecar.database.reading() as tx:
        assert await gaps.open_gaps(tx, **span) == before
    assert len(before) == 1


async def test_a_head_that_is_older_than_what_is_here_is_no_alarm(
    sidecar: Sidecar, tmp_path: Path
) -> None:
    await fill_for_long(sidecar)
    await archive_of(sidecar, tmp_path / "archive").run()
    (file,) = await away(sidecar)

    async with sidecar.database.reading() as tx:
        right = await check_head(tx, Head(file.last_batch_id, file.mac))
        older = await check_head(tx, Head(1, b"who knows"))
        wrong = await check_head(tx, Head(file.last_batch_id, b"another"))

    assert (right, older) == (None, None)
    assert wrong == f"batch {file.last_batch_id} is not the one that was committed"


async def test_what_left_is_not_corrected_and_its_file_is_named(
    sidecar: Sidecar, tmp_path: Path
) -> None:
    path = await fill_for_long(sidecar)
    archive = archive_of(sidecar, tmp_path / "away")
    assert await archive.run()
    (file,) = await away(sidecar)

    for ids in ((3,), (1, 10_000)):
        with pytest.raises(
            EventsArchived, match=f"meterline archive restore {file.file}`"
        ):
            await plans.void(sidecar.database, Search(ids))
    # Nor what a search would find but a part of.
    for span in ((NOON_MS - HOUR_MS, NOON_MS + HOUR_MS), (0, LATER_MS)):
        with pytest.raises(EventsArchived, match=f"archive restore {file.file}`"):
            await plans.void(sidecar.database, Search(start=span[0], end=span[1]))
    since = Search(start=file.beyond_ms, end=LATER_MS + 1)
    assert (await plans.void(sidecar.database, since)).changed
    # Nor what a correction that is taken back is about.
    with pytest.raises(EventsArchived, match=f"meterline archive restore {file.file}`"):
        await plans.revert(sidecar.database, 1)
    assert (await verified_with(path, tmp_path / "away")).findings == []
    # Nobody says where it is.
    tamper(path, "UPDATE archive_moves SET first_event_id = 2, events = events - 1")
    with pytest.raises(EventsArchived, match="no file is noted of event 1,"):
        await plans.void(sidecar.database, Search((1,)))
