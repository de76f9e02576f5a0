"""What an app pays for naming the package, before it serves anything."""

import subprocess
import sys
from typing import Final

HEAVY: Final = {"asyncio", "hashlib", "hmac", "random", "secrets", "shutil", "ssl"}
"""What only some apps ask for; with hashing comes OpenSSL."""
LOADED: Final = "import sys, meterline; print(*sys.modules)"


def test_importing_it_loads_nothing_that_not_every_app_needs() -> None:
    command = [sys.executable, "-S", "-c", LOADED]
    paths = {"PYTHONPATH": ":".join(sys.path)}

    done = subprocess.run(
        command, env=paths, capture_output=True, text=True, check=True
    )

    loaded = set(done.stdout.split())
    assert "meterline.asgi" in loaded
    assert loaded & HEAVY == set()


def test_what_is_loaded_late_is_there_all_the_same() -> None:
    code = "import meterline; print(meterline.portal_token.__name__)"
    command = [sys.executable, "-c", f"{code}; meterline.nothing"]

    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.stdout == "portal_token\n"
    assert "has no attribute 'nothing'" in done.stderr
