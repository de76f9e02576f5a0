"""A ledger with packs is the same ledger: whoever reads it finds what was there before."""

import random
import signal
import sqlite3
import subprocess
import sys
import zlib
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final, cast

import msgspec
import pytest

from meterline_sidecar.clock import HOUR_MS
from meterline_sidecar.files import LedgerFiles
from meterline_sidecar.ingest import correction_plans as plans
from meterline_sidecar.ingest import writer
from meterline_sidecar.ingest.correction_plans import Search
from meterline_sidecar.ledger import archive, packing
from meterline_sidecar.ledger.archived import Archived
from meterline_sidecar.ledger.erase import Eraser
from meterline_sidecar.ledger.erase_begin import Wanted
from meterline_sidecar.ledger.journal import Journal
from meterline_sidecar.ledger.packing import Packer
from meterline_sidecar.store import shapes
from meterline_sidecar.store.edge import event_log, packed_words
from meterline_sidecar.store.edge import events as event_store
from meterline_sidecar.store.edge import packed as packed_store
from meterline_sidecar.store.edge.behind import events_within
from meterline_sidecar.store.edge.by_column import columns_between
from meterline_sidecar.store.edge.corrections import facts_of, rows_of
from meterline_sidecar.store.edge.erase import batches_of, events_before
from meterline_sidecar.store.edge.event_log import Filter
from meterline_sidecar.store.edge.fact_columns import FactColumns
from meterline_sidecar.store.edge.forward import events_to_send
from meterline_sidecar.store.edge.roll_ups import covered
from meterline_sidecar.store.edge.usage import COUNTED
from meterline_sidecar.store.packs import DIGITS
from meterline_sidecar.store.port import Readable, Tx
from meterline_sidecar.store.sqlite.driver import SqliteDatabase
from meterline_sidecar.terms.book import Terms
from meterline_sidecar.usage.aggregate import Aggregator
from tests.integration.conftest import Sidecar, sidecar_at
from tests.integration.ledger.archiving import (
    LATER_MS,
    archive_of,
    archived_at,
    fill_for_long,
    verified_with,
)
from tests.integration.ledger.test_archive_readers import copied, count_again
from tests.integration.ledger.test_migrations import agreed, key_of
from tests.integration.ledger.test_verify import fill
from tests.patience import PATIENCE_S
from tests.producer import Connection, batch, event

WANTED: Final = Search(wanted=Filter(subject="acct_1"))
PACKED: Final = "SELECT count(*), sum(events) FROM packed_events"
FILTERS: Final = (
    Filter(),
    Filter(customer="acme"),
    Filter(subject="acct_1"),
    Filter(route="/v1/items/{id}"),
    Filter(statuses=((500, 599),)),
    Filter(where=("model", "small")),
    Filter(where=("user", "nobody")),
    Filter(source="jobs"),
)


def in_runs_of(monkeypatch: pytest.MonkeyPatch, n_ids: int) -> None:
    monkeypatch.setattr(packing, "IDS_MAX", n_ids)


def packer_of(database: SqliteDatabase, sidecar: Sidecar, folder: Path) -> Packer:
    archived = archived_at(database.path, folder)
    return Packer(database, archived, clock=sidecar.clock)


async def pack_all(sidecar: Sidecar, path: Path, *, steps: int = 1 << 30) -> int:
    """Pack the runs of a ledger that may be packed; return how many events that were."""
    database = await SqliteDatabase.open(path)
    try:
        packer = packer_of(database, sidecar, path.parent)
        n_events = 0
        while steps and (packed := await packer.step()) is not None:
            n_events += packed
            steps -= 1
    finally:
        await database.close()
    return n_events


def asked(path: Path, sql: str) -> list[Any]:
    connection = sqlite3.connect(path)
    try:
        return connection.execute(sql).fetchall()
    finally:
        connection.close()


