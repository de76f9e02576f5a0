"""Small facts of a ledger, by name."""

from meterline_sidecar.store import facts
from meterline_sidecar.store.port import Database


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
