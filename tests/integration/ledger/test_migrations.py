"""A ledger of every earlier schema, with rows in it, becomes what a new one is."""

import shutil
import sqlite3
from decimal import Decimal
from pathlib import Path
from typing import Final

import msgspec
import pytest

from meterline_sidecar.billing.documents import Party, document_of
from meterline_sidecar.billing.statement import Owed
from meterline_sidecar.clock import DAY_MS
from meterline_sidecar.files import LedgerFiles
from meterline_sidecar.ledger.chain import ChainFiles
from meterline_sidecar.ledger.journal import Journal, verify_journal
from meterline_sidecar.ledger.seals import SealingDatabase
from meterline_sidecar.ledger.verify import verify
from meterline_sidecar.meters import Meter
from meterline_sidecar.store import (
    alerts,
    documents,
    facts,
    fleet,
    generations,
    grants,
    invoice_states,
    invoices,
    once,
    outbox,
    outbox_hours,
    payments,
    reconciliation,
    stripe_calls,
    stripe_events,
    usage,
)
from meterline_sidecar.store.documents import NewDocument
from meterline_sidecar.store.edge import event_log, held, imports, request_keys, values
from meterline_sidecar.store.fleet import EdgeRow
from meterline_sidecar.store.invoices import NewAdjustment, NewFinal, NewUse
from meterline_sidecar.store.open import open_ledger
from meterline_sidecar.store.payments import NewPayment
from meterline_sidecar.store.port import Tx
from meterline_sidecar.store.sqlite.migrate import APPLICATION_ID, migrations
from meterline_sidecar.store.stripe_events import StripeEvent
from meterline_sidecar.terms.book import Terms
from meterline_sidecar.terms.settle import OWNERS_ROW
from meterline_sidecar.usage.aggregate import Aggregator
from meterline_sidecar.usage.definition import Step, decode
from meterline_sidecar.where import StatusRange, Where
from tests.agreed import claim, keep, terms_of
from tests.clock import FakeClock
from tests.integration.conftest import Sidecar
from tests.integration.ledger.test_verify import METERS, fill
from tests.producer import NOON_MS, Connection, batch, event
from tests.store.rows import new_row
from tests.store.test_told import ALERT, COMPARISON

FINAL_DOCUMENT: Final = (
    '{"counted_up_to_event":5,"due":"7.50","agreement":{"generation":1},"invoice":{"currency":"usd","period":{"name":"2026-11"}},'
    '"adjustments":[{"period":"2026-10","billed":"1","now":"3","amount":"2"}]}'
)
ADJUSTMENT: Final = NewAdjustment("acme", "2026-10", 1, "usd", "1", "3", "2", 5)
"""What the final invoice says of itself."""
KNOWN: Final = '{"buyer":{"name":""},"time_zone":"UTC","also_due":[]}'
DOCUMENT: Final = NewDocument(
    *("INV-", "invoice", 1, "acme", "2026-11", "usd", "7.50", NOON_MS + 1, KNOWN)
)
"""What a migration makes of it."""
USE: Final = NewUse("acme", "credit", "prepaid", "usd", "2026-10", 1, "1")
CREDIT: Final = grants.NewCredit(
    customer="acme",
    key=None,
    kind="prepaid",
    title="Credit",
    currency="usd",
    amount="5",
    priority=100,
    starts="",
    expires="",
    granted_ms=NOON_MS,
    author="me",
    reason="paid",
)
PAYMENT: Final = NewPayment(
    invoice_id=1,
    customer="acme",
    key="transfer-7",
    currency="usd",
    amount="5",
    paid_on="2026-12-01",
    reference="transfer 7",
    recorded_ms=NOON_MS,
    author="me",
    reason="paid",
)
IMPORT: Final = imports.NewImport("march", "march.csv", NOON_MS, "me", "moved here")
CALL: Final = stripe_calls.NewCall(1, "invoice", "", "cus_1", "{}", NOON_MS)
EDGE: Final = EdgeRow(
    id=0,
    edge="e" * 32,
    name="api-1",
    credential="token 1",
    program="0.1.0",
    first_ms=1,
    seen_ms=2,
    batch=1,
    ahead=1,
    mark=b"mark",
    low_ms=1,
    skew_ms=0,
    trouble="",
)
NEWEST: Final = len(migrations())
BEFORE_HELD: Final = 6
WITH_TERMS: Final = 7
WITH_DOCUMENTS: Final = 16
WAITING: Final = held.Wanted(state="waiting")
DUE: Final = "SELECT event_id, due_ms FROM held_events WHERE state = 'waiting'"
EMPTY: Final = (
    *("external_sources", "external_events", "archive_moves"),
    *("invoice_states", "payments", "credits", "credit_ends", "stripe_calls"),
    *("corrections", "corrected_events", "late_rejections"),
    *("generation_ends", "imports", "import_states", "import_chunks", "import_faults"),
    *("edges", "edge_producers", "edge_decisions", "edge_files", "edge_covers"),
    "edge_questions",
    *("erasures", "erasure_seals", "erasing_files"),
    *("epochs", "rolled_up_before", "roll_ups", "rolls", "packed_events"),
    *("packed_days", "day_parts"),
)
"""What no earlier schema has a place for: names of events, events that left, what
became of invoices, payments, credits, corrections, imports,
what Stripe is told of invoices, counts that were given up, and edges."""
SINCE: Final = {"outbox": 2, "invoices": 4, "documents": 4, "alerts": 5}
"""The schema in which each table is first there; the others are there from 1 on."""
RENAMED: Final = {("outbox", "generation"): "key_no"}
"""What columns of earlier schemas are called today."""
SPAN: Final = {"start": NOON_MS - DAY_MS, "end": NOON_MS + DAY_MS}