async def all_that_is_read(ledger: Readable) -> dict[str, Any]:
    """Return what everybody who reads events finds."""
    async with ledger.reading() as tx:
        last = (await event_store.marks(tx)).event_id
        span: Any = {"start": 0, "end": LATER_MS * 2}
        every = list(range(1, last + 1))
        found: dict[str, Any] = {
            "one": [await event_log.read_event(tx, i) for i in every],
            "some": await event_log.events_of(tx, every[::2]),
            "facts": _listed(await facts_of(tx, every[::3], columns=COUNTED.names)),
            "rows": await rows_of(tx, every[::3]),
            "within": await events_within(
                tx, (1, last), customer="acme", skip_flags=0, **span
            ),
            "subjects": await _read(tx, last, (1, 2), without=frozenset(every[::4])),
            "many": await _read(tx, last, list(range(200))),
            "covered": await covered(tx, 1, last - 1),
            "n": await events_before(tx, last, subject_id=1, limit=last),
            "batches": await batches_of(tx, 1, "x", ["small"], after=0, limit=999),
            "newest": await event_log.newest_event_ms(tx),
            "sent": [
                await events_to_send(tx, batch, first=batch.first_event_id, limit=99)
                for batch, _, _ in await event_store.batches_after(tx, 0, limit=999)
            ],
        }
        for wanted in FILTERS:
            found[f"up {wanted}"] = await _pages(tx, wanted, 4)
            found[f"down {wanted}"] = await _down(tx, wanted, 4)
        return found


async def _pages(tx: Tx, wanted: Filter, limit: int) -> list[event_log.AuditEvent]:
    found: list[event_log.AuditEvent] = []
    after: int | None = 0
    while after is not None:
        page = await event_log.read_events(
            tx, wanted, start=0, end=LATER_MS * 2, after=after, limit=limit
        )
        found += page.events
        after = page.next_after
    return found


async def _read(
    tx: Tx, last: int, subjects: Sequence[int], *, without: frozenset[int] = frozenset()
) -> list[list[Any]]:
    return list(
        map(
            list,
            await columns_between(
                *(tx, 1, last),
                columns=COUNTED.names,
                subjects=subjects,
                without=without,
            ),
        )
    )


def _listed(facts: FactColumns) -> dict[str, list[Any]]:
    return {name: list(column) for name, column in facts.items()}


async def _down(tx: Tx, wanted: Filter, limit: int) -> list[event_log.AuditEvent]:
    found: list[event_log.AuditEvent] = []
    before: int | None = None
    while True:
        page = await event_log.newest_events(
            tx, wanted, start=0, end=LATER_MS * 2, before=before, limit=limit
        )
        found += page.events
        before = page.next_after
        if before is None:
            return found


