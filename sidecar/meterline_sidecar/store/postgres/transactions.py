"""Transactions of the PostgreSQL driver: statements, and rows by the many."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from meterline_sidecar.store.port import Row, Value
from meterline_sidecar.store.postgres import dialect
from meterline_sidecar.store.postgres.connect import Connection
from meterline_sidecar.store.postgres.dialect import Append
from meterline_sidecar.store.postgres.errors import RAISED, translate

ROWS_AT_ONCE: Final = 5_000
APPENDED_MIN: Final = 4  # fewer rows are added one by one: that is one trip less
NUMBERS_ITSELF: Final = (
    "SELECT count(*) > 0 FROM pg_attrdef d JOIN pg_attribute a ON a.attrelid = d.adrelid"
    " AND a.attnum = d.adnum WHERE d.adrelid = CAST(CAST($1 AS TEXT) AS REGCLASS)"
    " AND a.attname = 'id' AND pg_get_expr(d.adbin, d.adrelid) LIKE 'next_id(%'"
)


class Shape(NamedTuple):
    """What the server says of the rows that a statement adds."""

    types: tuple[str, ...]
    """Of their columns."""
    numbers_rows: bool
    """Whether they get the next ids of their table."""


class PostgresTx:
    """A transaction on one connection.

    Args:
        place: where the ledger is, for errors.
        shapes: of the rows that statements add, as the server told.
    """

    def __init__(
        self, connection: Connection, place: str, shapes: dict[Append, Shape]
    ) -> None:
        self._connection = connection
        self._place = place
        self._shapes = shapes

    async def execute(self, sql: str, parameters: Sequence[Value] = ()) -> int:
        """Run one statement and return the number of rows that it changed."""
        statement = dialect.statement(sql)
        try:
            status = await self._connection.execute(
                statement.sql, *statement.of(parameters)
            )
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
            if append is None or len(all_rows) * len(all_rows[0]) < APPENDED_MIN * len(
                append.columns
            ):
                await self._connection.executemany(dialect.numbered(sql), all_rows)
                return
            await self._append(append, all_rows)
        except RAISED as error:
            raise translate(self._place, error) from error

    async def _append(self, append: Append, rows: Sequence[Sequence[Value]]) -> None:
        """Add rows by as few statements as may be."""
        shape = await self._shape_of(append)
        for part in _parts(rows, len(append.columns)):
            columns = list(zip(*part, strict=True))
            if append.changes_twice(columns):
                one_by_one = f"{append.of_one}{append.conflict}"
                await self._connection.executemany(one_by_one, part)
                continue
            # To hand over a value costs more than to compare it.
            same = [column.count(column[0]) == len(column) for column in columns]
            if all(same):
                same[0] = False
            statement = append.of_arrays(
                shape.types, same, numbers_rows=shape.numbers_rows
            )
            values = [
                column[0] if is_same else dialect.in_array(column)
                for column, is_same in zip(columns, same, strict=True)
            ]
            await self._connection.execute(statement, *values)

    async def _shape_of(self, append: Append) -> Shape:
        """Ask the server once what the values of a statement are, and who numbers them."""
        shape = self._shapes.get(append)
        if shape is None:
            prepared = await self._connection.prepare(append.of_one, name="")
            types = tuple(kind.name for kind in prepared.get_parameters())
            numbers_rows = (
                not append.conflict  # whose rows are not all new
                and "id" not in append.columns
                and await self._connection.fetchval(NUMBERS_ITSELF, append.table)
            )
            shape = self._shapes[append] = Shape(types, bool(numbers_rows))
        return shape

    async def fetch_one(self, sql: str, parameters: Sequence[Value] = ()) -> Row | None:
        """Return the first row, or ``None``."""
        rows = await self.fetch_all(sql, parameters)
        return rows[0] if rows else None

    async def fetch_all(self, sql: str, parameters: Sequence[Value] = ()) -> list[Row]:
        """Return every row."""
        statement = dialect.statement(sql)
        try:
            rows = await self._connection.fetch(
                statement.sql, *statement.of(parameters)
            )
        except RAISED as error:
            raise translate(self._place, error) from error
        return [tuple(row) for row in rows]


def _parts(
    rows: Sequence[Sequence[Value]], width: int
) -> Iterator[Sequence[Sequence[Value]]]:
    """Yield rows, some at a time; where some stand one behind the other, each by itself."""
    if len(rows[0]) > width:
        rows = [row[i : i + width] for row in rows for i in range(0, len(row), width)]
    for start in range(0, len(rows), ROWS_AT_ONCE):
        yield rows[start : start + ROWS_AT_ONCE]
