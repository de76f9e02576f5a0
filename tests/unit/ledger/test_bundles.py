"""What a file of the archive holds is read as it was written, whatever stands in it."""

import gzip
import re
import tempfile
import tracemalloc
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Final

import duckdb
import pytest

from meterline.events import UNCOUNTED, Flag
from meterline_sidecar.errors import ArchiveFailed
from meterline_sidecar.ledger import bundle_lines, bundle_parquet
from meterline_sidecar.ledger.archived import LINES, PARQUET, Form, form_of
from meterline_sidecar.ledger.bundle import Bundle, Stored
from meterline_sidecar.ledger.chain import GENESIS, batch_mac
from meterline_sidecar.store.edge import parquet
from meterline_sidecar.store.edge.events import BatchRow, EventRow, LossRow

KEY: Final = bytes(32)
MOST: Final = 2**63 - 1
TEXTS: Final = "a\0b\ufeff\uffff\U0001f600\u2028\x85\r\n\t\"\\' ; NULL"
EVENTS: Final = [
    EventRow(
        *(1, MOST, 2, TEXTS, "GET", TEXTS, 599, MOST, MOST, MOST, 2**31),
        quantities='{"t":"1.50"}',
        properties='{"all":{"m":"\\u0000"}}',
    ),
    EventRow(2, 0, 0, None, "", "", 0, 0, 0, 0, 0, None),
    EventRow(3, 0, 0, "", "", "null", 0, 0, 0, 0, 0, "{}"),
]
LOSSES: Final = [
    LossRow(4, 2**62, TEXTS, bytes(range(256)) * 4_000),
    LossRow(2**62 + 1, MOST, "lost", None),
]


def bundle_of(*sizes: tuple[int, int]) -> Bundle:
    """Return batches of so many events and losses."""
    found: list[Stored] = []
    event_id, loss_id, mac = 101, 11, GENESIS
    for number, (n_events, n_losses) in enumerate(sizes, 7):
        events, losses = EVENTS[:n_events], LOSSES[:n_losses]
        batch = BatchRow(number, 0, 1, 9, event_id, n_events, loss_id, n_losses, 5)
        mac = batch_mac(
            KEY, mac, batch=batch, producer="p" * 32, events=events, losses=losses
        )
        found.append(Stored(batch, "p" * 32, mac, events, losses))
        event_id, loss_id = event_id + n_events, loss_id + n_losses
    return Bundle(GENESIS, found)


@pytest.mark.parametrize("form", [LINES, PARQUET], ids=["lines", "parquet"])
@pytest.mark.parametrize("sizes", [((3, 2),), ((2, 0), (0, 1), (3, 2))])
def test_a_file_is_read_as_it_was_written(
    form: Form, sizes: tuple[tuple[int, int], ...]
) -> None:
    bundle = bundle_of(*sizes)
    content = form.encode(bundle)

    assert form.decode(content) == bundle
    assert form.encode(bundle) == content
    assert bundle.wrong(KEY) is None


