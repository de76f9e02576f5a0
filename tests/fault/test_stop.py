"""Starting, stopping and sharing: what an operator's machine does to the daemon."""

import random
import signal

from tests.fault.host import Host, pause, rounds
from tests.sidecar_process import until


def test_sigterm_at_any_moment_loses_nothing(host: Host, chance: random.Random) -> None:
    for per_s in (3000, 300):
        host.worker(per_s=per_s)
    for _ in range(rounds(5, soak=200)):
        host.sidecar.launch()
        pause(chance, 0.0, 2.5)

        code = host.sidecar.stop()

        # Before it has begun, Python itself ends at the signal.
        assert code in (0, -signal.SIGTERM), host.sidecar.log.read_text()

    host.settle()


def test_of_two_sidecars_started_at_once_one_runs(host: Host) -> None:
    host.worker()
    second = host.another_sidecar("second.log")

    host.sidecar.launch()
    second.launch()
    until(lambda: not (host.sidecar.is_running and second.is_running))
    loser, winner = (
        (second, host.sidecar) if host.sidecar.is_running else (host.sidecar, second)
    )

    assert loser.wait() == 1
    assert "in use by process" in loser.log.read_text()
    winner.until_ready()
    host.sidecar = winner
    host.settle()


def test_forked_children_count_their_own_events_and_no_others(host: Host) -> None:
    host.sidecar.start()
    parent = host.worker(fork=3, per_s=500)
    parent.until_recorded(300)

    found = host.settle()

    assert {f"worker0-fork{i}" for i in range(3)} < found.numbers.keys()
    assert found.numbers["before the fork"] == [0]


def test_eight_workers_share_one_socket_through_a_restart(host: Host) -> None:
    host.sidecar.start()
    workers = [host.worker(per_s=400) for _ in range(8)]
    workers[-1].until_recorded(200)
    host.sidecar.stop()
    host.sidecar.start()
    workers[-1].until_recorded(workers[-1].ledger.done + 200)

    found = host.settle()

    assert len(found.numbers) == 8
