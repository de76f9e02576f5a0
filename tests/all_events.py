"""Events of a ledger as one table, whether they are packed or rows, for who reads its file."""

import sqlite3
from typing import Final

from meterline_sidecar.store.edge.packed import FROM_PACKS, LAST
from meterline_sidecar.store.edge.stored import STORED
from meterline_sidecar.store.packs import unpack

_GIVEN: Final = ("0", str(LAST), "NULL", "0", str(LAST), "0")


def _with(sql: str, given: tuple[str, ...]) -> str:
    parts = sql.split("?")
    return "".join(
        part + value for part, value in zip(parts, (*given, ""), strict=True)
    )


ALL_EVENTS: Final = (
    f"(SELECT {STORED.listed} FROM events UNION ALL {_with(FROM_PACKS, _GIVEN)})"
)
"""Stands behind FROM in the place of ``events``."""


def with_packs(connection: sqlite3.Connection) -> sqlite3.Connection:
    """Return a connection that can read packs."""
    connection.create_function("unpack", 5, unpack, deterministic=True)
    return connection
