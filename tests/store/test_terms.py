"""What was agreed, and the journal over it."""

from decimal import Decimal

from meterline_sidecar.clock import DAY_MS, HOUR_MS
from meterline_sidecar.store import changes, invoices, journal, terms
from meterline_sidecar.store.invoices import NewAdjustment, NewFinal, NewUse
from meterline_sidecar.store.port import Database, Tx
from meterline_sidecar.store.terms import NewTerm


async def add_subjects(tx: Tx, *names: str) -> None:
    await tx.execute_many(
        "INSERT INTO subjects (name) VALUES (?)", [(name,) for name in names]
    )


def a_term(name: str = "acme", from_ms: int = 0) -> NewTerm:
    return NewTerm(
        kind="customer",
        name=name,
        change='{"plan":"basic"}',
        from_ms=from_ms,
        learned_ms=7,
        source="file",
        author="me",
    )


async def test_terms_come_back_in_the_order_they_were_learned(
    database: Database,
) -> None:
    async with database.transaction() as tx:
        assert await terms.newest_term(tx) == 0
        (first,) = await terms.add_terms(tx, [a_term(from_ms=9)])
        assert await terms.add_terms(tx, []) == []
        more = await terms.add_terms(tx, [a_term("beta"), a_term("gamma")])
    second, third = more

    async with database.reading() as tx:
        assert await terms.terms_after(tx, 0, limit=10) == [first, *more]
        assert await terms.terms_after(tx, first.id, limit=10) == more
        assert await terms.terms_after(tx, 0, limit=1) == [first]
        assert await terms.is_known(tx, "customer", "acme")
        assert not await terms.is_known(tx, "plan", "acme")
        assert await terms.newest_term(tx) == third.id
    assert (first.name, first.from_ms, first.learned_ms) == ("acme", 9, 7)
    assert [row.name for row in more] == ["beta", "gamma"]
    assert first.id < second.id < third.id


async def test_subjects_are_found_by_name_and_by_what_they_begin_with(
    database: Database,
) -> None:
    async with database.transaction() as tx:
        await add_subjects(tx, "a", "a_1", "a_2", "b", "\U0010ffff")

    async with database.reading() as tx:
        assert [name for _, name in await terms.subjects_named(tx, ["a_1"])] == ["a_1"]
        assert await terms.subjects_named(tx, ["nobody"]) == []
        named = await terms.subjects_named(tx, ["b", "nobody", "a_1"])
        assert [name for _, name in named] == ["a_1", "b"]
        some = await terms.subjects_between(tx, "a_", "a`", after="", limit=10)
        assert [name for _, name in some] == ["a_1", "a_2"]
        rest = await terms.subjects_between(tx, "a_", "a`", after="a_1", limit=10)
        assert [name for _, name in rest] == ["a_2"]
        every = await terms.subjects_between(tx, "", None, after="b", limit=10)
        assert [name for _, name in every] == ["\U0010ffff"]


async def test_subjects_have_their_payers_in_order_of_time(database: Database) -> None:
    moved: list[terms.Step] = [(0, "acme"), (5, None), (9, "beta")]
    async with database.transaction() as tx:
        await add_subjects(tx, "a", "b")
        (a, _), (b, _) = await terms.subjects_named(tx, ["a", "b"])
        assert await terms.owners_of(tx, [a, b]) == {a: [(0, None)], b: [(0, None)]}

        await terms.set_owners(tx, {a: moved, b: [(0, "beta")]})
        assert await terms.owners_of(tx, [a, b]) == {a: moved, b: [(0, "beta")]}

        await terms.set_owners(tx, {a: [(0, "acme")]})
        assert await terms.owners_of(tx, [a]) == {a: [(0, "acme")]}


