"""What SQLite and PostgreSQL do not say in the same words.

Statements are written once, in the words that both databases have. Where there are none,
the text for SQLite stands in the statement, and the one for PostgreSQL here beside it.
"""

from typing import Final

_FOR_POSTGRES: Final[dict[str, str]] = {}


def either(*, sqlite: str, postgres: str) -> str:
    """Return a statement, or a part of one, of which PostgreSQL has another text.

    A caller has the text for SQLite and puts it into statements as any other. Both have
    the same parameters in the same order.
    """
    assert sqlite.count("?") == postgres.count("?"), sqlite
    _FOR_POSTGRES[sqlite] = postgres
    return sqlite


def text_for_postgres(sql: str) -> str:
    """Return what PostgreSQL is told in the place of a statement."""
    for text, other in _FOR_POSTGRES.items():
        if text in sql:
            sql = sql.replace(text, other)
    return sql
