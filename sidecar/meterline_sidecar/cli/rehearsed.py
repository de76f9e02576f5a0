"""Which clock a command goes by: this machine's, or that of a rehearsal.

A sidecar that rehearses another time (``meterline run --clock``) agrees, bills and lets
links expire by that time. So a command beside it asks it what time it is.
"""

import contextlib
from pathlib import Path

import click

from meterline_sidecar.cli.client import Client
from meterline_sidecar.cli.exits import NoSidecar, OtherVersion, Refused
from meterline_sidecar.clock import Clock, FileClock, SystemClock, format_time_ms
from meterline_sidecar.config.shape import Config
from meterline_sidecar.web.answers.status import Status


class HeardClock:
    """The time that a sidecar went by when it was asked."""

    def __init__(self, now_ms: int, rehearsal: str) -> None:
        self._now_ms = now_ms
        self.rehearsal: str | None = rehearsal

    def now_ms(self) -> int:
        """Return the time in UTC milliseconds."""
        return self._now_ms


def clock_for(config: Config, path: Path | None) -> Clock:
    """Return the clock in a file, or that of the ledger's sidecar, or the machine's.

    Raises:
        ConfigError: the file is missing or holds no time.
    """
    if path is not None:
        return clock_in(path)
    if config.has_ledger:
        # Who does not answer, or not to us, does not rehearse as far as we know.
        with (
            contextlib.suppress(NoSidecar, Refused, OtherVersion),
            Client.of(config) as client,
        ):
            status = client.get("/status", Status)
            is_ours = status.database.path == str(config.ledger)
            if is_ours and status.clock is not None:
                return HeardClock(status.now_ms, f"the sidecar's {status.clock}")
    return SystemClock()


def clock_in(path: Path | None) -> Clock:
    """Return the clock in a file, or the machine's without one.

    Raises:
        ConfigError: the file is missing or holds no time.
    """
    return SystemClock() if path is None else FileClock(path)


def tell_clock(clock: Clock) -> None:
    """Say to whoever reads which time it is where that is not this machine's."""
    if clock.rehearsal is not None:
        now = format_time_ms(clock.now_ms())[:16].replace("T", " ")
        click.echo(f"as of {now} UTC, which is not real: {clock.rehearsal}", err=True)