def agreed() -> Terms:
    """Return what all of these ledgers agreed to, or do as they are opened."""
    terms = claim(terms_of(*METERS), "acme", "acct_*")
    return claim(terms, "beta", "acct_2", from_ms=1)


async def fill_newest(sidecar: Sidecar) -> Path:
    """Put rows into every table of the newest schema, and return its file."""
    source = await fill_all(sidecar)
    journal = Journal(key_of(source))
    sealing = SealingDatabase(sidecar.database, key_of(source))
    async with sealing.transaction() as tx:
        step = invoice_states.NewState(1, "final", NOON_MS + 1, "me", "by hand")
        step_id = await invoice_states.add_state(tx, step)
        await journal.link(tx, "invoice_states", step_id)
        await stripe_calls.add_calls(tx, [CALL])
        payment_id = await payments.add_payment(tx, PAYMENT)
        await journal.link(tx, "payments", payment_id)
        await journal.link(tx, "credits", await grants.add_credit(tx, CREDIT))
        end_id = await grants.end_credit(
            tx, 1, ended_ms=NOON_MS, author="me", reason="a mistake"
        )
        await journal.link(tx, "credit_ends", end_id)
        given_up = await generations.end_generation(
            tx, 99, ended_ms=NOON_MS, author="me", reason="a mistake"
        )
        await journal.link(tx, "generation_ends", given_up)
        import_id = await imports.add_import(tx, IMPORT)
        await journal.link(tx, "imports", import_id)
        state_id = await imports.add_state(
            tx, import_id, "discarded", imports.Sums(3, 2, 1), at_ms=1, author="me"
        )
        await journal.link(tx, "import_states", state_id)
        edge_id = await fleet.add_edge(tx, EDGE)
        await fleet.claim_producer(tx, "e" * 32, edge_id=edge_id)
        decision_id = await fleet.add_decision(
            tx, edge_id, "retire", decided_ms=NOON_MS, author="me", reason="sold"
        )
        await journal.link(tx, "edge_decisions", decision_id)
    return source


async def fill_all(sidecar: Sidecar) -> Path:
    """Put rows into every table of which earlier schemas know something."""
    source = await fill_all_but_held(sidecar)
    async with Connection(sidecar.socket) as app:
        await app.hello("d" * 32)
        await app.ship(batch(event(time_ms=NOON_MS - 400 * DAY_MS), event()))
    await Aggregator(sidecar.database, agreed(), clock=sidecar.clock).run()
    async with sidecar.database.transaction() as tx:
        (waiting,) = await held.read_held(tx, WAITING, after=0, limit=9)
        decision = held.Decision(waiting.event_id, 0, 1, "me", "too late")
        row_id = await held.add_decision(tx, decision)
        journal = Journal(key_of(source))
        await journal.link(tx, "held_decisions", row_id)
        document = await documents.add(tx, DOCUMENT)
        # The last link, as in a ledger that was there before it had documents.
        await journal.link(tx, "documents", document.id)
    return source


