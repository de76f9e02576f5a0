"""``meterline run``: the daemon itself."""

import asyncio
import logging
import os
import signal
from pathlib import Path

import click

from meterline_sidecar.cli.options import CONFIG, clock_option
from meterline_sidecar.clock import Clock, FileClock, SystemClock
from meterline_sidecar.config.apart import read_files
from meterline_sidecar.config.variables import stray_variables
from meterline_sidecar.daemon.run import run
from meterline_sidecar.printable import PrintableFormatter

log = logging.getLogger(__name__)


@click.command()
@CONFIG
@clock_option(
    "Rehearse with the time in this file: a time (2026-11-30T23:59:00Z) or an "
    "offset (+86400 seconds, +25h, -40d). The file is read repeatedly.",
)
def command(config_path: Path | None, clock_path: Path | None) -> None:
    """Run the sidecar.

    It runs until SIGTERM or Ctrl-C. On SIGHUP it reads its files again, like `meterline
    reload`.
    """
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until it runs, and can reload
    to_stderr = logging.StreamHandler()
    to_stderr.setFormatter(
        PrintableFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
    )
    logging.basicConfig(level=logging.INFO, handlers=[to_stderr])
    # It would log the address of each webhook, which may itself be a secret.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    clock: Clock = SystemClock() if clock_path is None else FileClock(clock_path)
    if clock.rehearsal is not None:
        log.warning("the time is not real: %s", clock.rehearsal)
    for stray in stray_variables(os.environ):
        log.warning("%s", stray)
    asyncio.run(run(read_files(config_path), clock=clock))