async def test_links_stand_in_order_and_find_their_rows(database: Database) -> None:
    async with database.transaction() as tx:
        row, other = await terms.add_terms(tx, [a_term(), a_term("beta")])
        assert await journal.newest_link(tx) is None
        assert await journal.unlinked(tx, "terms", limit=9) == [row.id, other.id]

        await journal.add_links(tx, [("terms", row.id, b"m" * 32)])

        newest = await journal.newest_link(tx)
        assert newest is not None
        assert (newest.entry, newest.row_id, newest.mac) == ("terms", row.id, b"m" * 32)
        assert await journal.links_after(tx, 0, limit=9) == [newest]
        assert await journal.links_after(tx, newest.id, limit=9) == []
        assert await journal.unlinked(tx, "terms", limit=9) == [other.id]
        covered = await journal.covered_row(tx, "terms", row.id)
        assert covered is not None
        found = await journal.covered_rows(tx, "terms", [row.id, other.id, 99])
        assert sorted(one[0] for one in found) == [row.id, other.id]
        assert covered in found
        assert await journal.covered_rows(tx, "terms", []) == []
        assert tuple(covered) == tuple(row)
        assert await journal.covered_row(tx, "terms", 99) is None


async def test_no_final_invoice_ends_nowhere(database: Database) -> None:
    async with database.reading() as tx:
        assert await invoices.final_ends(tx) == {}
        assert await invoices.final_end(tx, "acme") == 0


async def test_what_was_adjusted_and_used_up_adds_up(database: Database) -> None:
    adjustment = NewAdjustment("acme", "2026-10", 1, "usd", "10.00", "12.50", "2.50", 9)
    use = NewUse("acme", "credit", "prepaid", "usd", "2026-10", 1, "80.00")
    async with database.transaction() as tx:
        first = await invoices.add_adjustment(tx, adjustment)
        more = adjustment._replace(amount="-1.00", counted_up_to_event=7)
        assert await invoices.add_adjustment(tx, more) > first
        await invoices.add_adjustment(tx, adjustment._replace(customer="beta"))
        await invoices.add_use(tx, use)
        await invoices.add_use(tx, use._replace(customer="beta"))

    async with database.reading() as tx:
        adjusted = await invoices.adjusted_of(tx, "acme")
        assert adjusted == {"2026-10": ({"usd": Decimal("1.50")}, 9)}
        assert await invoices.uses_of(tx, "acme") == [use]
        assert await invoices.uses_of(tx, "nobody") == []


async def test_a_period_that_was_left_out_makes_final_ones_cover_less(
    database: Database,
) -> None:
    final = NewFinal("acme", DAY_MS, 2 * DAY_MS, 1, "{}", "1970-01")
    async with database.transaction() as tx:
        assert await invoices.final_ranges(tx) == {}
        assert await invoices.newest_invoice(tx) == 0
        await invoices.add_final(tx, final)
        assert await invoices.customers_after(tx, 0) == ["acme"]
        first = await invoices.newest_invoice(tx)
        assert await invoices.customers_after(tx, first) == []
        later = final._replace(period_start_ms=4 * DAY_MS, period_end_ms=5 * DAY_MS)
        await invoices.add_final(tx, later._replace(period="1970-02"))

    async with database.reading() as tx:
        assert await invoices.final_ranges(tx) == {
            "acme": (DAY_MS, 5 * DAY_MS, 2, 2 * DAY_MS)
        }


