"""Files of events become lines of JSON, each at the number that it has in its file."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from meterline_sidecar.errors import ArchiveFailed
from meterline_sidecar.ingest import event_files
from meterline_sidecar.ingest.event_files import (
    CHUNK_BYTES,
    CHUNK_LINES,
    BadFile,
    EventFile,
    chunks_of,
)

HEAD = b"id,time,subject,quantities.tokens,properties.model\n"


def lines(tmp_path: Path, name: str, content: bytes) -> list[bytes]:
    path = tmp_path / name
    path.write_bytes(content)
    with EventFile(str(path), None) as file:
        return list(file.lines())


def events(tmp_path: Path, content: bytes) -> list[Any]:
    found = lines(tmp_path, "x.csv", content)
    return [json.loads(line) if line else None for line in found]


def test_lines_of_json_pass_as_they_are(tmp_path: Path) -> None:
    content = b'\xef\xbb\xbf{"id": 1}\r\n\n  {"id": 2}'

    assert lines(tmp_path, "x.jsonl", content) == [b'{"id": 1}', b"", b'  {"id": 2}']
    packed = gzip.compress(content)
    assert len(lines(tmp_path, "x.NDJSON.gz", packed)) == 3


def test_a_line_that_is_too_long_is_told_and_not_kept(tmp_path: Path) -> None:
    content = b"x" * 300_000 + b"\n{}\n"

    first, second = lines(tmp_path, "x.jsonl", content)

    assert json.loads(first) == "unreadable: is longer than 65,536 bytes"
    assert second == b"{}"


def test_rows_of_a_table_are_the_same_events(tmp_path: Path) -> None:
    rows = (
        b'a,2026-03-01T08:00:00Z,acct_1,5,"big, ""red"""\r\n\r\nb,1772352000000,,1.5,\n'
    )

    assert events(tmp_path, b"\xef\xbb\xbf" + HEAD + rows) == [
        None,
        {
            "id": "a",
            "time": "2026-03-01T08:00:00Z",
            "subject": "acct_1",
            "quantities": {"tokens": 5},
            "properties": {"model": 'big, "red"'},
        },
        None,
        {"id": "b", "time": 1772352000000, "quantities": {"tokens": "1.5"}},
    ]


def test_a_row_of_several_lines_stands_at_its_first(tmp_path: Path) -> None:
    rows = b'a,1,s,5,"two\nlines"\nb,2,s,6,\nc,3\n'

    first, second, gap, third, short = events(tmp_path, HEAD + rows)

    assert first is gap is None
    assert second["properties"] == {"model": "two\nlines"}
    assert third["id"] == "b"
    assert short == "unreadable: has 2 cells, and the first line 5"


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"id;time;tokens\n1;2;3\n", "between semicolons; save it with commas"),
        (b"id,time\r1,2\r", "ends with a carriage return alone; save it with Unix"),
        (b"id\ttime\n", "between tabs; save it with commas"),
        (b"id,time,tokens\n", "unknown column `tokens`"),
        (b"id,time,propertys.a\n", "did you mean `properties.NAME`|unknown column"),
        (b"id,time,id\n", "column id is there twice"),
        (b"id,subject\n", "must name the columns id and time"),
        (HEAD + b'a,1,"s,5,\n', "line 2"),
        (HEAD + b"a,1,\xff,5,\n", "line 2 is not UTF-8"),
        (HEAD + b"a" * 70_000, "line 2 is longer than 65,536 bytes"),
        (b"\xff\xfeh\x00", "is UTF-16"),
    ],
)
def test_a_table_that_is_none_is_refused_with_the_place(
    tmp_path: Path, content: bytes, why: str
) -> None:
    with pytest.raises(BadFile, match=why):
        lines(tmp_path, "x.csv", content)


def test_a_damaged_file_of_duckdb_is_told_without_our_own_statement(
    tmp_path: Path,
) -> None:
    pytest.importorskip("duckdb")

    with pytest.raises(ArchiveFailed) as raised:
        lines(tmp_path, "x.parquet", b"PAR1xx")

    assert "too small to be a Parquet file" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_what_is_no_file_of_events_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(BadFile, match="write an event a line"):
        lines(tmp_path, "x.json", b'[{"id": 1}]')
    with pytest.raises(BadFile, match="cannot be unpacked"):
        lines(tmp_path, "x.jsonl.gz", gzip.compress(b"{}\n" * 99)[:15])
    (tmp_path / "x.jsonl.gz.txt").touch()
    with pytest.raises(BadFile, match="does not show its format"):
        EventFile(str(tmp_path / "x.jsonl.gz.txt"), None)
    with pytest.raises(BadFile, match="there is no file"):
        EventFile(str(tmp_path / "no-ending"), None)
    with pytest.raises(BadFile, match="there is no file"):
        EventFile(str(tmp_path / "y.csv"), None)
    with pytest.raises(BadFile, match="is a directory"):
        EventFile(str(tmp_path), "csv")
    with pytest.raises(BadFile, match="from a file"), EventFile("-", "parquet") as file:
        file.lines()
    monkeypatch.setattr(event_files, "ZSTD", "no_such_package.zstd")
    with pytest.raises(BadFile, match=r"zstd -dc .* | meterline import -"):
        lines(tmp_path, "x.jsonl.zst", b"")


def test_parquet_is_read_with_its_times_and_decimals(tmp_path: Path) -> None:
    duckdb: Any = pytest.importorskip("duckdb")
    path = tmp_path / "x.parquet"
    duckdb.sql(
        "COPY (SELECT 'a' AS id, TIMESTAMP '2026-03-01 08:00:00' AS time,"
        ' 5 AS "quantities.tokens", 1.50::DECIMAL(9, 2) AS "quantities.gpu",'
        " NULL AS subject)"
        f" TO '{path}' (FORMAT parquet)"
    )

    with EventFile(str(path), None) as file:
        (line,) = file.lines()

    assert json.loads(line) == {
        "id": "a",
        "time": 1772352000000,
        "quantities": {"tokens": 5, "gpu": "1.50"},
    }


def test_chunks_hold_all_lines_in_order_within_their_bounds() -> None:
    given = [b"x" * (n * 7 % 900) for n in range(2 * CHUNK_LINES)] + [
        b"y" * 60_000
    ] * 40

    found = list(chunks_of(given))

    assert b"".join(chunk.text for chunk in found) == b"\n".join(given) + b"\n"
    assert max(len(chunk.text) for chunk in found) <= CHUNK_BYTES + 1
    first = 1
    for chunk in found:
        assert chunk.first_line == first
        assert chunk.text.count(b"\n") <= CHUNK_LINES
        first += chunk.text.count(b"\n")
    assert list(chunks_of([])) == []
