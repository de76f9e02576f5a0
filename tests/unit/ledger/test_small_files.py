"""The small files beside a ledger: whatever is damaged in one is said, or it is none."""

from pathlib import Path

import pytest

from meterline_sidecar.files import LedgerFiles
from meterline_sidecar.ledger.backup import last_backup
from meterline_sidecar.ledger.chain import ChainFiles, HeadDamaged

NESTED = b'{"x":' + b"[" * 5_000 + b"]" * 5_000 + b"}"
DAMAGED = [
    b"",
    b"\0" * 60,
    b"[]",
    b'{"batch_id":1,"ma',
    b"\xff",
    b'{"file":"\xff"}',
    NESTED,
]


@pytest.mark.parametrize("content", DAMAGED)
def test_a_damaged_receipt_is_none(tmp_path: Path, content: bytes) -> None:
    database = tmp_path / "m.db"
    LedgerFiles(database).receipt.write_bytes(content)

    assert last_backup(database) is None


@pytest.mark.parametrize("content", DAMAGED)
def test_a_damaged_head_is_said_to_be_damaged(tmp_path: Path, content: bytes) -> None:
    chain = ChainFiles(tmp_path / "m.db")
    chain.head_path.write_bytes(content)

    with pytest.raises(HeadDamaged, match="is damaged"):
        chain.head()
