import os
import sqlite3
from pathlib import Path

import pytest

from meterline_sidecar.ledger import recount_apart
from meterline_sidecar.ledger import verify as verification
from meterline_sidecar.ledger.chain import ChainFiles, Head
from meterline_sidecar.ledger.report import Report
from meterline_sidecar.ledger.verify import alarm_at_start, check_head, verify
from meterline_sidecar.meters import Meter
from meterline_sidecar.store.sqlite.driver import SqliteDatabase, SqliteReader
from meterline_sidecar.usage.aggregate import Aggregator
from tests.agreed import claim, keep, terms_of
from tests.integration.conftest import Sidecar
from tests.producer import WITH_PROPERTIES, Connection, batch, event

METERS = (Meter("calls", "count"), Meter("users", "unique", value="subject"))


async def fill(sidecar: Sidecar) -> None:
    """Commit four batches of two producers, and count them."""
    terms = claim(terms_of(*METERS), "acme", "acct_*")
    key = ChainFiles(sidecar.database.path).key(has_batches=False)
    await keep(sidecar.database, terms, key=key)
    aggregator = Aggregator(sidecar.database, terms, clock=sidecar.clock)
    await aggregator.start()
    async with Connection(sidecar.socket) as app, Connection(sidecar.socket) as other:
        await app.hello()
        await other.hello("f" * 32)
        await app.ship(batch(event(), event(subject=None)))
        await other.ship(batch(event(subject="acct_2"), [1, "not an event"]))
        await app.ship(batch(event(quantities={"tokens": 5}), first_seq=3))
        await other.ship(batch(event(), first_seq=3))
    await aggregator.run()


async def verified(path: Path, *, apart: Path | None = None) -> Report:
    """Verify a database file as the command does."""
    chain = ChainFiles(path)
    head = chain.head()
    reader = await SqliteReader.open_reader(path)
    try:
        return await verify(
            reader,
            key=chain.key(has_batches=True),
            head=head,
            progress=lambda what, done, total: None,
            apart=apart,
        )
    finally:
        await reader.close()


def tamper(path: Path, *statements: str) -> None:
    connection = sqlite3.connect(path)
    with connection:
        for statement in statements:
            connection.execute(statement)
    connection.close()


async def test_a_ledger_that_nobody_touched_is_sound(sidecar: Sidecar) -> None:
    await fill(sidecar)

    report = await verified(sidecar.database.path)

    assert report.findings == []
    assert (report.batches, report.events, report.losses) == (4, 5, 1)
    assert report.usage_rows == 6


@pytest.mark.parametrize(
    ("statement", "finding"),
    [
        ("UPDATE events SET bytes_out = 0 WHERE id = 4", "batch 3 "),
        ("UPDATE events SET subject_id = 0 WHERE id = 1", "batch 1 "),
        ("UPDATE events SET quantities = '{\"tokens\":6}' WHERE id = 4", "batch 3 "),
        ("UPDATE events SET properties = '{}' WHERE id = 4", "batch 3 "),
        ("UPDATE events SET properties = '' WHERE id = 1", "batch 1 "),
        ("UPDATE subjects SET name = 'acct_9' WHERE name = 'acct_2'", "batch 2 "),
        ("UPDATE endpoints SET route = '/free'", "batch 1 "),
        ("UPDATE losses SET payload = x'00'", "batch 2 "),
        ("UPDATE batches SET learned_ms = 0 WHERE id = 2", "batch 2 "),
        ("UPDATE batches SET mac = zeroblob(32) WHERE id = 2", "batch 2 "),
        ("DELETE FROM events WHERE id = 5", "batch 4 "),
        ("DELETE FROM batches WHERE id = 2", "batches 2 to 2 are missing"),
        (
            "INSERT INTO events SELECT 99, 1, 9, 1, 0, 1, 1, 1, 1, 1, 1, 0, NULL, NULL",
            "many",
        ),
        ("UPDATE producers SET last_seq = 1 WHERE id = 1", "do not agree"),
        ("UPDATE usage SET totals = '{\"calls\":1}'", "usage: ({'calls': 1}"),
        ("UPDATE usage_days SET totals = '{\"calls\":1}'", "usage_days: "),
        ("DELETE FROM usage WHERE subject_id = 1", "is missing"),
        (
            "UPDATE generations SET definition = replace(definition, 'unique', 'count')",
            "what meter users counts is not what was agreed",
        ),
        (
            "UPDATE generations SET definition = replace(definition, '[0,0,', '[0,3,')",
            "usage: ",
        ),
        ("DELETE FROM unique_values", "unique_values: "),
    ],
)
async def test_what_was_changed_behind_our_back_is_found(
    sidecar: Sidecar, statement: str, finding: str
) -> None:
    await fill(sidecar)

    tamper(sidecar.database.path, statement)

    report = await verified(sidecar.database.path)
    assert any(finding in text for text in report.findings), report.findings