async def test_late_usage_is_found_by_who_pays_or_ever_paid(database: Database) -> None:
    final = NewFinal("acme", 0, 5 * DAY_MS, 1, "{}", "1970-01")
    async with database.transaction() as tx:
        assert await invoices.newest_final_end(tx) == 0
        await invoices.add_final(tx, final)
        assert await invoices.newest_final_end(tx) == 5 * DAY_MS
        assert await invoices.final_ends(tx) == {"acme": 5 * DAY_MS}
        assert await invoices.final_names(tx, "acme") == {"1970-01"}
        assert await invoices.final_names(tx, "beta") == set()
        assert [await invoices.final_row(tx, 1)] == await invoices.finals_of(tx, "acme")
        assert await invoices.final_row(tx, 2) is None
        spans = await invoices.final_spans(tx, since_ms=5 * DAY_MS - 1)
        assert [(name, end) for name, _, end in spans] == [("acme", 5 * DAY_MS)]
        assert await invoices.final_spans(tx, since_ms=5 * DAY_MS) == []
        assert await invoices.final_end(tx, "acme") == 5 * DAY_MS
        assert await invoices.final_end(tx, "beta") == 0
        await add_subjects(tx, "a", "b")
        ((a, _),) = await terms.subjects_named(tx, ["a"])
        ((b, _),) = await terms.subjects_named(tx, ["b"])
        await terms.set_owners(tx, {a: [(0, "acme")]})
        await terms.set_owners(tx, {b: [(0, "acme"), (DAY_MS, "beta")]})
        await tx.execute_many(
            "INSERT INTO late_usage (subject_id, day_ms, last_event_id)"
            " VALUES (?, ?, ?)",
            [(a, 0, 3), (b, 0, 4), (b, DAY_MS, 6)],
        )

        assert await invoices.late_days(tx, "acme") == [(0, 4), (DAY_MS, 6)]
        assert await invoices.late_days(tx, "beta") == [(0, 4), (DAY_MS, 6)]
        assert await invoices.late_days(tx, "nobody") == []


async def test_the_first_use_of_a_customer_is_a_window(database: Database) -> None:
    async with database.transaction() as tx:
        assert await changes.first_use(tx, 1, customer="acme") is None
        await add_subjects(tx, "a")
        ((a, _),) = await terms.subjects_named(tx, ["a"])
        await terms.set_owners(tx, {a: [(0, "acme")]})
        await tx.execute_many(
            "INSERT INTO usage_days (generation, subject_id, day_ms, group_id, totals)"
            " VALUES (1, ?, ?, 1, '{\"calls\":1}')",
            [(a, 3 * DAY_MS), (a, 2 * DAY_MS)],
        )
        await tx.execute_many(
            "INSERT INTO usage (generation, subject_id, window_ms, group_id, totals,"
            " last_event_id) VALUES (1, ?, ?, 1, '{\"calls\":1}', 1)",
            [(a, 3 * DAY_MS), (a, 2 * DAY_MS + 7 * HOUR_MS)],
        )

        first_ms = 2 * DAY_MS + 7 * HOUR_MS
        assert await changes.first_use(tx, 1, customer="acme") == first_ms
        assert await changes.first_use(tx, 2, customer="acme") is None

        # Of what was corrected, rows stay in which nothing is.
        await tx.execute(
            "UPDATE usage SET totals = '{}' WHERE window_ms = ?", (first_ms,)
        )
        await tx.execute(
            "UPDATE usage_days SET totals = '{}' WHERE day_ms = ?", (2 * DAY_MS,)
        )
        assert await changes.first_use(tx, 1, customer="acme") == 3 * DAY_MS


async def test_subjects_that_nobody_pays_for_are_found(database: Database) -> None:
    async with database.transaction() as tx:
        await add_subjects(tx, "a", "b", "c")
        ((first, _),) = await terms.subjects_named(tx, ["a"])
        ((second, _),) = await terms.subjects_named(tx, ["b"])
        ((third, _),) = await terms.subjects_named(tx, ["c"])
        await terms.set_owners(tx, {second: [(0, "acme")]})

    async with database.reading() as tx:
        found = await terms.subjects_of_nobody(tx, after_id=0, limit=9)
        behind = await terms.subjects_of_nobody(tx, after_id=first, limit=9)
        limited = await terms.subjects_of_nobody(tx, after_id=0, limit=1)
    assert found == [(first, "a"), (third, "c")]
    assert behind == [(third, "c")]
    assert limited == [(first, "a")]
