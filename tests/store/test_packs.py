"""Events are read from packs as they were, whatever numbers they hold."""

import zlib
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from meterline_sidecar.store import shapes
from meterline_sidecar.store.columns import Columns
from meterline_sidecar.store.edge import packed
from meterline_sidecar.store.edge.alike import alike_in
from meterline_sidecar.store.edge.by_column import columns_between, columns_of
from meterline_sidecar.store.edge.events import add_events
from meterline_sidecar.store.edge.pack_at_once import pack_of, packable_of
from meterline_sidecar.store.edge.packed import (
    OWN_FLAGS,
    TEXT_CHARS_MAX,
    add_pack,
    columns_to_merge,
    columns_to_pack,
    cut,
    end_of_run,
    events_between,
    n_packed,
    plain_columns,
    put_pack,
    take_out,
)
from meterline_sidecar.store.edge.stored import STORED, StoredEvent
from meterline_sidecar.store.edge.usage import events_in, span_after
from meterline_sidecar.store.pack_columns import BadPack, compact
from meterline_sidecar.store.packs import (
    DIGITS,
    IDS_MAX,
    NAMES,
    TEXTS,
    WIDTH,
    Pack,
    pack,
    unpack,
)
from meterline_sidecar.store.port import Tx
from meterline_sidecar.store.sqlite.driver import SqliteDatabase

FIRST: Final = 1_000_000


def numbers(name: str) -> st.SearchStrategy[int]:
    """Return numbers of a column, some of them just too long for a pack."""
    longest = 10 ** DIGITS[name]
    return st.one_of(
        st.integers(0, 999), st.sampled_from([longest - 1, longest, longest + 1])
    )


ANY_TEXT: Final = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
SAID: Final = st.one_of(
    st.none(),
    st.builds('{{"tokens":{},"%d":"{}"}}'.format, st.integers(0), st.integers(0, 9)),
    st.sampled_from(['{"all":{"a":"\\u0000\\""}}', "", "007", "x" * TEXT_CHARS_MAX]),
    ANY_TEXT,
)
"""Texts, some of which are alike, and some that no pack can hold."""
EVENTS: Final = st.lists(
    st.tuples(*(numbers(name) for name in STORED.names[1:12]), SAID, SAID), max_size=12
)


NOTHING: Final[list[tuple[int, ...]]] = [() for _ in DIGITS]


def in_lines(columns: Sequence[Sequence[int]]) -> bytes:
    """Return a pack in the earlier form: lines of digits, all first ones first."""
    form = "".join(f"%0{digits}d" for digits in DIGITS.values())
    text = "".join(form % row for row in zip(*columns, strict=True))
    places = "".join(text[place::WIDTH] for place in range(WIDTH))
    return zlib.compress(places.encode(), 1)


@pytest.fixture
async def file(tmp_path: Path) -> AsyncGenerator[SqliteDatabase]:
    database = await SqliteDatabase.open(tmp_path / "meterline.db")
    yield database
    await database.close()


async def read(
    tx: Tx, first: int, last: int, *, subjects: Sequence[int] | None = None
) -> list[StoredEvent]:
    source = await events_between(tx, first, last, subjects=subjects)
    rows = await tx.fetch_all(
        f"SELECT {Columns(STORED.names).listed} FROM {source.sql} e"
        " WHERE id BETWEEN ? AND ? ORDER BY id",
        (*source.given, first, last),
    )
    found = [StoredEvent(*row) for row in rows]
    return [row for row in found if subjects is None or row.subject_id in subjects]


async def by_column(tx: Tx, first: int, last: int, **only: Any) -> list[StoredEvent]:
    found = await columns_between(tx, first, last, columns=STORED.names, **only)
    return [StoredEvent(*row) for row in zip(*found, strict=True)]


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
    made = data.draw(st.sampled_from([pack, in_columns, in_lines]))
    if made is not pack:
        rows = [row._replace(quantities=None, properties=None) for row in rows]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shapes, "ALIKE_MIN", 2)
        await packed_as_they_were(file, rows, made, (low, high))


