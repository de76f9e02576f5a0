"""The key of the customer's page: made once, kept beside the database."""

import secrets
from pathlib import Path

from meterline.portal import read_portal_key
from meterline_sidecar.errors import ConfigError
from meterline_sidecar.files import create_file

GROUP_READS = 0o640  # an app of the same group makes links with it


def portal_key(path: Path) -> bytes:
    """Return the key in this file; make both if there is no file.

    Raises:
        ConfigError: it cannot be read, or is no key.
    """
    try:
        if not path.exists():
            _make(path)
        return read_portal_key(path)
    except FileExistsError:
        return read_portal_key(path)  # Another process was faster.
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise ConfigError(
            f"{path}: {error}; delete it, and a new one is created"
        ) from error


def _make(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
    create_file(path, f"{secrets.token_urlsafe(48)}\n".encode(), mode=GROUP_READS)