async def fill_all_but_held(sidecar: Sidecar) -> Path:
    await fill(sidecar)
    key = key_of(sidecar.database.path)
    await keep(sidecar.database, agreed(), key=key)
    end_ms = NOON_MS + DAY_MS  # what is counted from now on is late
    final = NewFinal("acme", 1, end_ms, NOON_MS + 1, FINAL_DOCUMENT, "2026-11")
    journal = Journal(key)
    async with SealingDatabase(sidecar.database, key).transaction() as tx:
        await outbox.start(tx, "install")
        await outbox_hours.note_hours(tx, [("acme", NOON_MS)], up_to_event_id=4)
        for number in range(3):
            await outbox.add(tx, new_row(number))
        await tx.execute("UPDATE outbox SET state = 'confirmed' WHERE part < 2")
        await stripe_events.store(tx, StripeEvent("evt_1", "t", "{}"), now_ms=NOON_MS)
        await journal.link(tx, "invoices", await invoices.add_final(tx, final))
        await alerts.raise_once(tx, ALERT)
        await facts.put_fact(tx, "customer_map", "of before")
        await values.add_values(tx, [values.ValueRow("model", "large", 0)])
        await once.put_key(tx, b"key", b"asked", used_ms=NOON_MS)
        await once.put_answer(tx, b"key", status=200, answer=b"{}")
        await request_keys.put_keys(tx, [request_keys.KeyRow(b"key", 1, NOON_MS)])
        await reconciliation.save(tx, COMPARISON)
        adjusted = await invoices.add_adjustment(tx, ADJUSTMENT)
        await journal.link(tx, "adjustments", adjusted)
        await journal.link(tx, "term_uses", await invoices.add_use(tx, USE))
    return sidecar.database.path


def key_of(path: Path) -> bytes:
    return ChainFiles(path).key(has_batches=True)


def copy_in_schema(source: Path, target: Path, *, version: int) -> None:
    """Write the rows of a ledger into a new one of an earlier schema."""
    connection = sqlite3.connect(target, isolation_level=None)
    for step in migrations()[:version]:
        for statement in step.statements:
            connection.execute(statement)
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {version}")
    connection.execute("ATTACH ? AS source", (str(source),))
    tables = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")
    for (table,) in tables.fetchall():
        columns = [
            str(row[1]) for row in connection.execute(f"PRAGMA table_info({table})")
        ]
        today = [RENAMED.get((table, column), column) for column in columns]
        # What triggers and migrations put there gives way to what is copied.
        connection.execute(f"DELETE FROM {table}")
        copied = connection.execute(
            f"INSERT INTO {table} ({', '.join(columns)})"
            f" SELECT {', '.join(today)} FROM source.{table}"
        )
        assert copied.rowcount > 0 or table in EMPTY, f"no row of {table}"
    if version < WITH_TERMS:
        connection.execute("DELETE FROM facts WHERE name = ?", (OWNERS_ROW,))
    elif version < WITH_DOCUMENTS:
        connection.execute("DELETE FROM journal WHERE entry = 'documents'")
    connection.close()
    ours, theirs = LedgerFiles(target), LedgerFiles(source)
    shutil.copy(theirs.key, ours.key)
    shutil.copy(theirs.head, ours.head)


async def open_and_count(path: Path) -> dict[str, object]:
    """Open a ledger as the sidecar does, and return what it says."""
    ledger = await open_ledger(path)
    try:
        async with ledger.transaction() as tx:
            await Journal(key_of(path)).adopt(tx)  # as the sidecar does
        terms = agreed()
        await keep(ledger, terms, key=key_of(path))
        await SealingDatabase(ledger, key_of(path)).adopt()
        aggregator = Aggregator(ledger, terms, clock=FakeClock())
        await aggregator.start()
        await aggregator.run()
        async with ledger.reading() as tx:
            said = await read(tx)
        chain = ChainFiles(path)
        report = await verify(
            ledger,
            key=chain.key(has_batches=True),
            head=chain.head(),
            progress=lambda what, done, total: None,
        )
    finally:
        await ledger.close()
    return {**said, "findings": report.findings, "usage_rows": report.usage_rows}


