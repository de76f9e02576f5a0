"""``kill -9`` of real worker processes: what was recorded is counted, once."""

import random
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from meterline import Meter
from meterline.spool.dead import spool_directories
from tests.fake_sidecar import FakeSidecar
from tests.patience import PATIENCE_S
from tests.sidecar_process import until
from tests.worker import Worker

pytestmark = [pytest.mark.fault, pytest.mark.slow]


@pytest.fixture
def sidecar(tmp_path: Path) -> Iterator[FakeSidecar]:
    fake = FakeSidecar(tmp_path / "s")
    yield fake
    fake.stop()


def numbers(sidecar: FakeSidecar) -> list[int]:
    return [int((event.quantities or {})["n"]) for event in sidecar.events]


def drain(sidecar: FakeSidecar, tmp_path: Path) -> None:
    """Let one more worker start, ship what the dead ones left, and end."""
    meter = Meter(socket=sidecar.path, spool_dir=tmp_path / "spool")
    meter.open()
    until(lambda: len(spool_directories(tmp_path / "spool")) == 1)
    meter.close(timeout_s=PATIENCE_S)


@pytest.mark.parametrize("n_threads", [1, 3])
def test_workers_killed_at_any_moment_lose_nothing_that_was_recorded(
    tmp_path: Path, sidecar: FakeSidecar, chance: random.Random, n_threads: int
) -> None:
    sidecar.start()
    workers: list[Worker] = []
    for number in range(1, 9):
        worker = Worker(
            tmp_path, number=number, socket=sidecar.path, n_threads=n_threads
        )
        workers.append(worker)
        target = chance.choice([1, 100, 5000, 40_000])  # the last: two segments
        until(lambda w=worker, t=target: sum(w.counts()) >= t)  # type: ignore[misc]
        worker.kill()

    drain(sidecar, tmp_path)

    found = numbers(sidecar)
    for worker in workers:
        worker.assert_recorded(found)
    assert sidecar.losses == []
    sidecar.assert_complete()
    assert len(found) == len(set(found))


def test_worker_and_sidecar_killed_together_lose_and_double_nothing(
    tmp_path: Path, sidecar: FakeSidecar, chance: random.Random
) -> None:
    workers: list[Worker] = []
    for number in range(1, 6):
        sidecar.start()
        worker = Worker(tmp_path, number=number, socket=sidecar.path)
        workers.append(worker)
        target = chance.randrange(500, 5000)
        until(lambda w=worker, t=target: sum(w.counts()) >= t)  # type: ignore[misc]
        sidecar.stop()
        worker.kill()
    sidecar.start()

    drain(sidecar, tmp_path)

    for worker in workers:
        worker.assert_recorded(numbers(sidecar))
    assert sidecar.losses == []
    sidecar.assert_complete()


def test_eight_workers_on_one_socket_are_told_apart(
    tmp_path: Path, sidecar: FakeSidecar
) -> None:
    sidecar.start()
    workers = [Worker(tmp_path, number=n, socket=sidecar.path) for n in range(1, 9)]
    for worker in workers:
        until(lambda w=worker: sum(w.counts()) >= 1000)  # type: ignore[misc]
    for worker in workers:
        worker.process.send_signal(signal.SIGTERM)
    for worker in workers:
        assert worker.process.wait(PATIENCE_S) == 0

    found = numbers(sidecar)
    for worker in workers:
        worker.assert_recorded(found)
    assert sidecar.losses == []
    assert len(sidecar.ledgers) == 8
    assert all(ledger.is_closed for ledger in sidecar.ledgers.values())
    assert spool_directories(tmp_path / "spool") == []


def test_a_worker_killed_while_it_makes_its_spool_leaves_nothing_in_the_way(
    tmp_path: Path, sidecar: FakeSidecar, chance: random.Random
) -> None:
    sidecar.start()
    spool_dir = tmp_path / "spool"
    spool_dir.mkdir()
    for number in range(1, 9):
        before = set(spool_dir.iterdir())
        worker = Worker(tmp_path, number=number, socket=sidecar.path)
        until(lambda b=before: set(spool_dir.iterdir()) - b)  # type: ignore[misc]
        worker.kill()

    drain(sidecar, tmp_path)

    sidecar.assert_complete()
    assert spool_directories(spool_dir) == []
