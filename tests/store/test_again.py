"""What is asked for when final invoices are computed again."""

from meterline_sidecar.store import again, documents, invoices, journal, subjects
from meterline_sidecar.store.port import Database


def final(customer: str, document: str) -> invoices.NewFinal:
    return invoices.NewFinal(customer, 1, 2, 3, document, "2026-11")


async def test_final_invoices_come_in_order_with_what_they_were_made_from(
    database: Database,
) -> None:
    made = '{"counted_up_to_event": 7, "agreement": {"generation": 2}}'
    async with database.transaction() as tx:
        first = await invoices.add_final(tx, final("acme", made))
        second = await invoices.add_final(tx, final("beta", "{}"))
        third = await invoices.add_final(tx, final("gone", "no JSON"))

    async with database.reading() as tx:
        assert await again.made_from(tx) == [(first, 7, 2), (second, None, None)]
        rows = await invoices.finals_after(tx, first, limit=1)
        assert [row.id for row in rows] == [second]
        rows = await invoices.finals_after(tx, second, limit=9)
        assert [row.id for row in rows] == [third]
        assert await invoices.final_rows(tx, [third, 99]) == rows
        assert await invoices.final_rows(tx, []) == []


async def test_rows_of_an_invoice_are_put_elsewhere_as_they_are(
    database: Database,
) -> None:
    use = invoices.NewUse("acme", "credit", "a", "usd", "2026-11", 5, "1.00")
    async with database.transaction() as tx:
        await invoices.add_use(tx, use)
        rows = await again.rows_of_invoice(tx, "term_uses", 5)
        assert rows == [(1, *use)]
        await again.put_rows(tx, "term_uses", [(7, *rows[0][1:])])
        await again.put_subjects(tx, [(3, "c"), (5, "a")])

    async with database.reading() as tx:
        assert await invoices.uses_of(tx, "acme") == [use, use]
        assert await again.rows_of_invoice(tx, "adjustments", 5) == []
        found = await subjects.subjects_after(tx, 0, limit=9)
        assert found == [(3, "c", None), (5, "a", None)]


async def test_a_series_with_a_hole_is_named(database: Database) -> None:
    def document(series: str) -> documents.NewDocument:
        return documents.NewDocument(
            *(series, "invoice", 1, "acme", "2026-11", "usd", "1.00", 3, "{}")
        )

    async with database.transaction() as tx:
        await tx.execute("DROP INDEX documents_of_invoices")
        for series in ("A-", "B-", "A-", "B-", "C-", "C-"):
            await documents.add(tx, document(series))
        await tx.execute("DELETE FROM documents WHERE series = 'B-' AND number = 1")
        await tx.execute("DELETE FROM documents WHERE series = 'C-' AND number = 2")

    async with database.reading() as tx:
        assert await again.series_with_holes(tx) == [("B-", 1, 2)]


async def test_rows_are_known_by_between_which_links_theirs_is(
    database: Database,
) -> None:
    async with database.transaction() as tx:
        await journal.add_links(
            tx, [("credits", 4, b"a"), ("terms", 1, b"b"), ("credits", 5, b"c")]
        )

    async with database.reading() as tx:
        assert await journal.rows_between(tx, 0, 9, entry="credits") == [4, 5]
        assert await journal.rows_between(tx, 1, 9, entry="credits") == [5]
        assert await journal.rows_between(tx, 0, 3, entry="credits") == [4]
