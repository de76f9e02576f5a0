"""Where a ledger on a PostgreSQL server is, and who is let in there."""

from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, urlsplit

import msgspec

SCHEMES: Final = ("postgresql://", "postgres://")


class PostgresUrl(msgspec.Struct, frozen=True):
    """A database on a PostgreSQL server, by its address, which holds no password."""

    url: str
    """Such as ``postgresql://meterline@db.example.com/meterline?sslmode=verify-full``."""
    password_file: Path | None = None
    """Where the password is; otherwise as psql finds it: PGPASSWORD, PGPASSFILE."""

    def __str__(self) -> str:
        """Return the address."""
        return self.url


def is_postgres(text: str) -> bool:
    """Say whether a text is meant to be such an address."""
    return text.startswith(SCHEMES)


def faults(url: str) -> str | None:
    """Return what is wrong with an address, without any secret that stands in it."""
    try:
        parts = urlsplit(url)
        query = dict(parse_qsl(parts.query))
        _ = parts.port
    except ValueError as error:
        return f"is no address: {error}"
    if parts.password is not None or "password" in query:
        return (
            "must not hold the password: put it in a file and name that in"
            " sidecar.database_password_file, or in PGPASSFILE"
        )
    if not parts.path.strip("/") and "dbname" not in query and "database" not in query:
        return "names no database: postgresql://USER@HOST/NAME"
    return None
