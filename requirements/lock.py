"""Writes run.txt and dev.txt: pinned versions with hashes, without any address.

Run by ``make lock``. Both files are universal: one resolution for every Python
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


def main() -> None:
    """Resolve the two environments, the small one inside the large one."""
    groups = {"run": ("install",), "dev": ("install", "dev")}
    for name, names in groups.items():
        target = f"requirements/{name}.txt"
        sys.stderr.write(f"resolving {target} ...\n")
        options = [option for group in names for option in ("--group", group)]
        # The demo must run what the tests tested: dev starts from run's versions.
        pins = ("--constraints", "requirements/run.txt") if name == "dev" else ()
        subprocess.run(  # noqa: S603 - our own command line
            [*COMPILE, *options, *pins, "--output-file", target], cwd=ROOT, check=True
        )


if __name__ == "__main__":
    main()
