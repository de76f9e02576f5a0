"""Sums of what peers announce: whatever that is, they can be read."""

from meterline_sidecar.store.port import Database
from meterline_sidecar.store.sums import SUM_MAX, summed, whole


async def total(database: Database, *numbers: int) -> int:
    rows = " UNION ALL ".join(["SELECT CAST(? AS BIGINT) AS n"] * len(numbers))
    async with database.reading() as tx:
        row = await tx.fetch_one(
            f"SELECT {summed('n')} FROM ({rows}) AS numbers",
            numbers,
        )
    assert row is not None
    return whole(*row)


async def test_a_sum_is_exact_up_to_63_bits_and_then_says_the_most(
    database: Database,
) -> None:
    assert await total(database, 0) == 0
    assert await total(database, 2**32, 2**32 - 1, 7) == 2**33 + 6
    assert await total(database, 2**63 - 1) == SUM_MAX
    assert await total(database, *[2**62 - 1] * 2) == 2**63 - 2
    assert await total(database, *[2**63 - 1] * 20) == SUM_MAX
