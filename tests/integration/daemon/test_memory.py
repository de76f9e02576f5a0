"""What a sidecar does not keep in memory."""

import gc
import subprocess
import sys
import weakref
from pathlib import Path
from typing import Final

from meterline_sidecar.access.tokens import TokenFile
from meterline_sidecar.config.customers import PackedCustomers
from meterline_sidecar.config.read import read_config
from meterline_sidecar.daemon.assemble import open_parts
from meterline_sidecar.daemon.run import database_lock
from meterline_sidecar.files import LedgerFiles
from tests.clock import FakeClock
from tests.producer import Connection, batch, event
from tests.sidecar_process import METERLINE, PRICING, SIDECAR, SidecarProcess

HEAP_BYTES: Final = 64 << 20
"""What the C library of GNU reserves for the heap of a thread, at a multiple of it."""
ALL_NEED: Final = {
    *("meterline", "meterline_pricing", "meterline_sidecar", "msgspec"),
    *("aiosqlite", "anyio", "apscheduler", "click", "h11", "markupsafe", "starlette"),
    *("typing_extensions", "tzlocal", "uvicorn"),
}
"""The packages, besides Python's own, that a sidecar has loaded whatever it is for."""
TRIED: Final = {
    *("a2wsgi", "multipart", "python_multipart", "sniffio", "watchfiles"),
    "org",  # of Jython, which `pickle` looks for
}
"""What some of those look for, and have loaded where it is installed."""
LATER: Final = {"meterline_sidecar.stripe.api", "meterline_sidecar.web.exposition"}
"""Modules of ours that load others at their first use."""
GUARD_BYTES_MAX: Final = 1 << 20  # before a thread's stack, which is reserved as well


async def test_customers_of_the_files_are_kept_no_longer_than_until_they_are_agreed(
    tmp_path: Path,
) -> None:
    (tmp_path / "meterline.toml").write_text(SIDECAR + METERLINE)
    (tmp_path / "pricing.toml").write_text(PRICING)
    config = read_config(tmp_path / "meterline.toml", environment={})
    config = config.with_customers(PackedCustomers.of(config.customers))
    kept = weakref.ref(config.customers)
    tokens = TokenFile(LedgerFiles(config.sidecar.database).tokens)
    fatal: list[BaseException] = []

    with database_lock(config):
        async with open_parts(
            config, clock=FakeClock(), tokens=tokens, on_fatal=fatal.append
        ) as parts:
            config = parts.config
            gc.collect()
            n_customers = len(parts.customers)
            is_kept = kept() is not None

    assert n_customers > 0
    assert not is_kept
    assert fatal == []


def test_all_threads_share_one_heap(tmp_path: Path) -> None:
    with SidecarProcess(tmp_path) as sidecar:
        sidecar.get("/status")
        threads = list(Path(f"/proc/{sidecar.pid}/task").iterdir())
        maps = Path(f"/proc/{sidecar.pid}/maps").read_text()

    assert len(threads) > 1
    assert heaps_of_threads(maps) == []


async def test_what_only_some_need_is_not_loaded_by_a_sidecar_that_takes_in_events(
    tmp_path: Path,
) -> None:
    told = {"PYTHONPROFILEIMPORTTIME": "1"}  # it logs each module that it loads

    with SidecarProcess(tmp_path, environment=told) as sidecar:
        async with Connection(sidecar.socket) as app:
            await app.hello()
            await app.send(batch(event()))
            await app.receive()
        sidecar.until_counted(1)
    python = subprocess.run(
        [sys.executable, "-c", "import sysconfig; sysconfig.get_config_vars()"],
        env=sidecar.environment,
        capture_output=True,
        text=True,
        check=True,
    )

    loaded = loaded_of(sidecar.log.read_text())
    packages = {name.partition(".")[0] for name in loaded - loaded_of(python.stderr)}
    assert "meterline_sidecar.web.metrics" in loaded
    assert packages - sys.stdlib_module_names <= ALL_NEED | TRIED
    assert not loaded & LATER


def loaded_of(log: str) -> set[str]:
    """Return the modules that a process has logged as loaded."""
    said = (line for line in log.splitlines() if line.startswith("import time:"))
    names = {line.rpartition("|")[2].strip() for line in said}
    return names - {"imported package"}  # the heading


def heaps_of_threads(maps: str) -> list[str]:
    """Return the rests of heaps, reserved and not used yet, among a process's maps."""
    found: list[str] = []
    for line in maps.splitlines():
        place, rights = line.split()[:2]
        start, end = (int(number, 16) for number in place.split("-"))
        if (
            rights == "---p"
            and end % HEAP_BYTES == 0
            and GUARD_BYTES_MAX < end - start < HEAP_BYTES
        ):
            found.append(line)
    return found
