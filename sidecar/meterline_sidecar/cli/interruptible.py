"""Runs what a command does so that Ctrl-C, however often, leaves nothing half-done."""

import asyncio
import signal
import threading
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

T = TypeVar("T")

PATIENCE_S: Final = 10.0
"""What is cleared away takes less; whoever presses Ctrl-C later wants the end at once."""


def run_interruptible(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end, as ``asyncio.run`` does, and return its result.

    Ctrl-C cancels it. With ``asyncio.run`` a second one would hit whatever clears away
    what the first one ended: a file that is half-written would stay.

    Raises:
        KeyboardInterrupt: it was cancelled, and has cleared everything away.
    """
    with asyncio.Runner() as runner:
        loop = runner.get_loop()
        task = loop.create_task(main)
        first_s: float | None = None

        def interrupt() -> None:
            nonlocal first_s
            if first_s is None:
                first_s = loop.time()
                task.cancel()
            elif loop.time() - first_s > PATIENCE_S:
                raise KeyboardInterrupt

        is_told = _is_told_of_ctrl_c()
        if is_told:
            loop.add_signal_handler(signal.SIGINT, interrupt)
        try:
            return loop.run_until_complete(task)
        except asyncio.CancelledError as error:
            if first_s is None:
                raise
            raise KeyboardInterrupt from error
        finally:
            if is_told:
                loop.remove_signal_handler(signal.SIGINT)


def _is_told_of_ctrl_c() -> bool:
    """Say whether it comes here: not to other threads, nor to a shell's jobs (`&`)."""
    is_main = threading.current_thread() is threading.main_thread()
    return is_main and signal.getsignal(signal.SIGINT) is signal.default_int_handler
