"""What an explanation of an invoice asks of the money side."""

from meterline_sidecar.store import changes, invoices, journal, owned, subjects
from meterline_sidecar.store.edge import usage as counting
from meterline_sidecar.store.edge.usage import Key
from meterline_sidecar.store.port import Database


async def test_names_of_subjects_are_found_by_their_ids(database: Database) -> None:
    async with database.transaction() as tx:
        await tx.execute_many(
            "INSERT INTO subjects (name) VALUES (?)", [("a",), ("b",), ("c",)]
        )

    async with database.reading() as tx:
        assert await subjects.names_of(tx, [1, 3, 9]) == {1: "a", 3: "c"}
        assert await subjects.names_of(tx, []) == {}


async def test_a_link_is_found_by_its_row(database: Database) -> None:
    async with database.transaction() as tx:
        await journal.add_links(tx, [("invoices", 7, b"m"), ("terms", 7, b"n")])

    async with database.reading() as tx:
        link = await journal.link_of(tx, "terms", 7)
        assert link == journal.Link(2, "terms", 7, b"n")
        assert await journal.link_of(tx, "terms", 8) is None


async def test_links_of_some_tables_come_the_newest_first(
    database: Database,
) -> None:
    async with database.transaction() as tx:
        await journal.add_links(
            tx, [("terms", 1, b"a"), ("invoices", 1, b"b"), ("credits", 1, b"c")]
        )

    async with database.reading() as tx:
        asked = ["terms", "credits"]
        links = await journal.links_before(tx, 9, entries=asked, limit=9)
        assert [link.id for link in links] == [3, 1]
        assert await journal.links_before(tx, 3, entries=asked, limit=1) == links[1:]


async def test_links_of_a_customer_are_of_all_that_is_about_them(
    database: Database,
) -> None:
    about = (
        "INSERT INTO terms (id, kind, name, change, from_ms, learned_ms, source, author,"
        " reason, reaches_final) VALUES (?, ?, ?, '{}', 0, 1, 'api', 'a', '', 0)"
    )
    credit = (
        "INSERT INTO credits (id, customer, kind, title, currency, amount, priority,"
        " starts, expires, granted_ms, author, reason)"
        " VALUES (?, ?, 'goodwill', '', 'usd', '1', 1, '', '', 1, 'a', '')"
    )
    async with database.transaction() as tx:
        await tx.execute_many(
            about, [(1, "customer", "acme"), (2, "customer", "b"), (3, "plan", "acme")]
        )
        await tx.execute_many(credit, [(1, "acme"), (2, "b")])
        await tx.execute_many(
            "INSERT INTO credit_ends (id, credit_id, ended_ms, author, reason)"
            " VALUES (?, ?, 1, 'a', '')",
            [(1, 2), (2, 1)],
        )
        rows = [("terms", 1), ("terms", 2), ("terms", 3), ("credits", 1)]
        rows += [("credits", 2), ("credit_ends", 1), ("credit_ends", 2)]
        await journal.add_links(tx, [(*row, b"m") for row in rows])

    async with database.reading() as tx:
        links = await journal.links_about(tx, "acme", before=99, limit=9)
        assert [(link.entry, link.row_id) for link in links] == [
            *(("credit_ends", 2), ("credits", 1), ("terms", 1)),
        ]
        assert await journal.links_about(tx, "acme", before=7, limit=1) == links[1:2]


async def test_invoices_are_named_by_customer_and_period(database: Database) -> None:
    async with database.transaction() as tx:
        row = invoices.NewFinal("acme", 1, 2, 3, "{}", "2026-11")
        row_id = await invoices.add_final(tx, row)

    async with database.reading() as tx:
        named = await invoices.names_of(tx, [row_id, 99])
        assert named == {row_id: ("acme", "2026-11")}


async def test_the_range_of_what_is_counted_is_that_of_the_customer(
    database: Database,
) -> None:
    async with database.transaction() as tx:
        await tx.execute_many(
            "INSERT INTO subjects (name, customer) VALUES (?, ?)",
            [("a", "acme"), ("b", "acme"), ("c", "beta")],
        )
        groups = await counting.intern_groups(tx, {"{}"})
        rows = [(1, 900, 5), (1, 1_800, 9), (2, 2_700, 7), (3, 0, 99)]
        await counting.put_totals(
            tx,
            1,
            ((Key(s, w, groups["{}"]), {"calls": 1}, last) for s, w, last in rows),
        )

    async with database.reading() as tx:
        span = {"start": 0, "end": 5_000}
        assert await changes.counted_range(tx, 1, customer="acme", **span) == (900, 9)
        late = {"start": 2_000, "end": 5_000}
        assert await changes.counted_range(tx, 1, customer="acme", **late) == (2_700, 7)
        assert await changes.counted_range(tx, 1, customer="nobody", **span) is None


async def test_hours_in_which_a_customer_used_anything_have_their_last_event(
    database: Database,
) -> None:
    async with database.transaction() as tx:
        await tx.execute_many(
            "INSERT INTO subjects (name, customer, is_split) VALUES (?, ?, ?)",
            [("a", "acme", 0), ("b", "beta", 0), ("c", "beta", 1)],
        )
        await tx.execute(
            "INSERT INTO owners (subject_id, from_ms, end_ms, customer)"
            " VALUES (3, 0, 3600000, 'acme')"
        )
        groups = await counting.intern_groups(tx, {"{}"})
        rows = [(1, 900_000, 5), (1, 1_800_000, 9), (2, 900_000, 99), (3, 7_200_000, 7)]
        await counting.put_totals(
            tx,
            1,
            ((Key(s, w, groups["{}"]), {"calls": 1}, last) for s, w, last in rows),
        )

    async with database.reading() as tx:
        span = {"start": 0, "end": 9_000_000}
        found = await changes.counted_hours(tx, 1, customer="acme", **span)
        assert found == {0: 9, 7_200_000: 7}
        assert await changes.counted_hours(tx, 2, customer="acme", **span) == {}
        assert await owned.times_of(tx, "acme") == {3: [(0, 3_600_000)]}
        assert await owned.times_of(tx, "beta") == {}
