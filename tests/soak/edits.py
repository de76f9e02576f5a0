"""Changes of the two files, each loaded by a command or by a signal."""

import os
import random
import signal
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Final

from tests.soak.book import (
    BASIC_WORK,
    DAY_MS,
    EXTRA_METERS_MAX,
    MOVER_FROM,
    MOVER_TO,
    NEW_CUSTOMERS_MAX,
    Move,
)
from tests.soak.loops import Deed
from tests.soak.stage import SIDECAR_TABLE, Stage

RELOADS_MAX: Final = 60
RELOAD_PAUSE_S: Final = 1.0
MIDNIGHT_MS: Final = 300_000
"""Nothing changes so shortly before or after a day begins, when it may be another day
by the time the change is loaded, or by the clock of an app."""


def change_a_plan(stage: Stage, _chance: random.Random) -> None:
    """Move a customer to another plan, from today on."""
    plan = "basic" if stage.book.wander_plan.now == "pro" else "pro"
    _load(stage, lambda day: stage.book.wander_plan.load(plan, day=day))
    stage.journal.note("plan changed", plan)


def change_a_price(stage: Stage, chance: random.Random) -> None:
    """Change a price, from today on."""
    price = Decimal(chance.choice(BASIC_WORK))
    _load(stage, lambda day: stage.book.basic_work.load(price, day=day))
    stage.journal.note("price changed", str(price))


def add_a_customer(stage: Stage, _chance: random.Random) -> None:
    """Add one whose subjects have used something already."""
    book = stage.book
    if book.n_new < NEW_CUSTOMERS_MAX:
        book.n_new += 1
        _load(stage)
        stage.journal.note("customer added", book.customers[-1])


def move_a_subject(stage: Stage, _chance: random.Random) -> None:
    """Give a subject to another customer, from now on."""
    book = stage.book
    book.mover = MOVER_TO if book.mover == MOVER_FROM else MOVER_FROM
    asked_ms, answered_ms = _load(stage)
    book.moves.append(Move(book.mover, asked_ms, answered_ms))
    stage.journal.note("subject moved", book.mover)


def add_a_meter(stage: Stage, _chance: random.Random) -> None:
    """Add a meter from a day on before everything: all is counted again for it."""
    book = stage.book
    if book.n_extra < EXTRA_METERS_MAX:
        book.n_extra += 1
        _load(stage)
        stage.journal.note("meter added", book.work_meters[-1])


def _load(
    stage: Stage, note: Callable[[int], None] = lambda day: None
) -> tuple[int, int]:
    """Write the files and have them loaded; return between which moments that was.

    Args:
        note: notes what changed in the book, with the day from which it holds.
    """
    while not MIDNIGHT_MS < _now_ms() % DAY_MS < DAY_MS - MIDNIGHT_MS:
        if stage.is_over.wait(RELOAD_PAUSE_S):
            break
    asked_ms = _now_ms()
    note(asked_ms // DAY_MS)
    with stage.sidecar_lock:  # not half of the files at a start
        _write(stage.sidecar.config, SIDECAR_TABLE + stage.book.meterline_toml())
        _write(stage.folder / "pricing.toml", stage.book.pricing_toml())
    for _ in range(RELOADS_MAX):
        disturbances = stage.disturbances
        done = stage.run_command("reload")
        if done.returncode == 0:
            return asked_ms, _now_ms()
        if disturbances == stage.disturbances and disturbances % 2 == 0:
            stage.journal.fail(f"reload: {done.returncode}: {done.stderr[-500:]}")
            break
        time.sleep(RELOAD_PAUSE_S)
    return asked_ms, _now_ms()


def ask_by_signal(stage: Stage, _chance: random.Random) -> None:
    """Load files that say nothing new, by SIGHUP."""
    with stage.sidecar_lock:
        os.kill(stage.sidecar.pid, signal.SIGHUP)
    stage.journal.note("SIGHUP")


def _write(path: Path, text: str) -> None:
    fresh = path.with_suffix(".new")
    fresh.write_text(text)
    fresh.rename(path)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


EDITS: Final[tuple[Deed, ...]] = (
    *(change_a_plan, change_a_price, add_a_customer, move_a_subject, move_a_subject),
    *(add_a_meter, ask_by_signal),
)
