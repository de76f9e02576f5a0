"""Transactions of the PostgreSQL driver: statements, and rows by the many."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from meterline_sidecar.store.port import Row, Value
from meterline_sidecar.store.postgres import dialect
from meterline_sidecar.store.postgres.connect import Connection
from meterline_sidecar.store.postgres.errors import RAISED, translate

ROWS_AT_ONCE: Final = 5_000
APPENDED_MIN: Final = 4  # fewer rows are added one by one: that is one trip less


class PostgresTx:
    """A transaction on one connection.

    Args:
        place: where the ledger is, for errors.
        types: of the values of statements that add many rows, as the server named them.
    """

    def __init__(
        self, connection: Connection, place: str, types: dict[str, tuple[str, ...]]
    ) -> None:
        self._connection = connection
        self._place = place
        self._types = types

    async def execute(self, sql: str, parameters: Sequence[Value] = ()) -> int:
        """Run one statement and return the number of rows that it changed."""
        try:
            status = await self._connection.execute(dialect.numbered(sql), *parameters)
        except RAISED as error:
            raise translate(self._place, error) from error
        return dialect.changed_rows(status)

    async def execute_many(self, sql: str, rows: Iterable[Sequence[Value]]) -> None:
        """Run one statement for each row."""
        all_rows = list(rows)
        if not all_rows:
            return
        try:
            append = dialect.append(sql)
            if append is None or len(all_rows) < APPENDED_MIN:
                await self._connection.executemany(dialect.numbered(sql), all_rows)
                return
            types = await self._types_of(sql)
            for start in range(0, len(all_rows), ROWS_AT_ONCE):
                part = all_rows[start : start + ROWS_AT_ONCE]
                await self._connection.execute(
                    append.of_arrays(types), *_columns(part, types)
                )
        except RAISED as error:
            raise translate(self._place, error) from error

    async def _types_of(self, sql: str) -> tuple[str, ...]:
        """Ask the server once what the values of a statement are."""
        types = self._types.get(sql)
        if types is None:
            prepared = await self._connection.prepare(dialect.numbered(sql), name="")
            types = tuple(kind.name for kind in prepared.get_parameters())
            self._types[sql] = types
        return types

    async def fetch_one(self, sql: str, parameters: Sequence[Value] = ()) -> Row | None:
        """Return the first row, or ``None``."""
        rows = await self.fetch_all(sql, parameters)
        return rows[0] if rows else None

    async def fetch_all(self, sql: str, parameters: Sequence[Value] = ()) -> list[Row]:
        """Return every row."""
        try:
            rows = await self._connection.fetch(dialect.numbered(sql), *parameters)
        except RAISED as error:
            raise translate(self._place, error) from error
        return [tuple(row) for row in rows]


def _columns(
    rows: Sequence[Sequence[Value]], types: tuple[str, ...]
) -> list[list[Any]]:
    return [
        [
            None if value is None else _PLAIN.get(kind, _as_it_is)(value)
            for value in values
        ]
        for values, kind in zip(zip(*rows, strict=True), types, strict=True)
    ]


def _as_it_is(value: Any) -> Any:
    return value


# In an array, a text does not pass through its own form, and flags are arrays themselves.
_PLAIN: Final[dict[str, Callable[[Any], Any]]] = {"text": dialect.stored, "int8": int}
