"""Turns PostgreSQL's errors, and those of the way to it, into ``meterline_sidecar.errors``.

What matters to a caller is whether anything can have been kept. Before COMMIT was sent
nothing was, whatever happened; behind it nobody knows until the ledger is opened again.
"""

import ssl
from typing import Final

import asyncpg

from meterline_sidecar.errors import (
    DatabaseCorrupt,
    DatabaseGone,
    DiskFailed,
    DiskFull,
    ForeignDatabase,
    MeterlineError,
)

# A server's answers by their codes, or by the two characters that such codes begin with.
# Source: postgresql.org/docs/15/errcodes-appendix.html, read 2026-11-26.
DISK_FULL: Final = {"53100"}
TOO_MANY: Final = {"53200", "53300", "53400"}  # memory, connections
DAMAGED: Final = {"XX001", "XX002"}
IO_FAILED: Final = {"58030"}
NO_LOGIN: Final = {"28000", "28P01"}
NO_DATABASE: Final = {"3D000"}
STANDBY: Final = {"25006"}  # it is read-only
NOT_ALLOWED: Final = {"42501"}
CUT_OFF: Final = {"57014", "55P03", "25P03", "40001", "40P01"}  # waited for too long
AWAY: Final = {"57P01", "57P02", "57P03", "57P04"}
CONNECTION: Final = "08"

RAISED: Final[tuple[type[Exception], ...]] = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
    TimeoutError,
)
"""What the driver raises; the last two where the server does not answer, and the one before
where it has just ended the connection, and the driver has read its word but not the end."""


def is_lost(error: Exception) -> bool:
    """Say whether a connection is of no use any more, and the server may be."""
    if isinstance(error, asyncpg.PostgresError):
        code = _code(error)
        return code in AWAY or code.startswith(CONNECTION)
    if isinstance(error, asyncpg.InterfaceError):
        return not isinstance(error, ValueError)  # of a value, not of the connection
    return isinstance(error, asyncpg.InternalClientError | OSError | TimeoutError)


def translate(place: str, error: Exception) -> MeterlineError:
    """Return our error for one that was raised before anything was committed."""
    text = f"{place}: {_said(error)}"
    if isinstance(error, ssl.SSLCertVerificationError):
        return DatabaseGone(
            f"{place}: the server cannot be trusted ({error.verify_message}); nothing is"
            " lost; see sslrootcert in sidecar.database"
        )
    if is_lost(error):
        return DatabaseGone(
            f"{place}: the server cannot be reached ({_said(error)}); nothing is lost;"
            " try again"
        )
    code = _code(error)
    if code in DISK_FULL:
        return DiskFull(f"{text}; free space on the server's disk; nothing is lost")
    if code in DAMAGED:
        return DatabaseCorrupt(f"{text}; restore it from a backup of the server")
    if code in IO_FAILED:
        return DiskFailed(f"{text}; check the server's disk")
    if code in NO_LOGIN:
        return MeterlineError(
            f"{text}; see sidecar.database and sidecar.database_password_file"
        )
    if code in NO_DATABASE:
        return ForeignDatabase(f"{text}; create it, or see sidecar.database")
    if code in NOT_ALLOWED:
        return MeterlineError(f"{text}; make the user of sidecar.database its owner")
    if code in TOO_MANY | CUT_OFF | STANDBY:
        return DatabaseGone(f"{text}; {_ADVICE.get(code, 'try again')}")
    return MeterlineError(text)


def translate_commit(place: str, error: Exception) -> MeterlineError:
    """Return our error for one that was raised by COMMIT.

    Where the server said that it kept nothing, that is so. Where it said nothing, it may
    have kept all: only whoever opens the ledger again can see it.
    """
    if not is_lost(error):
        return translate(place, error)
    return DiskFailed(
        f"{place}: {_said(error)}, in the middle of COMMIT; whether it was kept is seen"
        " when the ledger is opened again"
    )


_ADVICE: Final = {
    "53300": "raise max_connections, or put a pooler in between",
    "25006": "this server is a standby: name the primary in sidecar.database",
}


def _code(error: Exception) -> str:
    code = str(getattr(error, "sqlstate", None) or "")
    # What a standby answers to BEGIN READ WRITE has the code of much else.
    is_standby = code == "0A000" and "recovery" in str(error)
    return "25006" if is_standby else code


def _said(error: BaseException) -> str:
    text = str(error).strip().partition("\n")[0]
    return text or ("no answer in time" if isinstance(error, TimeoutError) else "gone")
