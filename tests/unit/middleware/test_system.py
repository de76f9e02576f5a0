"""Waiting for the disk where greenlets stand for threads."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from meterline import system


class Gevent:
    """What is asked of gevent and its patches: a pool of threads that wait."""

    def __init__(self, *, is_patched: bool) -> None:
        self.waited: list[str] = []
        self.threadpool = self
        self._is_patched = is_patched

    def is_module_patched(self, name: str) -> bool:
        return self._is_patched and name == "threading"

    def get_hub(self) -> "Gevent":
        return self

    def apply(self, wait: Callable[..., Any], given: tuple[int, ...]) -> None:
        self.waited.append(wait.__name__)
        wait(*given)


@pytest.fixture(params=[True, False])
def gevent(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Gevent:
    gevent = Gevent(is_patched=request.param)
    monkeypatch.setitem(sys.modules, "gevent", gevent)
    monkeypatch.setitem(sys.modules, "gevent.monkey", gevent)
    return gevent


def test_where_threads_are_greenlets_another_one_waits_for_the_disk(
    tmp_path: Path, gevent: Gevent
) -> None:
    fd = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)

    system.force(fd)
    os.close(fd)
    system.force_directory(tmp_path)

    is_patched = gevent.is_module_patched("threading")
    assert gevent.waited == (["fdatasync", "fsync"] if is_patched else [])


@pytest.mark.usefixtures("gevent")
def test_what_the_disk_says_comes_back_from_the_other_thread() -> None:
    with pytest.raises(OSError, match="Bad file descriptor"):
        system.force(1_000_000)  # more than may be open
