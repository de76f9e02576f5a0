"""A ledger whose files are taken away while it is open."""

from pathlib import Path

import pytest

from meterline_sidecar.errors import DatabaseCorrupt, DiskFailed, LedgerGone
from meterline_sidecar.ledger.chain import ChainFiles
from meterline_sidecar.ledger.rescue import rescued, rescuing
from meterline_sidecar.store.sqlite.driver import SqliteDatabase


@pytest.mark.parametrize("kind", [DiskFailed, DatabaseCorrupt])
@pytest.mark.parametrize("is_taken", [False, True])
async def test_whoever_meets_it_first_says_what_happened(
    tmp_path: Path, kind: type[Exception], is_taken: bool
) -> None:
    path = tmp_path / "meterline.db"
    ledger = await SqliteDatabase.open(path)

    async def meet() -> None:
        async with rescuing(ledger, path, ChainFiles(path)):
            if is_taken:
                path.unlink()
            raise kind("disk I/O error")

    try:
        with pytest.raises((LedgerGone, kind)) as caught:
            await meet()
    finally:
        await ledger.close()

    assert isinstance(caught.value, LedgerGone) == is_taken
    assert ("was deleted while the sidecar ran" in str(caught.value)) == is_taken
    assert rescued(path).exists() == is_taken, caught.value