@pytest.mark.parametrize("changed", ["NULL", "replace(properties, '512', '5')"])
async def test_properties_are_covered(sidecar: Sidecar, changed: str) -> None:
    async with Connection(sidecar.socket) as app:
        await app.hello()
        await app.ship(batch(event(subject=None, **WITH_PROPERTIES)))
    assert (await verified(sidecar.database.path)).findings == []

    tamper(sidecar.database.path, f"UPDATE events SET properties = {changed}")

    report = await verified(sidecar.database.path)
    assert any("batch 1 " in text for text in report.findings), report.findings


async def test_the_first_batch_that_differs_is_named_first(sidecar: Sidecar) -> None:
    await fill(sidecar)

    tamper(sidecar.database.path, "UPDATE events SET status = 500 WHERE id IN (3, 5)")

    report = await verified(sidecar.database.path)
    assert report.findings[0].startswith("batch 2 (producer ffff")


async def copy_before_last_batch(sidecar: Sidecar, target: Path) -> Head:
    await fill(sidecar)
    await sidecar.database.copy_to(target)
    async with Connection(sidecar.socket) as app:
        await app.hello()
        await app.ship(batch(event(), first_seq=4))
    head = ChainFiles(sidecar.database.path).head()
    assert head is not None
    return head


async def test_an_old_copy_put_back_is_found_at_start_and_bills_nothing(
    sidecar: Sidecar, tmp_path: Path
) -> None:
    old = tmp_path / "old.db"
    head = await copy_before_last_batch(sidecar, old)
    chain = ChainFiles(old)
    chain.write_head(head, durably=True)
    database = await SqliteDatabase.open(old)

    try:
        alarm = await alarm_at_start(database, chain)
        later = await alarm_at_start(database, chain)
    finally:
        await database.close()

    assert alarm is not None
    assert "1 batch is missing" in alarm
    # The alarm stays, though the head is written anew from now on.
    assert chain.head() is None
    assert later == alarm


async def test_a_ledger_of_the_same_length_is_not_taken_for_the_same(
    sidecar: Sidecar,
) -> None:
    await fill(sidecar)

    async with sidecar.database.reading() as tx:
        finding = await check_head(tx, Head(4, b"\0" * 32))

    assert finding == "batch 4 is not the one that was committed"


async def is_found(path: Path, pristine: bytes, position: int) -> bool:
    damaged = bytearray(pristine)
    damaged[position] ^= 1 << (position % 8)
    path.write_bytes(damaged)
    try:
        return not (await verified(path)).is_sound
    except Exception:  # noqa: BLE001 - any refusal to read it is a finding
        return True


async def test_a_lost_key_is_never_replaced_by_a_new_one(sidecar: Sidecar) -> None:
    await fill(sidecar)
    chain = ChainFiles(sidecar.database.path)
    chain.key_path.unlink()

    with pytest.raises(Exception, match="is missing, but the ledger was written"):
        chain.key(has_batches=True)
    assert not chain.key_path.exists()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (
            "ALTER TABLE producers RENAME COLUMN host TO hosu",
            "columns of table producers",
        ),
        ("DROP TRIGGER invoices_once", "trigger invoices_once of table invoices"),
        ("DROP INDEX usage_by_change", "index usage_by_change of table usage"),
    ],
)
async def test_a_schema_that_is_another_is_found(
    sidecar: Sidecar, change: str, named: str
) -> None:
    assert await sidecar.database.check() == []
    async with sidecar.database.transaction() as tx:
        await tx.execute(change)

    (found,) = await sidecar.database.check()
    assert named in found


def any_ledger_is_worth_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def two_cores(_pid: int) -> set[int]:
        return {0, 1}

    monkeypatch.setattr(recount_apart, "EVENTS_MIN", 1)
    monkeypatch.setattr(os, "sched_getaffinity", two_cores)


async def test_usage_is_added_up_in_another_process_as_in_this_one(
    sidecar: Sidecar, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = sidecar.database.path
    await fill(sidecar)
    tamper(path, "UPDATE usage SET totals = '{\"calls\":7}'")
    here = await verified(path)
    any_ledger_is_worth_it(monkeypatch)
    looked_here: list[Path] = []
    monkeypatch.setattr(verification, "verify_usage", looked_here.append)

    apart = await verified(path, apart=path)

    assert apart == here
    assert apart.findings
    assert looked_here == []


async def test_usage_is_added_up_here_where_another_process_cannot(
    sidecar: Sidecar, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = sidecar.database.path
    await fill(sidecar)
    any_ledger_is_worth_it(monkeypatch)

    report = await verified(path, apart=tmp_path / "none")

    assert report == await verified(path)
    assert report.usage_rows > 0
