"""Turns SQLite's errors into those of ``meterline_sidecar.errors``."""

import shutil
import sqlite3
from pathlib import Path
from typing import Final

from meterline_sidecar.errors import (
    DatabaseCorrupt,
    DiskFailed,
    DiskFull,
    MeterlineError,
    NoLedger,
)

_UNPACK: Final = "user-defined function raised exception"
"""What SQLite says where ``store.packs`` cannot read a pack: no other function is defined."""
_DECODE: Final = "Could not decode to UTF-8"
"""What Python says of a text with a byte that no text has; the text itself follows."""
_SCHEMA: Final = b"malformed database schema"
"""How SQLite begins what Python cannot read: it quotes the byte that no text has."""
ROOM_BYTES_MIN: Final = 1 << 20  # under this, an I/O error is taken for a full disk


class translated:  # in lower case as it reads as a clause: `with translated(path):`
    """Turns the driver's errors into ours, which say what to do."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        """Do nothing: only errors matter."""

    def __exit__(
        self, kind: object, error: BaseException | None, trace: object
    ) -> None:
        """Raise the error of ``errors.py`` that a driver's error stands for."""
        if isinstance(error, UnicodeDecodeError) and error.object.startswith(_SCHEMA):
            raise _no_text(self._path) from error
        if isinstance(error, sqlite3.Error):
            raise _translate(self._path, error) from error


def _translate(path: Path, error: sqlite3.Error) -> MeterlineError:
    # Extended codes keep the primary one in their low byte.
    code = (getattr(error, "sqlite_errorcode", 0) or 0) & 0xFF
    text = f"{path}: {error}"
    if code == sqlite3.SQLITE_IOERR and not _has_room(path):
        # Some of SQLite's files (the -shm) answer a full disk with an I/O error.
        code = sqlite3.SQLITE_FULL
    match code:
        case sqlite3.SQLITE_FULL:
            return DiskFull(f"{text}; free space on that disk; nothing is lost")
        case sqlite3.SQLITE_IOERR | sqlite3.SQLITE_READONLY | sqlite3.SQLITE_CANTOPEN:
            return DiskFailed(f"{text}; check the disk and the file's permissions")
        case sqlite3.SQLITE_CORRUPT:
            return DatabaseCorrupt(f"{text}; see `meterline doctor`")
        case sqlite3.SQLITE_NOTADB:
            return NoLedger(f"{text}; choose another sidecar.database")
        case sqlite3.SQLITE_ERROR if _UNPACK in str(error):
            return DatabaseCorrupt(
                f"{path}: packed events cannot be read; see `meterline doctor`"
            )
        case 0 if str(error).startswith(_DECODE):
            return _no_text(path)
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return MeterlineError(
                f"{text}: another program holds it; wait until that is done, or end it"
            )
        case _:
            return MeterlineError(text)


def _no_text(path: Path) -> DatabaseCorrupt:
    return DatabaseCorrupt(
        f"{path}: a text in it cannot be read, it is damaged; see `meterline doctor`"
    )


def _has_room(path: Path) -> bool:
    try:
        return shutil.disk_usage(path.parent).free >= ROOM_BYTES_MIN
    except OSError:
        return True
