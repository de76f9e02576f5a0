"""The key of the customer's page: made once, kept beside the database."""

import contextlib
import errno
import logging
import secrets
from pathlib import Path
from typing import Final

from meterline.portal import read_portal_key
from meterline_sidecar.errors import ConfigError, MeterlineError
from meterline_sidecar.files import create_file, replace_file

GROUP_READS = 0o640  # an app of the same group makes links with it
DISK_ERRORS: Final = (errno.ENOSPC, errno.EDQUOT, errno.EIO)

log = logging.getLogger(__name__)


def portal_key(path: Path) -> bytes:
    """Return the key in this file; make it if there is none.

    One that is too short is no key: nobody could make a link with it, so nothing
    depends on it, and it is made anew.

    Raises:
        ConfigError: it cannot be read or made.
        MeterlineError: the disk is full, or failed.
    """
    try:
        try:
            return read_portal_key(path)
        except FileNotFoundError:
            _make(path)
        except ValueError as error:
            log.warning("%s: %s; a new one is made", path, error)
            replace_file(path, _new_key(), durably=True, mode=GROUP_READS)
        return read_portal_key(path)
    except OSError as error:
        # A configuration is not mended by waiting, a disk may be.
        kind = MeterlineError if error.errno in DISK_ERRORS else ConfigError
        raise kind(f"{path}: {error.strerror}") from error


def _make(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
    with contextlib.suppress(FileExistsError):  # Another process was faster.
        create_file(path, _new_key(), mode=GROUP_READS)


def _new_key() -> bytes:
    return f"{secrets.token_urlsafe(48)}\n".encode()
