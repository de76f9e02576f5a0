"""Reaches a PostgreSQL server: one connection, with what every one of them needs."""

from collections.abc import Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import parse_qsl, urlsplit

import asyncpg

from meterline_sidecar.config.postgres import PostgresUrl
from meterline_sidecar.errors import ForeignDatabase, MeterlineError
from meterline_sidecar.store.postgres import dialect
from meterline_sidecar.store.postgres.errors import RAISED, translate

CONNECT_S: Final = 10.0
STATEMENT_S: Final = 120.0  # the longest ones go over all events of a ledger
VERSION_MIN: Final = 150_000
PASSWORD_BYTES_MAX: Final = 1_000
SETTINGS: Final = {
    "application_name": "meterline",
    # A pooler knows this one, and keeps it with the client.
    "standard_conforming_strings": "on",
}
FILES: Final = {"sslrootcert", "sslcert", "sslkey", "sslcrl"}
OF_THE_SYSTEM: Final = "system"
"""In place of a file: the certificates that the system trusts."""


class Connection(Protocol):
    """What we use of a connection of asyncpg, which is not typed."""

    async def execute(
        self,
        query: str,
        *parameters: object,
        timeout: float | None = None,  # noqa: ASYNC109 - asyncpg's own
    ) -> str:
        """Run a statement, or several without parameters; return the last one's status."""
        ...

    async def executemany(self, query: str, rows: Iterable[Sequence[object]]) -> None:
        """Run a statement for each row, without waiting in between."""
        ...

    async def fetch(self, query: str, *parameters: object) -> Sequence[Sequence[Any]]:
        """Return every row."""
        ...

    async def fetchval(self, query: str, *parameters: object) -> Any:
        """Return the first value of the first row."""
        ...

    async def prepare(self, query: str, *, name: str) -> Any:
        """Return what the server knows of a statement."""
        ...

    async def set_type_codec(self, typename: str, **how: object) -> None:
        """Say how values of a type are written and read."""
        ...

    def transaction(self) -> AbstractAsyncContextManager[None]:
        """Open a transaction."""
        ...

    def is_closed(self) -> bool:
        """Say whether it is of no more use."""
        ...

    async def close(self, *, timeout: float) -> None:  # noqa: ASYNC109 - asyncpg's own
        """Say goodbye."""
        ...

    def terminate(self) -> None:
        """Drop it at once."""
        ...


async def connect(url: PostgresUrl) -> Connection:
    """Open a connection, and make sure that a ledger can be kept behind it.

    No statement is kept prepared, as behind a pooler the next one may go to another
    session.

    Raises:
        DatabaseGone: nobody answers there, or is ready to.
        ForeignDatabase: there is no such database, or it is not one for a ledger.
        MeterlineError: we are not let in.
    """
    driver: Any = asyncpg  # is not typed
    _check_files(url)
    try:
        connection: Connection = await driver.connect(
            dsn=url.url,
            password=password(url),
            timeout=CONNECT_S,
            command_timeout=STATEMENT_S,
            statement_cache_size=0,
            server_settings=SETTINGS,
        )
    except RAISED as error:
        raise translate(url.url, error) from error
    except ValueError as error:  # of the address, or of PGPASSFILE and the like
        raise MeterlineError(f"{url.url}: {error}; see sidecar.database") from error
    try:
        await _prepare(connection)
        await _check_server(connection, url.url)
    except RAISED as error:
        connection.terminate()
        raise translate(url.url, error) from error
    except BaseException:
        connection.terminate()
        raise
    return connection


def _check_files(url: PostgresUrl) -> None:
    """Name a file of the address that cannot be read: the driver would not."""
    for key, path in parse_qsl(urlsplit(url.url).query):
        if key in FILES and path != OF_THE_SYSTEM:
            try:
                with Path(path).open("rb"):
                    pass
            except OSError as error:
                raise MeterlineError(
                    f"{path}: {error.strerror}; see {key} in sidecar.database"
                ) from error


def password(url: PostgresUrl) -> str | None:
    """Return the password of a file, where one is named."""
    if url.password_file is None:
        return None
    try:
        with url.password_file.open("rb") as file:
            content = file.read(PASSWORD_BYTES_MAX + 1)
        text = content.decode().strip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        what = error.strerror if isinstance(error, OSError) else "it is no text"
        raise MeterlineError(
            f"{url.password_file}: {what}; see sidecar.database_password_file"
        ) from error
    if not text or len(content) > PASSWORD_BYTES_MAX or "\n" in text:
        raise MeterlineError(
            f"{url.password_file} must hold the password and nothing else, on one line"
        )
    return text


async def _prepare(connection: Connection) -> None:
    await connection.set_type_codec(
        "text",
        schema="pg_catalog",
        encoder=dialect.stored,
        decoder=dialect.read,
        format="text",
    )
    # What integers add up to has this type.
    await connection.set_type_codec(
        "numeric", schema="pg_catalog", encoder=str, decoder=_number, format="text"
    )


def _number(text: str) -> int:
    return int(text)


async def _check_server(connection: Connection, place: str) -> None:
    (row,) = await connection.fetch(
        "SELECT current_setting('server_version_num')::int8,"
        " current_setting('server_encoding'), current_setting('synchronous_commit')"
    )
    version, encoding, synchronous = row
    if version < VERSION_MIN:
        raise ForeignDatabase(
            f"{place}: PostgreSQL {version // 10_000} is too old; 15 or newer is needed"
        )
    if encoding != "UTF8":
        raise ForeignDatabase(
            f"{place}: its encoding is {encoding}; create the database with ENCODING"
            " 'UTF8'"
        )
    if synchronous == "off":
        raise ForeignDatabase(
            f"{place}: synchronous_commit is off, so acked events could be lost; set it"
            " to on"
        )
