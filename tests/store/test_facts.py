"""Small facts of a ledger, by name."""

from meterline_sidecar.store import facts
from meterline_sidecar.store.port import Database, Ledger


async def test_facts_are_found_by_what_their_names_begin_with(
    database: Database,
) -> None:
    written = {"token:1": "a", "token:2": "b", "token": "c", "tokens:": "d"}
    async with database.transaction() as tx:
        for name, value in written.items():
            await facts.put_fact(tx, name, value)
        await facts.put_fact(tx, "token:2", "changed")

    async with database.reading() as tx:
        found = await facts.facts_from(tx, "token:")

    assert found == {"token:1": "a", "token:2": "changed"}


async def test_who_reads_sees_the_same_once_pages_in_memory_were_given_back(
    database: Ledger,
) -> None:
    async with database.transaction() as tx:
        await facts.put_fact(tx, "name", "before")

    async with database.reading() as tx:
        seen = [await facts.get_fact(tx, "name")]
        async with database.transaction() as other:
            await facts.put_fact(other, "name", "after")
        await database.forget_pages()
        seen.append(await facts.get_fact(tx, "name"))
    async with database.reading() as tx:
        seen.append(await facts.get_fact(tx, "name"))

    assert seen == ["before", "before", "after"]