async def packed_as_they_were(
    file: SqliteDatabase, rows: list[StoredEvent], made: Any, ids: tuple[int, int]
) -> None:
    last = FIRST + IDS_MAX - 1
    low, high = ids
    async with file.transaction() as tx:
        await tx.execute("DELETE FROM events")
        await tx.execute("DELETE FROM packed_events")
        await add_events(tx, rows)
        columns, texts = await columns_to_pack(tx, FIRST, last)
        n_plain = len(columns[0])
        if rows:
            told = list(zip(*(row[1:] for row in rows), strict=True))
            wanted = packable_of(told, but_last=False)
            places, at_once = pack_of(told, wanted)
            assert [rows[place].id - FIRST for place in places] == list(columns[0])
            assert list(packable_of(told, but_last=True)) == [
                place for place in wanted if place < len(rows) - 1
            ]
            read_anew = Pack(at_once)
            for name, column in zip(NAMES[1:], columns[1:], strict=True):
                assert list(read_anew[name]) == list(column)
            assert [read_anew.texts(name) for name in TEXTS] == [*map(list, texts)]
        body = pack(columns, texts) if made is pack else made(columns)
        deleted = await put_pack(tx, FIRST, last, events=n_plain, body=body)

        assert deleted == n_plain == await n_packed(tx)
        assert await read(tx, FIRST, last) == rows
        assert await read(tx, low, high) == [r for r in rows if low <= r.id <= high]
        assert await by_column(tx, low, high) == [
            row for row in rows if low <= row.id <= high
        ]
        assert await by_column(tx, low, high, subjects=(1, 7)) == [
            row for row in rows if low <= row.id <= high and row.subject_id in {1, 7}
        ]
        all_ids = [row.id for row in rows]
        assert (
            await by_column(tx, FIRST, last, without=frozenset(all_ids[::2]))
            == rows[1::2]
        )
        some = await columns_of(tx, [FIRST - 1, *all_ids[1::2]], columns=STORED.names)
        assert [StoredEvent(*row) for row in zip(*some, strict=True)] == rows[1::2]
        assert await read(tx, FIRST, last, subjects=(1, 7)) == [
            row for row in rows if row.subject_id in {1, 7}
        ]
        await cut(tx, low, high)
        assert await read(tx, FIRST, last) == rows
        assert await take_out(tx, low, high) == len(
            [row for row in rows if low <= row.id <= high]
        )
        assert await read(tx, FIRST, last) == [
            row for row in rows if not low <= row.id <= high
        ]


ALIKE: Final = st.lists(
    st.tuples(
        *(st.sampled_from((name, name + 7)) for name in range(7)),
        *(st.integers(0, 1), st.just(0), st.integers(0, 1)),
        *(
            st.sampled_from((0, 0, 2, 1 << 16)),
            st.sampled_from((None, None, '{"a":1}')),
            st.none(),
        ),
    ),
    max_size=30,
)