async def read(tx: Tx) -> dict[str, object]:
    newest = await usage.newest_generation(tx)
    assert newest is not None
    return {
        "schema": await tx.fetch_all(
            "SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY name"
        ),
        "version": await tx.fetch_one("PRAGMA user_version"),
        "cursor": newest.cursor,
        # What is held has states of its own, and a test of its own.
        "events": (await event_log.counts(tx))._replace(held=0),
        "usage": await usage.read_usage(tx, newest.id, customer="acme", **SPAN),
        "nobody's": await usage.read_unassigned(tx, newest.id, limit=99, **SPAN),
        "unique": await usage.count_unique(tx, newest.id, customer="acme", **SPAN),
        "outbox": (
            await outbox.counts(tx),
            await outbox.page(tx),
            await outbox.cursor(tx),
            await outbox_hours.closed_hours(tx, closed_ms=NOON_MS + 1, limit=9),
            await stripe_events.waiting(tx, limit=9),
            await reconciliation.last(tx),
        ),
        "fact": await facts.get_fact(tx, "customer_map"),
        "invoices": (
            await invoices.finals_of(tx, "acme"),
            await invoices.adjusted_of(tx, "acme"),
        ),
        "documents": await documents.all_of(tx, "acme"),
        "adopts": await facts.get_fact(tx, "journal adopts documents"),
        "alerts": await alerts.newest(tx, before=99, limit=9),
    }


@pytest.mark.parametrize("version", range(1, NEWEST))
async def test_an_earlier_ledger_becomes_what_a_new_one_is(
    sidecar: Sidecar, tmp_path: Path, version: int
) -> None:
    source = await fill_all(sidecar)
    earlier, new = tmp_path / "earlier.db", tmp_path / "new.db"
    copy_in_schema(source, earlier, version=version)
    copy_in_schema(source, new, version=NEWEST)

    found, expected = await open_and_count(earlier), await open_and_count(new)

    assert expected["findings"] == []
    assert expected["usage_rows"] == 6
    kept = [name for name in expected if SINCE.get(name, 1) <= version]
    assert {name: found[name] for name in kept} == {
        name: expected[name] for name in kept
    }


async def test_what_an_earlier_ledger_lacks_is_there_and_empty(
    sidecar: Sidecar, tmp_path: Path
) -> None:
    source = await fill_all(sidecar)
    copy_in_schema(source, tmp_path / "first.db", version=1)

    found = await open_and_count(tmp_path / "first.db")

    assert found["invoices"] == ([], {})
    assert found["alerts"] == []
    assert found["outbox"] == (
        dict.fromkeys(outbox.STATES, 0),
        [],
        None,
        [],
        [],
        (None, 0),
    )


async def test_what_an_earlier_ledger_holds_can_be_let_go(
    sidecar: Sidecar, tmp_path: Path
) -> None:
    source = await fill_all_but_held(sidecar)
    ahead, late = NOON_MS + DAY_MS, NOON_MS - 400 * DAY_MS
    async with Connection(sidecar.socket) as app:
        await app.hello("e" * 32)
        await app.ship(batch(event(time_ms=ahead), event(flags=8)))
        await app.ship(batch(event(time_ms=late), first_seq=3))
    async with sidecar.database.reading() as tx:
        expected = await held.read_held(tx, WAITING, after=0, limit=9)
        due = await tx.fetch_all(DUE)
    copy_in_schema(source, tmp_path / "earlier.db", version=BEFORE_HELD)

    ledger = await open_ledger(tmp_path / "earlier.db")
    try:
        async with ledger.reading() as tx:
            found = await held.read_held(tx, WAITING, after=0, limit=9)
            found_due = await tx.fetch_all(DUE)
            counts = await event_log.counts(tx)
    finally:
        await ledger.close()

    assert [row.time_ms for row in found] == [ahead, late]
    assert found == expected
    assert found_due == due
    assert (counts.held, counts.bad_quantities) == (2, 1)