@pytest.mark.parametrize("form", [LINES, PARQUET], ids=["lines", "parquet"])
def test_a_file_that_was_cut_anywhere_is_none(form: Form) -> None:
    content = form.encode(bundle_of((3, 2), (1, 0)))

    for end in range(0, len(content), max(1, len(content) // 9)):
        with pytest.raises(ArchiveFailed):
            form.decode(content[:end])


PAGE: Final = (Path(__file__).parents[3] / "docs/archive.md").read_text("utf-8")


def test_the_columns_are_those_that_the_page_describes() -> None:
    _, _, rest = PAGE.partition("| column | content |")
    table, _, _ = rest.partition("\n\n")
    named = [
        name
        for row in table.splitlines()[2:]
        for name in re.findall("`(.*?)`", row.split("|")[1])
    ]

    assert named == list(bundle_parquet.COLUMNS)
    assert f"`flags & {UNCOUNTED} = 0`" in PAGE
    assert f"bit {Flag.REPEATED}." in PAGE


def test_the_query_of_the_page_adds_up_a_file(tmp_path: Path) -> None:
    query = PAGE.partition("```sql\n")[2].partition("```")[0]
    (first, *_) = bundle_of((1, 0)).batches
    hour_ms = 3_600_000
    events = [
        EventRow(
            seq,
            hour_ms * hour + 59_999,
            *(0, "acct_1", "GET", "/", 200, 1, 0, 0, flags),
            quantities=quantities,
        )
        for seq, (hour, flags, quantities) in enumerate(
            [
                (0, 0, '{"tokens":9007199254740993}'),
                (0, 0, '{"tokens":"0.000000000001"}'),
                (1, 0, None),
                (1, int(Flag.DUPLICATE), '{"tokens":7}'),
            ],
            1,
        )
    ]
    batch = first.batch._replace(events=len(events))
    bundle = Bundle(GENESIS, [first._replace(batch=batch, events=events)])
    (tmp_path / "events.parquet").write_bytes(PARQUET.encode(bundle))

    (found,) = query.split(";")[:1]
    here = found.replace("/srv/meterline/archive", str(tmp_path))
    rows = duckdb.connect().execute(here).fetchall()

    one_o_clock = datetime(1970, 1, 1, 1)  # noqa: DTZ001 - as DuckDB has it, in UTC
    assert rows == [
        (
            one_o_clock.replace(hour=0),
            "acct_1",
            2,
            Decimal("9007199254740993.000000000001"),
        ),
        (one_o_clock, "acct_1", 1, None),
    ]


@pytest.mark.parametrize("missing", range(9))
def test_lines_that_do_not_make_a_whole_are_refused(missing: int) -> None:
    text = gzip.decompress(bundle_lines.encode(bundle_of((3, 1), (0, 1))))
    lines = text.splitlines(keepends=True)
    assert len(lines) == 8
    # One is left out; or, at last, one stands there twice.
    changed = lines[:missing] + lines[missing + 1 :] if missing < 8 else lines * 2

    with pytest.raises(ArchiveFailed):
        bundle_lines.decode(gzip.compress(b"".join(changed)))


@pytest.mark.parametrize(
    "line", [b"{}", b"[" * 100_000, b'{"is":"meterline archive","form":2}', b"\xff"]
)
def test_what_is_no_line_of_ours_is_refused(line: bytes) -> None:
    with pytest.raises(ArchiveFailed):
        bundle_lines.decode(gzip.compress(line))


def test_events_in_another_place_are_wrong() -> None:
    one, other = bundle_of((3, 0), (3, 0)).batches
    moved = other._replace(batch=other.batch._replace(first_event_id=999))

    assert Bundle(GENESIS, [one, moved]).wrong(KEY) is not None
    assert Bundle(GENESIS, [one]).wrong(bytes(31) + b"x") is not None
    assert Bundle(one.mac, [other]).wrong(KEY) is None
    assert Bundle(GENESIS, [other]).wrong(KEY) is not None


def test_the_span_is_that_of_what_counts() -> None:
    held = EVENTS[0]._replace(flags=65536)
    stored = bundle_of((3, 0)).batches[0]

    assert Bundle(GENESIS, [stored]).span == (0, MOST + 1)
    assert Bundle(GENESIS, [stored._replace(events=[held])]).span == (0, 0)


def test_a_file_of_another_form_is_told() -> None:
    with pytest.raises(ArchiveFailed, match="does not know"):
        form_of("events.zip")


def test_without_the_extra_parquet_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(parquet, "PACKAGE", "no_such_package")

    with pytest.raises(ArchiveFailed, match=r"meterline\[sidecar,archive\]"):
        PARQUET.decode(b"")


def test_a_little_file_that_says_very_much_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bundle_lines, "TEXT_BYTES_MAX", 1 << 20)
    bomb = gzip.compress(bytes(64 << 20))

    tracemalloc.start()
    with pytest.raises(ArchiveFailed, match="larger than any file"):
        bundle_lines.decode(bomb)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert most < 8 << 20


def test_parquet_without_a_directory_for_temporary_files_says_what_it_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = bundle_of((3, 1))
    content = PARQUET.encode(bundle)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))

    for convert in (lambda: PARQUET.encode(bundle), lambda: PARQUET.decode(content)):
        with pytest.raises(
            ArchiveFailed, match=r"directory for temporary files.*No such"
        ):
            convert()
