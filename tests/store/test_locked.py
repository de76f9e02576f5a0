"""A ledger that another program holds."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from meterline_sidecar.errors import MeterlineError
from meterline_sidecar.store.sqlite.errors import translated


def test_a_file_that_another_program_holds_is_told_with_what_to_do(
    tmp_path: Path,
) -> None:
    path = tmp_path / "ledger.db"
    with (
        closing(sqlite3.connect(path, isolation_level=None)) as other,
        closing(sqlite3.connect(path, timeout=0)) as ours,
    ):
        other.execute("BEGIN EXCLUSIVE")

        with (
            pytest.raises(MeterlineError, match="locked: another program holds it"),
            translated(path),
        ):
            ours.execute("CREATE TABLE events (id INTEGER)")
