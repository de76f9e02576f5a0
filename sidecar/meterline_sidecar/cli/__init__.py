"""The command line: ``meterline``."""

from meterline_sidecar.cli.main import main

__all__ = ["main"]
