"""Configurations that nobody means: refused in words, soon, and in little memory."""

import time
from pathlib import Path

import pytest

from meterline_sidecar.config.read import read_config
from meterline_sidecar.errors import ConfigError

SECONDS_MAX = 5.0  # it took minutes, or gigabytes

ODD = {
    "a long time zone": (
        '[[customer]]\nid="a"\nsubjects=["x"]\ntime_zone="' + "a" * 5_000 + '"',
        "of 5000 characters",
    ),
    "a NUL in a path": ('[sidecar]\ndatabase="a\\u0000b"', "NUL"),
    "a NUL in an address": ('[sidecar]\nhttp="unix:a\\u0000b"', "NUL"),
    "a device": ('[sidecar]\npricing="/dev/zero"', "not a regular file"),
    "a long port": ('[sidecar]\nhttp="a:' + "9" * 5_000 + '"', "HOST:PORT"),
    "nested arrays": ("x=" + "[" * 30_000 + "]" * 30_000, "too deeply"),
    "a key of many parts": ("a" + ".a" * 30_000 + "=1", "too deeply"),
    "a table of many parts": ("[a" + ' . "b c"' * 30_000 + "]", "too deeply"),
    "many unknown keys": (
        "".join(f"k{i}=1\n" for i in range(20_000)),
        "19980 more unknown keys",
    ),
    "a long text": ('[sidecar]\nhttp="' + "x" * 1_000_000 + '"', "HOST:PORT"),
}


@pytest.mark.parametrize("name", ODD)
def test_an_odd_file_is_refused_soon(name: str, tmp_path: Path) -> None:
    text, expected = ODD[name]
    file = tmp_path / "meterline.toml"
    file.write_text(text)
    began_s = time.process_time()

    with pytest.raises(ConfigError, match=expected) as refused:
        read_config(file, environment={})

    assert time.process_time() - began_s < SECONDS_MAX
    assert len(str(refused.value)) < 10_000
