"""Runs the command line: ``meterline``, or ``python -m meterline_sidecar``."""

import sys


def main() -> None:
    """Run the command line, or say what is missing when only the app side is here."""
    try:
        from meterline_sidecar.cli.main import main as run
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("meterline"):
            raise
        sys.exit(
            f"meterline: {error.name} is not installed; the daemon and its commands"
            " need: pip install 'meterline[sidecar]'"
        )
    run()


if __name__ == "__main__":
    main()
