"""Reads large files in a process of its own.

To read very many customers takes seconds. Meanwhile nothing else of this process would
run for long, and the memory that it takes for a moment would stay with it.
"""

import pickle
import subprocess
import sys
from pathlib import Path
from typing import Final

from meterline_sidecar.config.customers import PackedCustomers
from meterline_sidecar.config.read import DEFAULT_NAME, read_config
from meterline_sidecar.config.shape import Config
from meterline_sidecar.errors import ConfigError

APART_BYTES: Final = 1 << 20
"""From some 9,000 customers on, which take half a second."""
PATIENCE_S: Final = 600  # the largest files take a twentieth of it


def read_files(path: Path | None) -> Config:
    """Return what ``read_config`` does; apart, where the file is large.

    Raises:
        ConfigError: with every problem in the files, a line each.
    """
    file = Path(DEFAULT_NAME) if path is None else path
    try:
        is_large = file.stat().st_size > APART_BYTES
    except (OSError, ValueError):
        is_large = False  # whoever reads it says what is the matter
    return _read_apart(file) if is_large else read_config(path)


def _read_apart(file: Path) -> Config:
    done = subprocess.run(  # noqa: S603 - our own module
        [sys.executable, "-P", "-m", __name__, str(file)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        timeout=PATIENCE_S,
        check=False,
    )
    if done.returncode != 0:
        raise ConfigError(
            f"{file}: the process that was to read it ended with {done.returncode};"
            " see whether there is memory for it"
        )
    found: Config | ConfigError = pickle.loads(done.stdout)  # noqa: S301 - of our own
    if isinstance(found, ConfigError):
        raise found
    return found


def main() -> None:
    """Read the file that is named, and write what it says for the process that asks."""
    found: Config | ConfigError
    try:
        config = read_config(Path(sys.argv[1]))
        found = config.with_customers(PackedCustomers.of(config.customers))
    except ConfigError as error:
        found = error
    sys.stdout.buffer.write(pickle.dumps(found))


if __name__ == "__main__":
    main()
