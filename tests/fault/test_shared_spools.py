"""Apps of two sidecars whose spools are in one directory: each event is in one ledger."""

import contextlib
import json
import random
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Final

import msgspec
import pytest

from meterline.spool.dead import owner_of, spool_directories
from meterline.wire import ledger_text
from tests.all_events import ALL_EVENTS, with_packs
from tests.sidecar_process import SIDECAR, SidecarProcess, until
from tests.worker import Worker

pytestmark = [pytest.mark.fault, pytest.mark.slow]

ROUNDS: Final = 4
DRAIN_S: Final = 30.0
PAUSE_S: Final = 0.1  # 2,000 events a second: some are left, and all are soon drained
SHARED: Final = SIDECAR.replace('spool_dir = "spool"', 'spool_dir = "../spool"')
CODE: Final = "spools_of_another_ledger"


class Pair:
    """Two sidecars, and workers of both that share a directory of spools."""

    def __init__(self, folder: Path, *, of_the_second: str = SIDECAR) -> None:
        self._folder = folder
        self.spool_dir = folder / "spool"
        self.sidecars: list[SidecarProcess] = []
        for name, sidecar in (("one", SIDECAR), ("two", of_the_second)):
            (folder / name).mkdir()
            self.sidecars.append(SidecarProcess(folder / name, sidecar=sidecar))
        self.workers: list[tuple[SidecarProcess, Worker]] = []
        self._numbers = count(1)

    def __enter__(self) -> "Pair":
        for sidecar in self.sidecars:
            sidecar.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.kill_workers()
        for sidecar in self.sidecars:
            sidecar.__exit__()

    def kill_workers(self) -> None:
        """Kill those that live."""
        for _, worker in self.workers:
            worker.kill()

    def worker(self, sidecar: SidecarProcess) -> Worker:
        """Start a worker that sends to a sidecar."""
        worker = Worker(
            self._folder,
            number=next(self._numbers),
            socket=sidecar.socket,
            pause_s=PAUSE_S,
        )
        self.workers.append((sidecar, worker))
        return worker

    def drain(self) -> None:
        """Kill all workers, and let some of each start until nothing is left of them."""
        self.kill_workers()
        for sidecar in self.sidecars:
            until(lambda s=sidecar: self._is_drained(s))  # type: ignore[misc]
        assert spool_directories(self.spool_dir) == []

    def _is_drained(self, sidecar: SidecarProcess) -> bool:
        """Let a worker drain for a ledger; one that fails at a spool leaves it for long."""
        ours = {0, int(sidecar.get("/status")["ledger"], 16)}
        worker = self.worker(sidecar)
        until(lambda: sum(worker.counts()) > 0)
        with contextlib.suppress(TimeoutError):
            until(lambda: len(self._spools_of(ours)) <= 1, timeout_s=DRAIN_S)
        worker.process.terminate()
        assert worker.process.wait() == 0
        return not self._spools_of(ours)

    def _spools_of(self, ledgers: set[int]) -> list[str]:
        found = [(path, owner_of(path)) for path in spool_directories(self.spool_dir)]
        return [path for path, owner in found if owner and owner.ledger in ledgers]

    def found(self) -> list[list[int]]:
        """Return the numbers of the events in each of the two ledgers."""
        return [_numbers_in(sidecar.database) for sidecar in self.sidecars]


def _numbers_in(database: Path) -> list[int]:
    with closing(with_packs(sqlite3.connect(database))) as connection:
        rows = connection.execute(f"SELECT e.quantities FROM {ALL_EVENTS} e")
        return [int(msgspec.json.decode(text)["n"]) for (text,) in rows]


def _ingested(sidecar: SidecarProcess) -> int:
    return int(sidecar.get("/status")["events"]["ingested"])


def _problems(sidecar: SidecarProcess) -> dict[str, str]:
    return {one["code"]: one["text"] for one in sidecar.get("/status")["problems"]}


@pytest.fixture(params=[SIDECAR, SHARED], ids=["apps", "apps and a sidecar"])
def pair(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Pair]:
    with Pair(tmp_path, of_the_second=request.param) as pair:
        yield pair


def test_workers_that_are_killed_are_counted_by_one_ledger_of_two(
    pair: Pair, chance: random.Random
) -> None:
    for _ in range(ROUNDS):
        sidecar = chance.choice(pair.sidecars)
        before = _ingested(sidecar)
        worker = pair.worker(sidecar)
        n_events = chance.choice([1, 300, 3_000])
        until(lambda s=sidecar, n=before + n_events: _ingested(s) >= n)  # type: ignore[misc]
        worker.kill()
        pair.worker(chance.choice(pair.sidecars))

    pair.drain()

    one, two = pair.found()
    doubled = [n for n, times in Counter([*one, *two]).items() if times > 1]
    assert doubled == []
    for _, worker in pair.workers:
        worker.assert_recorded([*one, *two])


def test_what_a_worker_left_waits_for_its_own_ledger_and_both_say_so(
    pair: Pair,
) -> None:
    mine, other = pair.sidecars
    worker = pair.worker(mine)
    until(lambda: _ingested(mine) > 0)
    worker.kill()
    (path,) = spool_directories(pair.spool_dir)
    pair.worker(other)

    text = until(lambda: _problems(other).get(CODE))
    assert text is not None
    assert Path(path).name in text
    assert str(mine.get("/status")["ledger"]) in text
    assert Path(path).exists()
    told = json.loads(other.meterline("doctor", "--json").stdout)
    codes = [check["code"] for check in told]
    assert CODE in codes
    assert "spools_left_behind" not in codes
    pair.drain()
    found, _ = pair.found()
    worker.assert_recorded(found)


def test_a_ledger_takes_over_what_was_left_for_one_that_is_gone(
    tmp_path: Path,
) -> None:
    with Pair(tmp_path, of_the_second=SHARED) as pair:
        gone, heir = pair.sidecars
        worker = pair.worker(gone)
        until(lambda: _ingested(gone) > 0)
        gone.kill()
        worker.kill()
        n_acked = len(_numbers_in(gone.database))
        (path,) = spool_directories(pair.spool_dir)
        until(lambda: CODE in _problems(heir))
        owner = owner_of(path)
        assert owner is not None
        heir.stop()
        takes_over = f'takes_over = ["{ledger_text(owner.ledger)}"]\n'
        text = heir.config.read_text()
        heir.config.write_text(text.replace("[sidecar]\n", f"[sidecar]\n{takes_over}"))

        heir.start()
        until(lambda: not Path(path).exists())

        assert CODE not in _problems(heir)
        found = sorted(_numbers_in(heir.database))
        # All that was in the spool; the gone ledger may have had a whole segment of it.
        assert found[-1] - found[0] + 1 == len(found)
        assert len(found) >= sum(worker.counts()) - n_acked
