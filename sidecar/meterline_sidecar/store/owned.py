"""The words of queries that ask whose usage is: in SQL, as parameters.

A subject that had one payer belongs to them with all of its usage. One that changed
hands belongs to each payer for a time, and its usage of that time with it.
"""

from typing import Final

from meterline_sidecar.clock import DAY_MS
from meterline_sidecar.store.columns import marks
from meterline_sidecar.store.port import Value

NOBODY: Final = "IS NULL"
"""A test of a payer: there is none."""
PAID: Final = "IS NOT NULL"
"""A test of a payer: there is one."""


def one_of(n_customers: int) -> str:
    """Return a test of a payer: one of so many customers, given as parameters."""
    return "= ?" if n_customers == 1 else f"IN ({marks(n_customers)})"


def whole(test: str) -> str:
    """Return the query for the subjects that belong to a payer with all they used.

    For nobody, 0 is among them: it stands for events that nobody could be named for.
    """
    subjects = f"SELECT id FROM subjects WHERE is_split = 0 AND customer {test}"  # noqa: S608 - our own words
    return f"SELECT 0 UNION ALL {subjects}" if test == NOBODY else subjects


def parts(test: str) -> str:
    """Return the query for the times in which subjects that changed hands are theirs.

    Cut to a span; ``first_ms`` and ``last_ms`` are the midnights that whole days lie
    between, where there are any. For ``parts_given``.
    """
    return (
        "SELECT subject_id, customer, start_ms, end_ms,"  # noqa: S608 - our own words
        f" (start_ms + {DAY_MS - 1}) / {DAY_MS} * {DAY_MS} AS first_ms,"
        f" end_ms / {DAY_MS} * {DAY_MS} AS last_ms FROM"
        " (SELECT subject_id, customer,"
        " CASE WHEN from_ms > ? THEN from_ms ELSE ? END AS start_ms,"
        " CASE WHEN end_ms < ? THEN end_ms ELSE ? END AS end_ms"
        f" FROM owners WHERE customer {test} AND from_ms < ? AND end_ms > ?) AS cut"
    )


def parts_given(*customers: str, start: int, end: int) -> tuple[Value, ...]:
    """Return the parameters of ``parts``."""
    return (start, start, end, end, *customers, end, start)
