"""Writes run.txt, dev.txt and image.txt: pinned versions with hashes, without any address.

Run by ``make lock``. All files are universal: one resolution for every Python
from 3.11 on and every platform, told apart by environment markers.
"""

import subprocess
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
COMPILE: Final = (
    *(sys.executable, "-m", "uv", "pip", "compile", "pyproject.toml"),
    *("--universal", "--python-version", "3.11", "--extra", "sidecar"),
    *("--generate-hashes", "--no-emit-index-url", "--no-header", "--quiet"),
    *sys.argv[1:],
)


LOCKS: Final = {
    "run": ("--group", "install"),
    # The demo must run what the tests tested: each starts from the versions before.
    "dev": (
        *("--group", "install", "--group", "dev"),
        *("--constraints", "requirements/run.txt"),
    ),
    "image": (
        *("--group", "install", "--extra", "centre"),
        *("--constraints", "requirements/dev.txt"),
    ),
}


def main() -> None:
    """Resolve what is run, what it is tested with, and what stands in an image."""
    for name, options in LOCKS.items():
        target = f"requirements/{name}.txt"
        sys.stderr.write(f"resolving {target} ...\n")
        subprocess.run(  # noqa: S603 - our own command line
            [*COMPILE, *options, "--output-file", target], cwd=ROOT, check=True
        )


if __name__ == "__main__":
    main()