async def test_everybody_reads_packs_as_what_they_were(
    sidecar: Sidecar, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill_for_long(sidecar)
    await say_words(sidecar)
    monkeypatch.setattr(shapes, "ALIKE_MIN", 2)
    whole = await copied(sidecar, tmp_path / "whole.db")
    before = await all_that_is_read(sidecar.database)
    plan = await plans.void(sidecar.database, WANTED)
    counted = await count_again(sidecar, whole)
    chance = random.Random(7)

    for n_ids in (1, 2, 3, 5, 8):
        in_runs_of(monkeypatch, n_ids)
        packed = await copied(sidecar, tmp_path / f"packed{n_ids}.db")
        steps = chance.choice((1, 2, 1 << 30))
        assert await pack_all(sidecar, packed, steps=steps) > 0
        ((n_packs, n_events),) = asked(packed, PACKED)
        assert n_packs
        assert n_events
        database = await SqliteDatabase.open(packed)
        try:
            assert await all_that_is_read(database) == before
            assert await plans.void(database, WANTED) == plan
        finally:
            await database.close()
        report = await verified_with(packed, None)
        assert report.findings == []
        assert await count_again(sidecar, packed) == counted
        assert asked(packed, PACKED) == [(n_packs, n_events)]


async def test_what_is_packed_at_once_is_what_its_rows_would_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = random.Random(11)
    monkeypatch.setattr(writer, "IDS_MAX", 7)
    monkeypatch.setattr(writer, "LEFT_PART", 1)
    monkeypatch.setattr(packing, "SHORT", 1)
    in_runs_of(monkeypatch, 5)
    async with sidecar_at(tmp_path, packed_from=2) as sidecar:
        await fill_for_long(sidecar)
        for i in range(1, 4):
            await ship_some(sidecar, chance, producer=f"{i:032x}")
        path = sidecar.database.path
        packed = await copied(sidecar, tmp_path / "packed.db")
        later = await copied(sidecar, tmp_path / "later.db")
        whole = await copied(sidecar, tmp_path / "whole.db")
        ((n_packs, n_at_once),) = asked(path, PACKED)
        ((n_rows,),) = asked(path, "SELECT count(*) FROM events")
        assert n_packs > 3 < n_rows
        assert n_at_once > 20
        assert await in_rows(whole) == n_at_once

        before = await all_that_is_read(sidecar.database)

        sidecar.clock.time_ms += 2 * HOUR_MS
        assert await pack_all(sidecar, later) > 0
        counted = await count_again(sidecar, whole)
        for other in (whole, packed, later):
            database = await SqliteDatabase.open(other)
            assert await all_that_is_read(database) == before
            await database.close()
            assert (await verified_with(other, None)).findings == []
            if other is not whole:
                assert await count_again(sidecar, other) == counted
        assert asked(path, PACKED) == [(n_packs, n_at_once)]


async def ship_some(sidecar: Sidecar, chance: random.Random, *, producer: str) -> None:
    """Ship some batches of events that are plain but for a few, and count them."""
    now_ms = sidecar.clock.time_ms
    async with Connection(sidecar.socket) as app:
        await app.hello(producer)
        for first_seq in range(1, 40, 13):
            events = [
                event(
                    time_ms=now_ms - chance.randrange(3 * HOUR_MS),
                    subject=chance.choice(("acct_1", "acct_2", None)),
                    status=chance.choice((200, 404)),
                    bytes_out=chance.randrange(1 << 33),
                    duration_us=chance.choice((3, 10 ** DIGITS["duration_us"])),
                    flags=chance.choice((0, 0, 0, 1)),
                    quantities=chance.choice((None, None, None, {"tokens": 5})),
                )
                for _ in range(13)
            ]
            await app.ship(batch(*events, first_seq=first_seq))
    await Aggregator(sidecar.database, agreed(), clock=sidecar.clock).run()


async def in_rows(path: Path) -> int:
    """Make rows of everything that is packed; return how many events that were."""
    database = await SqliteDatabase.open(path)
    n_events = 0
    async with database.transaction() as tx:
        for first, last, events in await packed_store.packs_after(tx, 0, limit=999):
            await packed_store.cut(tx, first + 1, last)
            n_events += events
        assert await packed_store.last_packed(tx) == 0
    await database.close()
    return n_events


WORD: Final = "ann@example.org"


async def say_words(sidecar: Sidecar) -> None:
    """Let events come that have texts: of a person, of nobody, and alike ones."""
    said = [{"user": WORD}, {"user": f"for acct_1 or {WORD}"}, {"user": "nobody"}]
    async with Connection(sidecar.socket) as app:
        await app.hello("8" * 32)
        for i, properties in enumerate(said * 2):
            one = event(subject="acct_2", properties=properties)
            tokens = {"tokens": i, WORD.replace("@", "."): 1}
            other = event(subject="acct_3", quantities=tokens)
            await app.ship(batch(one, other, event(), first_seq=1 + 3 * i))
    sidecar.clock.time_ms += 2 * HOUR_MS
    await Aggregator(sidecar.database, agreed(), clock=sidecar.clock).run()


async def test_a_name_is_erased_as_ever(
    sidecar: Sidecar, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill_for_long(sidecar)
    await say_words(sidecar)
    whole = await copied(sidecar, tmp_path / "whole.db")
    packed = await copied(sidecar, tmp_path / "packed.db")
    in_runs_of(monkeypatch, 4)
    monkeypatch.setattr(shapes, "ALIKE_MIN", 2)
    monkeypatch.setattr("secrets.token_hex", hex_of_an_alias)
    await pack_all(sidecar, packed)
    with_texts = (
        "SELECT count(*) FROM events WHERE properties IS NOT NULL AND flags = 0"
    )
    assert asked(packed, with_texts) == [(0,)]
    assert asked(whole, with_texts) > [(6,)]
    n_packs = asked(packed, PACKED)

    done = [await erased(sidecar, whole, tmp_path)]
    put_bodies = packed_words.put_bodies

    async def killed(*args: Any) -> None:
        await put_bodies(*args)
        monkeypatch.setattr(packed_words, "put_bodies", put_bodies)
        raise Killed

    monkeypatch.setattr(packed_words, "put_bodies", killed)
    with pytest.raises(Killed):
        await erased(sidecar, packed, tmp_path)
    assert (await verified_with(packed, None)).findings == []
    done.append(await erased(sidecar, packed, tmp_path))

    assert done[0] == done[1]
    assert done[0][0] > 0
    assert done[0][3] == {"events": 4 + 6}
    assert done[0][4] == {"events": 6}  # the name of a quantity stays
    assert (await verified_with(packed, None)).findings == []
    assert asked(packed, PACKED) == n_packs
    after = [await everything(path) for path in (whole, packed)]
    assert after[0] == after[1]


class Killed(Exception):
    """Stands for whatever ends an erasure."""


def hex_of_an_alias(n_bytes: int) -> str:
    return "5" * 2 * n_bytes


async def everything(path: Path) -> dict[str, Any]:
    database = await SqliteDatabase.open(path)
    try:
        return await all_that_is_read(database)
    finally:
        await database.close()


async def erased(sidecar: Sidecar, path: Path, folder: Path) -> tuple[Any, ...]:
    """Erase a name in a copy; return what that counted and what holds it."""
    database = await SqliteDatabase.open(path)
    key = key_of(path)
    terms = Terms()
    async with database.reading() as tx:
        await terms.catch_up(tx)
    wanted = Wanted("acct_1", (WORD, WORD.replace("@", ".")), "ann", "asked for")
    eraser = Eraser(
        database,
        Archived(None, key),
        Journal(key),
        terms=terms,
        forget=lambda: None,
        files=LedgerFiles(path),
        spool_dir=folder / "none",
        clock=sidecar.clock,
        key=key,
    )
    try:
        held = await eraser.look(wanted)
        done = await eraser.erase(wanted)
        left = await eraser.mentions(wanted)
        assert await eraser.remains(wanted._replace(also=())) == 0
    finally:
        await database.close()
    counts = done.row.events, done.row.batches, held.events
    mentioned = [
        {one.table: one.rows for one in those} for those in (held.mentions, left)
    ]
    return (*counts, *mentioned, done.texts)


@pytest.mark.parametrize("n_ids", [1, 3, 5])
async def test_packs_leave_for_the_archive_as_their_events(
    sidecar: Sidecar, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n_ids: int
) -> None:
    await fill_for_long(sidecar)
    in_runs_of(monkeypatch, n_ids)
    monkeypatch.setattr(archive, "ROWS_MAX", 4)
    before = await all_that_is_read(sidecar.database)
    whole = await copied(sidecar, tmp_path / "whole.db")
    packer = packer_of(sidecar.database, sidecar, tmp_path)
    while await packer.step() is not None:
        pass
    folders = tmp_path / "of packs", tmp_path / "of rows"

    mover = archive_of(sidecar, folders[0])
    assert await mover.run() > 1
    assert (await verified_with(sidecar.database.path, folders[0])).findings == []
    database = await SqliteDatabase.open(whole)
    try:
        await archive_of(
            cast("Sidecar", SimpleNamespace(database=database, clock=sidecar.clock)),
            folders[1],
        ).run()
    finally:
        await database.close()
    files = [{f.name: f.read_bytes() for f in d.iterdir()} for d in folders]
    assert files[0] == files[1]

    first = min(folders[0].iterdir()).name
    while (await mover.bring_back(first)).file != first:
        pass
    assert await all_that_is_read(sidecar.database) == before
    assert (await verified_with(sidecar.database.path, folders[0])).findings == []


DAMAGE: Final[tuple[tuple[str, str], ...]] = (
    (
        "UPDATE packed_events SET body = CAST(x'c1' || substr(body, 2) AS BLOB)",
        "cannot be read",
    ),
    ("UPDATE packed_events SET body = substr(body, 1, 30)", "cannot be read"),
    ("UPDATE packed_events SET events = events + 1", "does not hold"),
    ("UPDATE packed_events SET last_id = last_id + 1", "does not lie behind"),
    ("DELETE FROM packed_events WHERE first_id = 1", "is not what was committed"),
    ("UPDATE packed_events SET first_id = 2 WHERE first_id = 1", "what was committed"),
    ("UPDATE packed_events SET body = :numbers", "is not what was committed"),
    (
        "UPDATE packed_events SET body = :texts WHERE first_id = 4",
        "is not what was committed",
    ),
)


def with_other_numbers(body: bytes) -> bytes:
    """Return a pack in which one event has another status."""
    count, columns, texts = msgspec.msgpack.decode(body)
    numbers = [int(i == 0) for i in range(count)]
    columns[list(DIGITS).index("status")] = 1, zlib.compress(bytes(numbers))
    return msgspec.msgpack.encode((count, columns, texts))


def with_other_texts(body: bytes) -> bytes:
    """Return a pack in which a quantity has another name."""
    count, columns, ((kinds, *quantities), properties) = msgspec.msgpack.decode(body)
    said = zlib.decompress(kinds)
    assert b"tokens" in said
    texts = (zlib.compress(said.replace(b"tokens", b"tokans")), *quantities), properties
    return msgspec.msgpack.encode((count, columns, texts))


async def test_what_is_done_to_a_pack_is_found_and_named(
    sidecar: Sidecar, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill_for_long(sidecar)
    in_runs_of(monkeypatch, 3)
    packed = await copied(sidecar, tmp_path / "packed.db")
    await pack_all(sidecar, packed)
    content = packed.read_bytes()
    for sql, finding in DAMAGE:
        packed.write_bytes(content)
        forged = sqlite3.connect(packed)
        bodies = dict(forged.execute("SELECT first_id, body FROM packed_events"))
        given = {
            "numbers": with_other_numbers(bodies[1]),
            "texts": with_other_texts(bodies[4]),
        }
        forged.execute(f"{sql}{'' if 'WHERE' in sql else ' WHERE first_id = 1'}", given)
        forged.commit()
        forged.close()

        findings = (await verified_with(packed, None)).findings

        assert any(finding in text for text in findings), (sql, findings)


async def test_nothing_is_packed_that_is_not_over(
    sidecar: Sidecar, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(sidecar)
    in_runs_of(monkeypatch, 1)
    packer = packer_of(sidecar.database, sidecar, tmp_path)

    sidecar.clock.time_ms += 2 * HOUR_MS
    async with sidecar.database.transaction() as tx:
        await tx.execute("UPDATE generations SET cursor = 0")
    assert await packer.step() is None  # nothing is counted
    async with sidecar.database.transaction() as tx:
        await tx.execute("UPDATE generations SET cursor = 9")
    sidecar.clock.time_ms -= 2 * HOUR_MS
    assert await packer.step() is None  # it came just now
    sidecar.clock.time_ms += 2 * HOUR_MS
    while await packer.step() is not None:
        pass

    async with sidecar.database.reading() as tx:
        newest = await event_log.last_event_id(tx)
    path = sidecar.database.path
    assert asked(path, "SELECT max(last_id) FROM packed_events") == [(newest - 1,)]
    assert asked(path, "SELECT max(id) FROM events") == [(newest,)]


async def test_an_event_whose_number_is_too_long_for_a_pack_stays_a_row(
    sidecar: Sidecar, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_runs_of(monkeypatch, 4)
    async with Connection(sidecar.socket) as app:
        await app.hello()
        took = (1, 2, 10 ** DIGITS["duration_us"], 4, 5)
        await app.ship(batch(*(event(subject="x", duration_us=one) for one in took)))
    await store_small_packs(sidecar)

    assert await pack_all(sidecar, sidecar.database.path) > 0

    path = sidecar.database.path
    assert asked(path, f"{OF_PACKS} LIMIT 1") == [(1, 4, 3)]
    assert asked(path, "SELECT id FROM events LIMIT 1") == [(3,)]
    assert (await verified_with(path, None)).findings == []


PACKING: Final = """
import asyncio, os, signal, sys
from pathlib import Path
from meterline_sidecar.clock import SystemClock
from meterline_sidecar.ledger import packing
from meterline_sidecar.ledger.archived import Archived
from meterline_sidecar.store.sqlite.driver import SqliteDatabase

packing.IDS_MAX = int(sys.argv[3])


class Clock:
    def now_ms(self):
        return 1 << 50


async def main(path, kills_at):
    database = await SqliteDatabase.open(path)
    n_statements = 0

    def count(statement):
        nonlocal n_statements
        n_statements += "packed_events" in statement or statement == "COMMIT"
        if n_statements == kills_at:
            os.kill(os.getpid(), signal.SIGKILL)

    await database._writer.set_trace_callback(count)
    packer = packing.Packer(database, Archived(None, b""), clock=Clock())
    while await packer.step() is not None:
        pass

asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
"""
"""Packs a ledger, and dies at one of the statements that change it."""


async def killed_at(path: Path, kills_at: int, *, n_ids: int) -> None:
    """Pack a ledger until one of the statements that change it, and verify it then."""
    died = subprocess.run(
        [sys.executable, "-c", PACKING, str(path), str(kills_at), str(n_ids)],
        capture_output=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert died.returncode == -signal.SIGKILL, died.stderr
    assert (await verified_with(path, None)).findings == []


async def test_whoever_is_killed_while_it_packs_loses_nothing(
    sidecar: Sidecar, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill_for_long(sidecar)
    before = await all_that_is_read(sidecar.database)

    for kills_at in (3, 4, 8):
        path = await copied(sidecar, tmp_path / f"killed{kills_at}.db")
        await killed_at(path, kills_at, n_ids=2)
        in_runs_of(monkeypatch, 2)
        await pack_all(sidecar, path)
        database = await SqliteDatabase.open(path)
        assert await all_that_is_read(database) == before
        await database.close()
        assert (await verified_with(path, None)).findings == []


async def store_small_packs(sidecar: Sidecar, **said: Any) -> None:
    """Let some packs be stored at once, and their time come."""
    await ship_plain(sidecar, **said)
    aggregator = Aggregator(sidecar.database, Terms(), clock=sidecar.clock)
    await aggregator.start()
    await aggregator.run()
    sidecar.clock.time_ms += 2 * HOUR_MS


OF_PACKS: Final = "SELECT first_id, last_id, events FROM packed_events"


async def test_small_packs_become_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with sidecar_at(tmp_path, packed_from=2) as sidecar:
        await store_small_packs(sidecar)
        before = await all_that_is_read(sidecar.database)
        small = [(first, first + 4, 4) for first in range(1, 5 * BATCHES, 5)]
        merged = [(1, 15, 15), small[-1]]
        in_runs_of(monkeypatch, 16)

        for kills_at, n_packs in ((2, BATCHES), (3, BATCHES), (0, 2)):
            path = await copied(sidecar, tmp_path / f"merged{kills_at}.db")
            assert asked(path, OF_PACKS) == small
            if kills_at:
                await killed_at(path, kills_at, n_ids=16)
            assert len(asked(path, OF_PACKS)) == (n_packs if kills_at else BATCHES)
            assert await pack_all(sidecar, path) == 15
            assert asked(path, OF_PACKS) == merged
            assert asked(path, "SELECT id FROM events") == [(5 * BATCHES,)]
            assert await pack_all(sidecar, path) == 0
            database = await SqliteDatabase.open(path)
            assert await all_that_is_read(database) == before
            await database.close()
            assert (await verified_with(path, None)).findings == []


@pytest.mark.parametrize("is_damaged", [False, True])
async def test_packs_stay_apart_whose_texts_are_long_or_of_which_one_is_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_damaged: bool
) -> None:
    async with sidecar_at(tmp_path, packed_from=2) as sidecar:
        await store_small_packs(sidecar, properties={"model": "small"})
        path = await copied(sidecar, tmp_path / "apart.db")
        in_runs_of(monkeypatch, 11)
        if is_damaged:
            connection = sqlite3.connect(path)
            connection.execute(
                "UPDATE packed_events SET body = x'00' WHERE first_id = 1"
            )
            connection.commit()
            connection.close()
        else:
            monkeypatch.setattr(packed_store, "RUN_CHARS_MAX", 200)
        before = asked(path, OF_PACKS)

        n_events = await pack_all(sidecar, path)

        assert (n_events, asked(path, OF_PACKS)) == (0, before)


STORING: Final = """
import asyncio, os, signal, sys
from pathlib import Path
from tests.integration.conftest import sidecar_at
from tests.integration.ledger.test_packing import ship_plain


async def main(folder, kills_at):
    n_statements = 0

    def count(statement):
        nonlocal n_statements
        n_statements += "packed_events" in statement or statement == "COMMIT"
        if n_statements == kills_at:
            os.kill(os.getpid(), signal.SIGKILL)

    async with sidecar_at(folder, packed_from=2) as sidecar:
        await sidecar.database._writer.set_trace_callback(count)
        await ship_plain(sidecar)

asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
"""
"""Stores events as packs, and dies at one of the statements that do."""
BATCHES: Final = 4


async def ship_plain(sidecar: Sidecar, **said: Any) -> None:
    """Ship what a producer has recorded and is not acked, saying what was."""
    async with Connection(sidecar.socket) as app:
        acked = await app.hello()
        for first_seq in range(acked + 1, 5 * BATCHES, 5):
            events = [
                event(subject="x", bytes_out=first_seq + i, **said) for i in range(5)
            ]
            await app.ship(batch(*events, first_seq=first_seq))
            print(first_seq + 4, flush=True)  # noqa: T201 - to who looks on


async def test_whoever_is_killed_while_packs_are_stored_loses_nothing_acked(
    tmp_path: Path,
) -> None:
    died = subprocess.run(
        [sys.executable, "-c", STORING, str(tmp_path), "5"],
        capture_output=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert died.returncode == -signal.SIGKILL, died.stderr
    acked = int(died.stdout.split()[-1])
    path = tmp_path / "meterline.db"
    assert (await verified_with(path, None)).findings == []
    async with sidecar_at(tmp_path, packed_from=2) as sidecar:
        async with sidecar.database.reading() as tx:
            assert (await event_store.marks(tx)).event_id >= acked
        await ship_plain(sidecar)
        async with sidecar.database.reading() as tx:
            columns = await columns_between(
                tx, 1, 999, columns=("id", "seq", "bytes_out")
            )
    assert [list(column) for column in columns] == 3 * [[*range(1, 5 * BATCHES + 1)]]
    assert (await verified_with(path, None)).findings == []
    assert asked(path, PACKED) == [(BATCHES, 4 * BATCHES)]
