"""``python -m tests.soak``: everything at once, and one oracle at the end."""

import os
import random
import shutil
import signal
import statistics
import sys
import tempfile
import time
from itertools import chain
from pathlib import Path
from types import FrameType
from typing import Any, Final

from tests.sidecar_process import until
from tests.soak import bills, blows, edits, readers
from tests.soak.journal import Journal
from tests.soak.loops import JOIN_TIMEOUT_S, Loop
from tests.soak.memory import Memory
from tests.soak.oracle import Oracle
from tests.soak.stage import Stage

SOAK_S: Final = 7200
PER_S: Final = 300
REST_TIMEOUT_S: Final = 300
TELL_EVERY_S: Final = 60
CALM: Final = (0.45, 0.9)
"""The part of a soak in which the sidecar is not restarted, so that its memory can tell
something; everything else goes on."""
OUR_FAILURE: Final = "could not"
"""What the middleware's log begins with where it failed, which it never may."""
NO_ROOM: Final = "not_ready: "
"""What the sidecar says while its disk is full: then a dead worker's spool waits, too."""
LATER: Final = "+40d"
"""When the months of a soak are over."""
SAMPLES: Final = 500
SAMPLE_S_MIN: Final = 0.5


def main() -> int:
    """Run the soak; return 1 when a law does not hold."""
    soak_s = float(os.environ.get("METERLINE_SOAK_S") or SOAK_S)
    per_s = int(os.environ.get("METERLINE_SOAK_PER_S") or PER_S)
    seed = int(os.environ.get("SEED") or random.randrange(2**32))
    folder = Path(
        tempfile.mkdtemp(prefix="soak-", dir=os.environ.get("METERLINE_SOAK_DIR"))
    )
    journal = Journal(folder / "journal.txt")
    journal.say(f"SEED={seed}, {soak_s:.0f} s, {per_s} requests a second, in {folder}")
    stage = Stage(folder, journal=journal, per_s=per_s)
    signal.signal(signal.SIGTERM, _leave)
    is_judged = False
    try:
        if not stage.has_small_disk:
            journal.say("no full disk: only root can mount a small one")
        _soak(stage, seed=seed, soak_s=soak_s)
        _judge(stage)
        is_judged = True
    finally:
        stage.close(keeps_ledger=bool(journal.failures) or not is_judged)
    journal.say(f"{len(journal.failures)} laws broken")
    if journal.failures:
        journal.say(f"kept: {folder}")
        return 1
    shutil.rmtree(folder)
    return 0


def _leave(_number: int, _frame: FrameType | None) -> None:
    """End as after an error: whatever was started is ended."""
    raise SystemExit(1)


def _soak(stage: Stage, *, seed: int, soak_s: float) -> None:
    """Let everything happen at once, until the time is over."""
    stage.start()
    memory = Memory(stage, every_s=max(SAMPLE_S_MIN, soak_s / SAMPLES))
    pages = (1.0, 6.0)
    commands = (2.0, 15.0)
    on_sidecar = Loop(
        stage, name="sidecar", seed=seed, deeds=blows.ON_THE_SIDECAR, pause_s=(2, 20)
    )
    loops = [
        on_sidecar,
        Loop(stage, name="apps", seed=seed, deeds=blows.ON_APPS, pause_s=(2, 20)),
        Loop(stage, name="edits", seed=seed, deeds=edits.EDITS, pause_s=(2, 20)),
        Loop(stage, name="pages", seed=seed, deeds=readers.ON_PAGES, pause_s=pages),
        Loop(
            stage,
            name="commands",
            seed=seed,
            deeds=readers.BY_COMMAND,
            pause_s=commands,
        ),
    ]
    for thread in (memory, *loops):
        thread.start()
    end_s = stage.journal.passed_s + soak_s
    while (left_s := end_s - stage.journal.passed_s) > 0:
        is_calm = CALM[0] < 1 - left_s / soak_s < CALM[1]
        on_sidecar.deeds = blows.WITHOUT_A_RESTART if is_calm else blows.ON_THE_SIDECAR
        stage.is_over.wait(min(left_s, TELL_EVERY_S, soak_s / 20))
    stage.is_over.set()
    for thread in loops:
        thread.join(JOIN_TIMEOUT_S)
        if thread.is_alive():
            stage.journal.fail(f"{thread.name}: it does not come to an end")
    _tell(stage)
    memory.judge()


def _tell(stage: Stage) -> None:
    """Say what happened, and how often."""
    journal = stage.journal
    for what, n in sorted(journal.counts.items()):
        journal.say(f"{n:6} {what}")
    journal.say(f"pages, by status: {dict(journal.pages)}")
    if journal.page_seconds:
        times = sorted(journal.page_seconds)
        journal.say(
            f"pages, undisturbed: median {statistics.median(times) * 1000:.0f} ms,"
            f" p99 {times[len(times) * 99 // 100] * 1000:.0f} ms,"
            f" longest {times[-1]:.1f} s"
        )


def _judge(stage: Stage) -> None:
    """Bring everything to rest, and hold it against the notes."""
    journal = stage.journal
    stage.stop_apps()
    if not stage.sidecar.is_running:
        stage.start_sidecar()
    _rest(stage)
    shown = bills.answers(stage.sidecar, stage.book)
    if stage.sidecar.stop():
        journal.fail("the sidecar did not end well at last")
    for log in stage.folder.glob("*.log"):
        # A server tells a cancelled stream by a traceback; of ours there is none.
        sign = OUR_FAILURE if log != stage.sidecar.log else "Traceback"
        lines = log.read_text(errors="replace").splitlines()
        said = [line for line in lines if sign in line and NO_ROOM not in line]
        if said:
            journal.fail(f"{log} says: {said[0]}")
    oracle = Oracle(
        stage.folder / "oracle.db", notes=stage.notes, ledger=stage.sidecar.database
    )
    try:
        months = bills.used_by_hand(oracle, stage.book)
        for text in chain(
            oracle.broken(),
            bills.wrong_sums(oracle, stage.book),
            bills.wrong_moves(oracle, stage.book),
            bills.wrong_bills(shown, months, stage.book),
        ):
            journal.fail(text)
        journal.say(f"judged: {oracle.numbers()}")
    finally:
        oracle.close()
    for (month, customer), answer in shown.items():
        journal.say(f"{customer} {month}: {answer['invoice']['total']}")
    _finalize(stage, shown)


def _finalize(stage: Stage, shown: dict[tuple[str, str], Any]) -> None:
    """Rehearse the end of the month: final invoices are the drafts, and verify."""
    stage.rehearse(LATER)
    for text in bills.wrong_finals(stage.sidecar, shown):
        stage.journal.fail(text)
    stage.sidecar.stop()
    verified = stage.run_command("verify")
    if verified.returncode:
        stage.journal.fail(f"verify: {verified.stdout}{verified.stderr}")


def _rest(stage: Stage) -> None:
    """Wait until the sidecar has taken in and counted everything."""
    try:
        until(lambda: _is_at_rest(stage), timeout_s=REST_TIMEOUT_S)
    except TimeoutError:
        stage.journal.fail(f"not at rest: {stage.sidecar.get('/status')}")


def _is_at_rest(stage: Stage) -> bool:
    time.sleep(0.2)  # it is asked often enough
    if any(stage.sidecar.spool_dir.iterdir()):
        return False
    status = stage.sidecar.get("/status")
    counting = status["aggregation"]
    return (
        status["events"]["in_flight"] == 0
        and counting["behind_events"] == 0
        and counting["recounting_percent"] is None
    )


if __name__ == "__main__":
    sys.exit(main())