async def test_what_was_counted_before_meters_had_dates_stays_as_it_was(
    sidecar: Sidecar, tmp_path: Path
) -> None:
    source, earlier = await fill_all(sidecar), tmp_path / "earlier.db"
    copy_in_schema(source, earlier, version=6)
    connection = sqlite3.connect(earlier)
    as_written = msgspec.json.encode(METERS).decode()
    connection.execute("UPDATE generations SET definition = ?", (as_written,))
    before = connection.execute("SELECT * FROM usage ORDER BY 1, 2, 3, 4").fetchall()
    connection.commit()
    connection.close()
    good = Meter("calls", "count", where=Where(status=(StatusRange(500, 599),)))

    ledger = await open_ledger(earlier)
    aggregator = Aggregator(ledger, terms_of(good, METERS[1]), clock=FakeClock())
    await aggregator.start()
    await aggregator.run()

    async with ledger.reading() as tx:
        after = await tx.fetch_all("SELECT * FROM usage ORDER BY 1, 2, 3, 4")
        newest = await usage.newest_generation(tx)
    await ledger.close()
    assert after == before
    assert newest is not None
    definition = decode(newest.definition)
    assert newest.is_complete
    assert definition.meters["users"] == (Step(0, 0, METERS[1]),)
    assert definition.meters["calls"] == (
        Step(0, 0, METERS[0]),
        Step(NOON_MS, newest.cursor, good),
    )


async def final_ledger(path: Path, document: str = FINAL_DOCUMENT) -> None:
    """Make a ledger of three final invoices that is older than documents."""
    connection = sqlite3.connect(path, isolation_level=None)
    for step in migrations()[: WITH_DOCUMENTS - 1]:
        for statement in step.statements:
            connection.execute(statement)
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {WITH_DOCUMENTS - 1}")
    connection.executemany(
        "INSERT INTO invoices (id, customer, period_start_ms, period_end_ms,"
        " finalized_ms, document, period) VALUES (?, ?, ?, ?, ?, ?, ?)",
        [
            (row_id, customer, row_id, row_id + 1, row_id, document, "2026-11")
            for row_id, customer in ((3, "acme"), (5, "beta"), (9, "gamma"))
        ],
    )
    connection.close()


async def test_what_is_final_gets_its_numbers_in_its_order(tmp_path: Path) -> None:
    await final_ledger(tmp_path / "earlier.db")

    ledger = await open_ledger(tmp_path / "earlier.db")
    try:
        async with ledger.reading() as tx:
            found = await documents.page(tx, limit=9)
    finally:
        await ledger.close()

    assert [(one.series, one.number, one.customer) for one in reversed(found)] == [
        ("INV-", 1, "acme"),
        ("INV-", 2, "beta"),
        ("INV-", 3, "gamma"),
    ]
    assert {(one.kind, one.amount, one.currency) for one in found} == {
        ("invoice", "7.50", "usd")
    }
    assert [one.issued_ms for one in found] == [9, 5, 3]


async def test_what_a_final_invoice_says_of_itself_is_on_its_document(
    tmp_path: Path,
) -> None:
    document = msgspec.json.decode(FINAL_DOCUMENT)
    document["customer_name"] = "Acme Corp"
    document["agreement"]["time_zone"] = "Asia/Tokyo"
    document["also_due"] = [{"amount": "-1.50", "currency": "eur"}]
    await final_ledger(tmp_path / "earlier.db", msgspec.json.encode(document).decode())

    ledger = await open_ledger(tmp_path / "earlier.db")
    try:
        async with ledger.reading() as tx:
            (row,) = await documents.all_of(tx, "acme")
    finally:
        await ledger.close()

    said = document_of(row).details
    assert (said.buyer.name, said.time_zone) == ("Acme Corp", "Asia/Tokyo")
    assert said.also_due == (Owed(Decimal("-1.50"), "eur"),)
    assert (said.seller, said.due) == (Party(), None)


async def test_only_documents_that_the_migration_made_are_taken_into_the_journal(
    tmp_path: Path,
) -> None:
    path = tmp_path / "earlier.db"
    await final_ledger(path)
    journal = Journal(bytes(32))
    ledger = await open_ledger(path)
    foreign = DOCUMENT._replace(kind="credit_note", invoice_id=3)
    found: list[str] = []
    try:
        async with ledger.transaction() as tx:
            await journal.link(tx, "invoices", 3)  # so there is a journal already
            await documents.add(tx, foreign)

            first = await journal.adopt(tx)
            again = await journal.adopt(tx)

        async with ledger.transaction() as tx:
            # A note that somebody writes later takes in nothing more.
            await facts.put_fact(tx, "journal adopts documents", "99")
            forged = await journal.adopt(tx)
            await verify_journal(
                tx, bytes(32), found.append, lambda what, done, total: None
            )
    finally:
        await ledger.close()

    assert (first, again, forged) == (3, 0, 0)
    assert found == [
        "row 5 of invoices was not written by Meterline",
        "row 9 of invoices was not written by Meterline",
        "row 4 of documents was not written by Meterline",
    ]
