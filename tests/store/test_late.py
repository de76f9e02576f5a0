"""Late usage that waits for a person, on every database."""

from meterline_sidecar.store.edge import corrections, late
from meterline_sidecar.store.edge.corrections import NewCorrection
from meterline_sidecar.store.edge.late import LateRow
from meterline_sidecar.store.port import Database


def held_back(customer: str, event_id: int) -> NewCorrection:
    query = f'{{"customer":"{customer}"}}'
    return NewCorrection(
        *("late", None, query, None, event_id, event_id, 3, b"", 7, "it", "final")
    )


async def test_late_usage_is_listed_by_customer_the_newest_first(
    database: Database,
) -> None:
    async with database.transaction() as tx:
        for i, customer in enumerate(("acme", "other", "acme"), start=1):
            await corrections.add_correction(tx, held_back(customer, i))
        taken_back = held_back("acme", 9)._replace(kind="revert", reverts=3)
        await corrections.add_correction(tx, taken_back)
        await late.add_rejection(tx, 1, rejected_ms=8, author="ann", reason="old")

    async with database.reading() as tx:

        async def listed(
            before: int, limit: int, customer: str | None
        ) -> list[LateRow]:
            return await late.late_before(tx, before, limit=limit, customer=customer)

        found = await listed(9, 9, None)
        assert [one.correction.id for one in found] == [3, 2, 1]
        assert [one.state for one in found] == ["accepted", "waiting", "rejected"]
        assert await listed(9, 9, "acme") == [found[0], found[2]]
        assert await listed(3, 1, "acme") == [found[2]]
        assert await listed(9, 9, "nobody") == []
        assert await late.get_late(tx, 2) == found[1]
        assert await late.n_waiting(tx) == 3
