"""The file of access tokens."""

from pathlib import Path

import pytest

from meterline_sidecar.access.tokens import TokenFile
from meterline_sidecar.errors import ConfigError


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"\xff", b'[{"id":"\xff"}]', b"[" * 5_000]
)
def test_a_damaged_file_is_named_with_what_to_do(
    tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "m.db.tokens"
    path.write_bytes(content)

    with pytest.raises(ConfigError, match="restore it, or delete it"):
        TokenFile(path).all()
