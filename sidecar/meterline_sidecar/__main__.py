"""Runs the command line: ``meterline``, or ``python -m meterline_sidecar``."""

# Until `main` has begun, Ctrl-C is a traceback of Python's: nothing that takes long to
# load is imported here, neither `contextlib` nor `typing`.
import os
import signal
import sys

INTERRUPTED = 128 + signal.SIGINT
TERMINATED = 128 + signal.SIGTERM  # as a shell says it


def main() -> None:
    """Run the command line, or say what is missing when only the app side is here."""
    if os.getpid() == 1:
        # The first process of a container is sent no signal that it does not handle:
        # until the sidecar runs, a stop would wait for the end of its grace.
        signal.signal(signal.SIGTERM, _end)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        # Until a command is loaded, nothing is begun that would have to be cleared away.
        signal.signal(signal.SIGINT, _interrupt)
    try:
        _run()
    except KeyboardInterrupt as error:
        _end_interrupted(str(error) or "interrupted")


def _run() -> None:
    try:
        from meterline_sidecar.cli.main import main as run

        run()  # loads the module of its command, and what that needs
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("meterline"):
            raise
        sys.exit(
            f"meterline: {error.name} is not installed; the daemon and its commands"
            " need: pip install 'meterline[sidecar]'"
        )


def _interrupt(_signal: int, _frame: object) -> None:
    _end_interrupted("interrupted")


def _end_interrupted(text: str) -> None:
    """End at once: what was begun is cleared away, and no thread is waited for."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:  # a stream may be closed, or None: `_exit` comes in any case
        # On a terminal, the line that it is in is that of ^C, or of a bar.
        begin = "\n" if sys.stderr.isatty() else ""
        print(f"{begin}meterline: {text}", file=sys.stderr, flush=True)  # noqa: T201
    finally:
        try:
            sys.stdout.flush()
        finally:
            os._exit(INTERRUPTED)


def _end(_signal: int, _frame: object) -> None:
    os._exit(TERMINATED)


if __name__ == "__main__":
    main()
