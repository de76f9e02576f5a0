"""Files that somebody named: read when they are what they should be, refused in words."""

import os
from pathlib import Path

import pytest

from meterline_sidecar.small_file import read_small_file


def test_a_file_is_read_up_to_its_limit(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"12345")

    assert read_small_file(file, bytes_max=5) == b"12345"
    with pytest.raises(OSError, match="larger than 4 bytes"):
        read_small_file(file, bytes_max=4)


def test_what_has_no_end_or_would_wait_is_no_file(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)

    for path in (pipe, Path("/dev/zero"), Path("/dev/full")):
        with pytest.raises(OSError, match="not a regular file"):
            read_small_file(path, bytes_max=1 << 20)
    with pytest.raises(OSError, match="directory"):
        read_small_file(tmp_path, bytes_max=1)


def test_a_path_with_a_nul_is_refused_like_any_other() -> None:
    with pytest.raises(OSError, match="NUL"):
        read_small_file(Path("a\0b"), bytes_max=1)