@settings(
    max_examples=25,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    deadline=None,
)
@given(events=ALIKE, data=st.data())
async def test_events_are_counted_from_packs_as_from_rows(
    file: SqliteDatabase, events: list[tuple[int, ...]], data: st.DataObject
) -> None:
    rows = [StoredEvent(FIRST + i, *row) for i, row in enumerate(events)]  # type: ignore[arg-type]
    looked_at = data.draw(st.sets(st.sampled_from(("bytes_out", "quantities"))))
    added_up = data.draw(st.sets(st.sampled_from(("bytes_in", "bytes_out"))))
    n_before, limit = data.draw(st.integers(0, 9)), data.draw(st.integers(1, 40))

    async def counted(tx: Tx) -> list[object]:
        span = await span_after(tx, FIRST - 1 + n_before, limit=limit)
        alike = await alike_in(
            tx,
            span,
            skip_flags=1 << 16,
            looked_at=looked_at,
            added_up=added_up,
            window_ms=5,
        )
        found = sorted(event._replace(time_ms=event.time_ms // 5) for event in alike)
        return [span, found, *await events_in(tx, span, skip_flags=2, only_flags=0)]

    async with file.transaction() as tx:
        await tx.execute("DELETE FROM events")
        await tx.execute("DELETE FROM packed_events")
        await add_events(tx, rows)
        before = await counted(tx)
        for start in range(0, len(rows), 9):
            first, last = FIRST + start, FIRST + start + 8 - start % 2
            columns, texts = await columns_to_pack(tx, first, last)
            await put_pack(
                tx, first, last, events=len(columns[0]), body=pack(columns, texts)
            )

        assert await counted(tx) == before


SIMPLE: Final = st.tuples(
    *[st.integers(0, 1)] * 10,
    st.sampled_from([0, 0, 0, 1, OWN_FLAGS - 1, OWN_FLAGS]),
)


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    deadline=None,
)
@example(kinds=[(0,) * 11], which=[0] * 9, missing=None, text=(1, "properties"))
@given(
    kinds=st.lists(SIMPLE, min_size=1, max_size=3),
    which=st.lists(st.integers(0, 2), min_size=1, max_size=9),
    missing=st.none() | st.integers(0, 8),
    text=st.none() | st.tuples(st.integers(0, 8), st.sampled_from(TEXTS)),
)
async def test_numbers_are_read_at_once_of_runs_that_are_packed_whole_without_texts(
    file: SqliteDatabase,
    kinds: list[tuple[Any, ...]],
    which: list[int],
    missing: int | None,
    text: tuple[int, str] | None,
) -> None:
    rows = [
        StoredEvent._make((FIRST + i, *kinds[kind % len(kinds)], None, None))
        for i, kind in enumerate(which)
    ]
    if text is not None:
        place = text[0] % len(rows)
        said: dict[str, Any] = {text[1]: "{}"}
        rows[place] = rows[place]._replace(**said)
    last = FIRST + len(rows) - 1
    if missing is not None:
        del rows[missing % len(rows)]
    async with file.transaction() as tx:
        await tx.execute("DELETE FROM events")
        await add_events(tx, rows)

        plain = await plain_columns(tx, FIRST, last)
        columns, _ = await columns_to_pack(tx, FIRST, last)

    is_whole = len(columns[0]) == last - FIRST + 1
    if not is_whole or text is not None:
        assert plain is None
    else:
        assert plain is not None
        assert list(map(list, plain)) == list(map(list, columns))


async def test_numbers_of_a_run_take_no_more_than_8_bytes_each(
    file: SqliteDatabase,
) -> None:
    said = '{"tokens":7}'
    rows = [
        StoredEvent(i, 1, i, 10**12 + i, 0, 1_000 + i, 9, 200, i * 999, 0, i, 0, *of)
        for i, of in zip(range(1, 33), [(said, None)] * 32, strict=True)
    ]
    turned = [list(column) for column in zip(*rows, strict=True)][1:]
    async with file.transaction() as tx:
        await add_events(tx, [rows[15], rows[31]])
        first, _ = await columns_to_pack(tx, 1, 32)
        for begin, end in ((1, 15), (17, 31)):
            part = [column[begin - 1 : end] for column in turned]
            _, body = pack_of(part, range(15))
            await add_pack(tx, begin, end, events=15, body=body)
        merged = await columns_to_merge(tx, 1, 32)

    assert merged is not None
    numbers, texts = merged
    for one in (first, numbers):
        assert all(memoryview(column).nbytes <= 8 * len(column) for column in one)  # type: ignore[arg-type]
    found = zip(*numbers, *texts, strict=True)
    assert [StoredEvent(of[0] + 1, *of[1:]) for of in found] == rows


@pytest.mark.parametrize(
    ("largest", "size"), [(0, 1), (255, 1), (256, 4), (2**32 - 1, 4), (2**32, 8)]
)
def test_numbers_are_kept_in_the_bytes_they_need(largest: int, size: int) -> None:
    for those in ([0, largest], range(largest, largest + 1)):
        kept = compact(those)
        assert list(kept) == list(those)
        assert memoryview(kept).itemsize == size
        assert compact(kept) is kept
    for one in (-1, 2**64):
        with pytest.raises(OverflowError):
            compact([largest, one])


def test_only_what_can_be_packed_is_packed_at_once() -> None:
    flags, texts = (0, OWN_FLAGS, 0, 1), (None, "a", "b\0", None)
    columns: list[tuple[Any, ...]] = [(7,) * 4] * 10 + [
        flags,
        texts,
        (None, None, "c", "d"),
    ]
    assert list(packable_of(columns, but_last=False)) == [0, 3]
    assert list(packable_of(columns, but_last=True)) == [0]
    # As many of each are nothing, and none of one event.
    columns = [(7,) * 2] * 10 + [(0, OWN_FLAGS), (None, "a"), ("b", None)]
    assert list(packable_of(columns, but_last=False)) == [0]
    assert Pack(pack_of(columns, [0])[1]).texts("properties") == ["b"]


async def test_a_run_is_shorter_where_texts_are_long(
    file: SqliteDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packed, "RUN_CHARS_MAX", 1_000)
    numbers = (0,) * 11
    async with file.transaction() as tx:
        rows = [(i, *numbers, None, "x" * 100 * (i >= 64)) for i in range(1, 129)]
        await add_events(tx, rows)

        assert await end_of_run(tx, 1, 40) == 40
        assert await end_of_run(tx, 1, 128) == 64
        assert await end_of_run(tx, 65, 128) == 72
        await tx.execute("UPDATE events SET quantities = properties || properties")
        await tx.execute("UPDATE events SET properties = quantities || quantities")
        monkeypatch.setattr(packed, "RUN_CHARS_MAX", 10)
        assert await end_of_run(tx, 65, 128) == 65


@pytest.mark.parametrize(
    "body",
    [
        *(
            b"",
            b"x",
            zlib.compress(b"1"),
            zlib.compress(b"x" * WIDTH),
            pack(NOTHING)[:-1],
        ),
        *(pack(NOTHING) + b"x", in_lines(NOTHING)[:-1], in_lines(NOTHING) + b"x"),
        msgspec.msgpack.encode((1, [(1, zlib.compress(b""))] * len(DIGITS))),
        msgspec.msgpack.encode((1, [(1, zlib.compress(b"12"))] * len(DIGITS))),
        msgspec.msgpack.encode((1, [(9, zlib.compress(b"1" * 9))] * len(DIGITS))),
        msgspec.msgpack.encode((1, [(1, zlib.compress(b"1"))])),
        msgspec.msgpack.encode((1 << 60, [(0, zlib.compress(b""))] * len(DIGITS))),
    ],
)
def test_what_is_no_pack_is_not_read_as_one(body: bytes) -> None:
    with pytest.raises(BadPack):
        unpack(body, 0, 1, "id,seq", None)


def in_columns(columns: Sequence[Sequence[int]]) -> bytes:
    """Return a pack in the form before: also of columns of one number."""
    written = [
        (
            8,
            zlib.compress(
                b"".join(
                    n.to_bytes(8, "little")[i : i + 1] for i in range(8) for n in column
                )
            ),
        )
        for column in columns
    ]
    return msgspec.msgpack.encode((len(columns[0]), written))


def with_texts_column(kinds: Any, places: bytes, *numbers: bytes) -> bytes:
    """Return a pack of two events of which the properties are as given."""
    count, columns, _ = msgspec.msgpack.decode(pack([(0, 1)] * len(DIGITS)))
    written = [
        zlib.compress(msgspec.msgpack.encode(kinds)),
        (1, zlib.compress(places)),
        [(1, zlib.compress(column)) for column in numbers],
    ]
    return msgspec.msgpack.encode((count, columns, [written, written]))


def test_texts_that_are_damaged_are_not_read() -> None:
    good = with_texts_column([["a"], ["b", ""]], b"\1\0", b"\7")
    assert msgspec.json.decode(unpack(good, 0, 1, "id,properties", None)) == [
        ["00000", "b7"],
        ["00001", "a"],
    ]
    for bad in (
        with_texts_column([["a"], ["b", ""]], b"\1\1", b"\7"),
        with_texts_column([["a"], ["b", ""]], b"\1\0", b"\7\7"),
        with_texts_column([["a"], ["b", ""]], b"\1\0", b"\7", b"\7"),
        with_texts_column([["a"], ["b", ""]], b"\1\0"),
        with_texts_column([["a"]], b"\1\0"),
        with_texts_column([["a"]], b"\0"),
        with_texts_column([[1]], b"\0\0"),
        with_texts_column("a", b"\0\0"),
        good[:-1],
    ):
        with pytest.raises(BadPack):
            unpack(bad, 0, 1, "id,properties", None)


def test_events_that_are_not_in_order_are_not_packed() -> None:
    def columns(*ids: int) -> list[tuple[int, ...]]:
        return [ids, *[(0,) * len(ids)] * (len(DIGITS) - 1)]

    with pytest.raises(BadPack, match="not in order"):
        pack(columns(2, 1))
    with pytest.raises(BadPack, match="too many"):
        pack(columns(*range(IDS_MAX + 1)))
    with pytest.raises(BadPack, match="not fit"):
        pack([(1,), (-1,), *columns(1)[2:]])
