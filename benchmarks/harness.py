"""What every benchmark prints first: the machine, the versions, the commit."""

import os
import platform
import subprocess
import sys

import meterline


def heading(text: str | None) -> None:
    """Print what is measured and on what, before the figures."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        capture_output=True,
        text=True,
        check=False,
    ).stdout.strip()
    machine = f"{platform.machine()}, {os.cpu_count()} cores, {platform.release()}"
    command = " ".join(["python", *sys.orig_argv[1:]])
    sys.stdout.write(
        f"{(text or '').strip()}\n\n"
        f"machine   {machine}\n"
        f"python    {platform.python_version()}\n"
        f"meterline {meterline.__version__} {commit}\n"
        f"command   {command}\n\n"
    )
