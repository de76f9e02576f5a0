"""Where a ledger on a PostgreSQL server is, and who is let in there."""

from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

import msgspec

from meterline_pricing.toml.source import TEXT, Kind, Unfit
from meterline_sidecar.config.kinds import PATH

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


def _database(value: object) -> Path | PostgresUrl:
    text = TEXT.check(value)
    if not text.startswith(SCHEMES):
        return PATH.check(text)
    try:
        parts = urlsplit(text)
        query = dict(parse_qsl(parts.query))
        _ = parts.port
    except ValueError as error:
        raise Unfit("this is no address of a database") from error
    # Nothing of the text is shown here: there may be a password in it.
    if parts.password is not None or "password" in query:
        raise Unfit(
            "the address must not hold the password: put it into a file of its own and"
            " name that in sidecar.database_password_file, or use PGPASSFILE"
        )
    if not (parts.path.strip("/") or query.keys() & {"dbname", "database"}):
        raise Unfit("the address names no database: postgresql://USER@HOST/NAME")
    return PostgresUrl(text)


DATABASE: Final[Kind[Any]] = Kind(TEXT.expected, _database, Path(), TEXT.schema)
"""Where a ledger is: the path of a file, or the address of a database."""
