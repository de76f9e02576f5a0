"""Files with very many customers: read apart, packed, or only for the rest."""

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meterline_sidecar.config import apart
from meterline_sidecar.config.apart import read_files
from meterline_sidecar.config.customers import PER_PART, PackedCustomers
from meterline_sidecar.config.cut import without_customers
from meterline_sidecar.config.read import read_config, read_settings
from meterline_sidecar.config.shape import Customer
from meterline_sidecar.errors import ConfigError

REST = """
[sidecar]
http = "127.0.0.1:4321"

[[meter]]
name = "calls"
aggregation = "count"
"""
CUSTOMERS = """
[[customer]]
id = "acme"
subjects = [
  "a",
  "b",
]
starts = 2026-11-01
address = ["[[meter]]", "x"]

  [[ customer ]]
id = "beta"
"""
GRACE = """
[[grace]]
customer = "acme"
hours = 2
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "meterline.toml"
    path.write_text(CUSTOMERS + REST + GRACE)
    return path


def test_a_large_file_is_read_apart_and_says_the_same(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(apart, "APART_BYTES", 10)

    found, expected = read_files(file), read_config(file)

    assert isinstance(found.customers, PackedCustomers)
    assert tuple(found.customers) == expected.customers
    assert found.with_customers(()) == expected.with_customers(())


def test_mistakes_in_a_large_file_are_told_as_in_a_small_one(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.write_text(CUSTOMERS.replace("starts =", "start ="))
    with pytest.raises(ConfigError) as expected:
        read_config(file)
    monkeypatch.setattr(apart, "APART_BYTES", 10)

    with pytest.raises(ConfigError) as error:
        read_files(file)

    assert error.value.problems == expected.value.problems


def test_a_process_that_cannot_read_to_the_end_is_told(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(command: list[str], **_: object) -> subprocess.CompletedProcess[bytes]:
        assert command[0] == sys.executable
        return subprocess.CompletedProcess(command, -9, b"", b"")

    monkeypatch.setattr(apart, "APART_BYTES", 10)
    monkeypatch.setattr(subprocess, "run", killed)

    with pytest.raises(ConfigError, match="ended with -9"):
        read_files(file)


@given(st.integers(0, 2 * PER_PART + 1), st.integers(-5, 5), st.integers(1, 3))
def test_packed_customers_are_as_a_list_of_them(n: int, start: int, step: int) -> None:
    plain = [Customer(id=f"c{i}", name=f"{i}", subjects=("x",) * i) for i in range(n)]

    packed = PackedCustomers.of(plain)

    assert list(packed) == plain
    assert len(packed) == n
    assert packed[start::step] == plain[start::step]
    if plain:
        assert packed[-1] == plain[-1]


def test_settings_are_read_without_the_customers(file: Path) -> None:
    found = read_settings(file)

    assert found.with_customers(()) == read_config(file).with_customers(())
    assert not found.customers


def test_mistakes_of_customers_do_not_matter_for_settings(file: Path) -> None:
    file.write_text(REST + CUSTOMERS.replace("starts =", "start ="))

    assert read_settings(file).sidecar.http == "127.0.0.1:4321"


def test_what_is_wrong_with_settings_is_told_with_all_else(file: Path) -> None:
    file.write_text(
        REST.replace("http", "htp") + CUSTOMERS.replace("starts =", "start =")
    )

    with pytest.raises(ConfigError, match=r"(?s)htp.*start"):
        read_settings(file)


@pytest.mark.parametrize("mark", ['"""', "'''"])
def test_a_text_of_several_lines_may_look_like_a_customer(mark: str) -> None:
    text = f"[seller]\nname = {mark}\n[[customer]]\n{mark}\n"

    assert without_customers(text) == text


def test_what_is_left_keeps_its_lines() -> None:
    text = CUSTOMERS + REST

    left = without_customers(text)

    assert left.count("\n") == text.count("\n")
    assert left.strip() == REST.strip()
