"""What is done to the apps, the sidecar and its disk."""

import os
import random
import resource
import signal
import subprocess
from typing import Final

from tests.sidecar_process import until
from tests.soak.loops import Deed
from tests.soak.stage import START_TIMEOUT_S, App, Stage

STOPPED_S: Final = (0.2, 8.0)
FULL_S: Final = (1.0, 8.0)
BREAK_TIMEOUT_S: Final = 20


def _send(pid: int, number: signal.Signals) -> bool:
    """Send a signal; say whether the process was there."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


def _worker(stage: Stage, chance: random.Random) -> tuple[App, int] | None:
    app = chance.choice(stage.apps)
    workers = app.workers
    return (app, chance.choice(workers)) if workers else None


# --- apps


def kill_a_worker(stage: Stage, chance: random.Random) -> None:
    """Kill one worker; its server starts another."""
    if found := _worker(stage, chance):
        _send(found[1], signal.SIGKILL)
        stage.journal.note("worker killed", f"{found[0].name} {found[1]}")


def stop_and_continue_a_worker(stage: Stage, chance: random.Random) -> None:
    """Let one worker stand still. Its server kills it if that lasts."""
    if found := _worker(stage, chance):
        _send(found[1], signal.SIGSTOP)
        stage.is_over.wait(chance.uniform(*STOPPED_S))
        # Whoever has this id by now is a child of the same server, or gone.
        if found[1] in found[0].workers:
            _send(found[1], signal.SIGCONT)
        stage.journal.note("worker stopped for a while", f"{found[0].name} {found[1]}")


def kill_an_app(stage: Stage, chance: random.Random) -> None:
    """Kill a server with all its workers, and start it again."""
    app = chance.choice(stage.apps)
    app.kill()
    stage.journal.note("app killed", app.name)
    app.start()


def end_an_app(stage: Stage, chance: random.Random) -> None:
    """End a server as a deployment does, and start it again."""
    app = chance.choice(stage.apps)
    app.stop()
    stage.journal.note("app ended", app.name)
    app.start()


# --- the sidecar


def kill_the_sidecar(stage: Stage, chance: random.Random) -> None:
    """Kill it, and start it again, sometimes only after a while."""
    with stage.disturbing():
        stage.sidecar.kill()
        stage.journal.note("sidecar killed")
        stage.is_over.wait(chance.choice([0, 0, chance.uniform(1, 10)]))
        stage.start_sidecar()


def end_the_sidecar(stage: Stage, _chance: random.Random) -> None:
    """End it, which must succeed, and start it again."""
    with stage.disturbing():
        pid = stage.sidecar.pid
        stage.journal.note("sidecar ended")
        try:
            if code := stage.sidecar.stop():
                stage.journal.fail(f"the sidecar was asked to end: exit code {code}")
        except subprocess.TimeoutExpired:
            stage.journal.fail("the sidecar was asked to end, and did not")
            _send(pid, signal.SIGKILL)
        stage.start_sidecar()


def stop_and_continue_the_sidecar(stage: Stage, chance: random.Random) -> None:
    """Let it stand still."""
    with stage.disturbing():
        pid = stage.sidecar.pid
        _send(pid, signal.SIGSTOP)
        stage.is_over.wait(chance.uniform(*STOPPED_S))
        _send(pid, signal.SIGCONT)
        stage.journal.note("sidecar stopped for a while")


def fill_the_disk(stage: Stage, chance: random.Random) -> None:
    """Leave no room for the ledger for a while; it must recover without a restart."""
    if not stage.has_small_disk:
        return
    with stage.disturbing():
        stage.fill_disk()
        stage.is_over.wait(chance.uniform(*FULL_S))
        stage.empty_disk()
        stage.journal.note("disk full for a while")
        until(stage.is_ready, timeout_s=START_TIMEOUT_S)


def kill_the_sidecar_on_a_full_disk(stage: Stage, chance: random.Random) -> None:
    """Kill it while it cannot write, and start it again once it can."""
    if not stage.has_small_disk:
        return
    with stage.disturbing():
        stage.fill_disk()
        stage.is_over.wait(chance.uniform(*FULL_S))
        stage.sidecar.kill()
        stage.empty_disk()
        stage.journal.note("sidecar killed on a full disk")
        stage.start_sidecar()


def break_the_disk(stage: Stage, _chance: random.Random) -> None:
    """Refuse all writes behind the end of files: it must end and say why."""
    with stage.disturbing():
        pid = stage.sidecar.pid
        limits = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, limits[1]))
        try:
            until(lambda: not stage.sidecar.is_running, timeout_s=BREAK_TIMEOUT_S)
        except TimeoutError:
            stage.journal.fail("no write succeeds, and the sidecar runs on")
            stage.sidecar.kill()
        stage.journal.note("disk refuses to write")
        stage.start_sidecar()


ON_APPS: Final[tuple[Deed, ...]] = (
    *(kill_a_worker, kill_a_worker, kill_a_worker),
    *(stop_and_continue_a_worker, stop_and_continue_a_worker),
    kill_an_app,
    end_an_app,
)
WITHOUT_A_RESTART: Final[tuple[Deed, ...]] = (
    stop_and_continue_the_sidecar,
    fill_the_disk,
)
ON_THE_SIDECAR: Final[tuple[Deed, ...]] = (
    *WITHOUT_A_RESTART,
    *(kill_the_sidecar, kill_the_sidecar),
    end_the_sidecar,
    kill_the_sidecar_on_a_full_disk,
    break_the_disk,
)
