"""Processes that are killed: workers, the sidecar, both, at any moment."""

import random

from tests.fault.host import Host, pause, rounds


def test_a_kill_of_any_worker_loses_nothing_that_it_recorded(
    host: Host, chance: random.Random
) -> None:
    host.sidecar.start()
    for _ in range(rounds(1, soak=20)):
        workers = [
            host.worker(per_s=chance.choice([200, 1000, 5000])) for _ in range(8)
        ]
        chance.shuffle(workers)
        for worker in workers:
            pause(chance, 0.0, 0.05)
            worker.kill()

    found = host.settle()

    assert len(found.numbers) >= 8


def test_a_kill_of_the_sidecar_loses_nothing_and_doubles_nothing(
    host: Host, chance: random.Random
) -> None:
    host.sidecar.start()
    for per_s in (5000, 1000, 200):
        host.worker(per_s=per_s)
    for _ in range(rounds(3, soak=100)):
        pause(chance, 0.0, 0.7)
        host.sidecar.kill()
        host.sidecar.start()

    host.settle()


def test_a_kill_of_workers_and_sidecar_at_once_loses_nothing(
    host: Host, chance: random.Random
) -> None:
    host.sidecar.start()
    for _ in range(rounds(2, soak=60)):
        workers = [host.worker(per_s=per_s) for per_s in (5000, 500)]
        pause(chance, 0.0, 0.5)
        kills = [host.sidecar.kill, *(worker.kill for worker in workers)]
        chance.shuffle(kills)
        for kill in kills:
            kill()
        host.sidecar.start()

    host.settle()


def test_events_recorded_while_no_sidecar_runs_are_counted_when_it_comes(
    host: Host,
) -> None:
    dead = host.worker(events=3000, per_s=0)
    dead.until_recorded(3000)
    dead.kill()
    living = host.worker(events=3000, per_s=0)
    living.until_recorded(3000)

    host.sidecar.start()

    found = host.settle()
    assert sum(len(numbers) for numbers in found.numbers.values()) == 6000
