"""SQL for the values of properties that usage is told apart by."""

from collections.abc import Iterable
from typing import Final, NamedTuple

from meterline_sidecar.store.columns import Columns
from meterline_sidecar.store.port import Tx


class ValueRow(NamedTuple):
    """A value that is told apart, for events behind one."""

    name: str
    value: str
    """Empty: from this event on there were more than are told apart."""
    after_event_id: int


VALUE: Final = Columns(ValueRow._fields)


async def read_values(tx: Tx) -> list[ValueRow]:
    """Return all values that are told apart, of every property."""
    rows = await tx.fetch_all(f"SELECT {VALUE.listed} FROM property_values")  # noqa: S608 - names
    return [ValueRow(*row) for row in rows]


async def add_values(tx: Tx, rows: Iterable[ValueRow]) -> None:
    """Add values, in the transaction that counts the events which have them."""
    await tx.execute_many(
        f"INSERT INTO property_values ({VALUE.listed}) VALUES ({VALUE.marks})",  # noqa: S608 - names and marks
        rows,
    )


async def n_values_beyond(tx: Tx) -> dict[str, int]:
    """Return how many values are told apart of each property that had more."""
    rows = await tx.fetch_all(
        "SELECT v.name, count(*) - 1 FROM property_values v WHERE EXISTS"
        " (SELECT 1 FROM property_values b WHERE b.name = v.name AND b.value = '')"
        " GROUP BY v.name ORDER BY v.name"
    )
    return {row[0]: row[1] for row in rows}
