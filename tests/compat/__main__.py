"""Runs the tests of this folder against each version, in an environment of its own."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
ENVIRONMENTS: Final = ROOT / ".compat"
COMMON: Final = (
    "msgspec",
    "pytest>=9",
    "pytest-asyncio>=1.2",
    "pytest-timeout>=2.3",
    "anyio",
    "hypothesis",
    "httpx",
    "trio",
)
VERSIONS: Final = (
    ("starlette==0.40.0", "fastapi==0.115.2"),
    ("starlette==0.46.2", "fastapi==0.115.14"),
    ("starlette==0.50.0", "fastapi==0.124.0"),
    ("starlette==0.52.1", "fastapi"),
    ("starlette==1.0.0", "fastapi"),
    ("starlette==1.6.0", "fastapi"),
    ("starlette", "fastapi"),
)


def run(packages: tuple[str, ...]) -> int:
    """Install ``packages`` into an environment of their own; return pytest's code."""
    folder = ENVIRONMENTS / "-".join(packages).replace("==", "-")
    uv = (sys.executable, "-m", "uv")
    subprocess.run([*uv, "venv", "--quiet", "--allow-existing", folder], check=True)
    python = folder / "bin" / "python"
    subprocess.run(
        [*uv, "pip", "install", "--quiet", "--python", python, *COMMON, *packages],
        check=True,
    )
    return subprocess.run(
        [python, "-m", "pytest", "-q", "-W", "default", "tests/compat"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'middleware'}:{ROOT}"},
        check=False,
    ).returncode


def main() -> None:
    """Run all versions, and fail if any of them fails."""
    failed: list[str] = []
    for packages in VERSIONS:
        sys.stdout.write(f"--- {' '.join(packages)}\n")
        sys.stdout.flush()
        if run(packages):
            failed.append(" ".join(packages))
    if failed:
        sys.exit(f"failed on: {', '.join(failed)}")


if __name__ == "__main__":
    main()
