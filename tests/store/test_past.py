"""Which customers have anything at all: asked before invoices of many are drawn."""

from meterline_sidecar.store import grants, invoices, past
from meterline_sidecar.store.columns import MARKS_MAX
from meterline_sidecar.store.invoices import NewAdjustment, NewFinal, NewUse
from meterline_sidecar.store.port import Database
from tests.store.rows import add_subjects
from tests.store.test_grants import a_credit


async def test_only_what_a_customer_has_is_named(database: Database) -> None:
    async with database.transaction() as tx:
        invoice = await invoices.add_final(
            tx, NewFinal("billed", 0, 9, 9, "{}", "2026-11")
        )
        await invoices.add_adjustment(
            tx,
            NewAdjustment("adjusted", "2026-11", invoice, "usd", "1", "2", "1", 7),
        )
        await invoices.add_use(
            tx, NewUse("user", "credit", "Gift", "usd", "2026-11", invoice, "1")
        )
        await grants.add_credit(tx, a_credit("granted"))
    everybody = ["billed", "adjusted", "user", "granted", "nobody"]

    async with database.reading() as tx:
        assert await past.having(tx, everybody) == {
            ("invoices", "billed"),
            ("adjustments", "adjusted"),
            ("uses", "user"),
            ("credits", "granted"),
        }
        assert await past.having(tx, ["granted"]) == {("credits", "granted")}
        assert await past.having(tx, []) == frozenset()


async def test_what_waits_for_a_decision_is_whose_who_pays_for_it_or_paid(
    database: Database,
) -> None:
    async with database.transaction() as tx:
        await add_subjects(tx, [(1, "a", "acme"), (2, "b", None), (3, "c", "beta")])
        await tx.execute(
            "INSERT INTO owners (subject_id, from_ms, end_ms, customer)"
            " VALUES (2, 0, 5, 'former')"
        )
        for event_id, subject_id, state in (
            (1, 1, "waiting"),
            (2, 2, "waiting"),
            (3, 3, "rejected"),
        ):
            await tx.execute(
                "INSERT INTO held_events (event_id, producer_id, subject_id, time_ms,"
                " learned_ms, state) VALUES (?, 1, ?, 5, 7, ?)",
                (event_id, subject_id, state),
            )
    many = [f"c{i}" for i in range(2 * MARKS_MAX)]

    async with database.reading() as tx:
        assert await past.having(tx, ["acme", *many, "former", "beta"]) == {
            ("held", "acme"),
            ("held", "former"),
        }
