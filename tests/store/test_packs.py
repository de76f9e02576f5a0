"""Events are read from packs as they were, whatever numbers they hold."""

from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from meterline_sidecar.store.columns import Columns
from meterline_sidecar.store.edge.events import add_events
from meterline_sidecar.store.edge.packed import (
    cut,
    events_between,
    n_packed,
    plain_lines,
    put_pack,
    take_out,
)
from meterline_sidecar.store.edge.stored import STORED, StoredEvent
from meterline_sidecar.store.packs import DIGITS, IDS_MAX, BadPack, Unpacker, pack
from meterline_sidecar.store.port import Tx
from meterline_sidecar.store.sqlite.driver import SqliteDatabase

FIRST: Final = 1_000_000


def numbers(name: str) -> st.SearchStrategy[int]:
    """Return numbers of a column, some of them just too long for a pack."""
    longest = 10 ** DIGITS[name]
    return st.one_of(
        st.integers(0, 999), st.sampled_from([longest - 1, longest, longest + 1])
    )


EVENTS: Final = st.lists(
    st.tuples(
        *(numbers(name) for name in STORED.names[1:12]),
        st.sampled_from([None, None, None, '{"tokens":3}']),
        st.sampled_from([None, None, None, '{"all":{"a":"\\u0000\\""}}']),
    ),
    max_size=12,
)


@pytest.fixture
async def file(tmp_path: Path) -> AsyncGenerator[SqliteDatabase]:
    database = await SqliteDatabase.open(tmp_path / "meterline.db")
    yield database
    await database.close()


async def read(tx: Tx, first: int, last: int) -> list[StoredEvent]:
    source = await events_between(tx, first, last)
    rows = await tx.fetch_all(
        f"SELECT {Columns(STORED.names).listed} FROM {source.sql} e"
        " WHERE id BETWEEN ? AND ? ORDER BY id",
        (*source.given, first, last),
    )
    return [StoredEvent(*row) for row in rows]


@settings(
    max_examples=25,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    deadline=None,
)
@given(events=EVENTS, gap=st.integers(1, IDS_MAX // 12), data=st.data())
async def test_any_events_are_read_from_a_pack_as_they_were(
    file: SqliteDatabase, events: list[tuple[int, ...]], gap: int, data: st.DataObject
) -> None:
    rows = [StoredEvent(FIRST + i * gap, *row) for i, row in enumerate(events)]  # type: ignore[arg-type]
    last = FIRST + IDS_MAX - 1
    ends = st.integers(FIRST - 5, last + 5)
    low, high = data.draw(ends), data.draw(ends)
    async with file.transaction() as tx:
        await tx.execute("DELETE FROM events")
        await tx.execute("DELETE FROM packed_events")
        await add_events(tx, rows)
        n_plain, lines = await plain_lines(tx, FIRST, last)
        deleted = await put_pack(tx, FIRST, last, events=n_plain, body=pack(lines))

        assert deleted == n_plain == await n_packed(tx)
        assert await read(tx, FIRST, last) == rows
        assert await read(tx, low, high) == [r for r in rows if low <= r.id <= high]
        await cut(tx, low, high)
        assert await read(tx, FIRST, last) == rows
        assert await take_out(tx, low, high) == len(
            [row for row in rows if low <= row.id <= high]
        )
        assert await read(tx, FIRST, last) == [
            row for row in rows if not low <= row.id <= high
        ]


@pytest.mark.parametrize("body", [b"", b"x", pack("")[:-1], pack("") + b"x"])
def test_what_is_no_pack_is_not_read_as_one(body: bytes) -> None:
    with pytest.raises(BadPack):
        Unpacker()(body, 0, 1)


def test_lines_that_are_not_in_order_are_not_packed() -> None:
    line = "0" * sum(DIGITS.values())

    with pytest.raises(BadPack, match="not in order"):
        pack("00002" + line[5:] + line)
    with pytest.raises(BadPack, match="too wide"):
        pack(line + "1")
