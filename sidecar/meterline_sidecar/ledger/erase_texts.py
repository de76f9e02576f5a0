"""Takes a name out of texts that people and programs wrote, row by row.

Reasons, keys, references and the like: nothing is computed from them. A row that has a
link of the journal is sealed in the transaction that changes it, and only where it just
was what was linked; one that has a seal of its own is sealed anew. What documents,
prices or usage are made of stays, and is told with where it stands.
"""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from meterline_sidecar.ledger.erased import EraseRefused, Erasing, forms
from meterline_sidecar.ledger.journal import is_as_written, seal_erased
from meterline_sidecar.ledger.seals import SealingDatabase, is_sealed
from meterline_sidecar.store.edge import erase as store
from meterline_sidecar.store.once import forget_answers, has_answers
from meterline_sidecar.store.port import Database, Readable, Tx

ROWS_PER_STEP: Final = 100
TEXTS: Final = {**store.JOURNALED, **store.LOOSE}

_LAW: Final = "final documents are kept as they are: the law wants it"
_WHO: Final = "who did something stays named; other texts of these rows are replaced"
_USAGE: Final = "usage is told apart by it, and may stand so on final invoices"
STAYS: Final[Mapping[str, tuple[str, str]]] = {
    "adjustments": ("it is the id of a customer", "meterline customers"),
    "alerts": ("it is the id of a customer", "meterline customers"),
    "corrections": (_WHO, "meterline correct --list"),
    "credit_ends": (_WHO, "meterline audit"),
    "credits": ("titles stand on invoices; " + _WHO, "meterline credit"),
    "documents": (_LAW, "meterline invoice"),
    "edge_decisions": (_WHO, "meterline audit"),
    "edges": ("it is the name of an edge", "meterline edges"),
    "endpoints": ("it is part of a route of the app", "GET /v1/events?route="),
    "erasures": (_WHO, "meterline audit"),
    "events": (
        "meters look at that property, or it is the name of a property or quantity",
        "meterline events",
    ),
    "external_events": ("it came while the erasure ran", "meterline events"),
    "external_sources": ("it is the name of a sender", "GET /v1/events?source="),
    "generation_ends": (_WHO, "meterline audit"),
    "groups": (_USAGE, "meterline usage"),
    "held_decisions": (_WHO, "meterline audit"),
    "import_chunks": ("lines wait aside", "GET /v1/imports"),
    "import_faults": ("it came while the erasure ran", "GET /v1/imports"),
    "import_states": (_WHO, "meterline audit"),
    "imports": (_WHO, "GET /v1/imports"),
    "invoice_states": (_WHO, "meterline audit"),
    "invoices": (_LAW, "meterline invoice"),
    "late_rejections": (_WHO, "meterline audit"),
    "outbox": ("it is the id of a customer", "meterline customers"),
    "payments": ("it is the id of a customer; " + _WHO, "meterline audit"),
    "producers": ("it is the name of an app or host", "meterline status"),
    "property_values": (_USAGE, "meterline usage"),
    "stripe_calls": ("it is what Stripe was told of an invoice", "meterline invoice"),
    "stripe_events": ("it waits to be acted on: erase again", "meterline status"),
    "subjects": ("it is part of another subject: erase that one", "meterline usage"),
    "term_uses": ("it is the id of a customer or plan", "meterline customers"),
    "terms": (
        "final invoices are computed again from what was agreed, with names and"
        " addresses of buyers; change what holds from now on, it is in each later one",
        "meterline customers",
    ),
    "unique_values": (_USAGE, "meterline usage"),
}
"""Why a word may still stand in a table, and what shows it."""


class Mention(NamedTuple):
    """A table in which a word stands after the erasure."""

    table: str
    rows: int
    why: str
    shown_by: str


async def replace_texts(
    database: Database, key: bytes, erasing: Erasing
) -> dict[str, int]:
    """Replace the words of an erasure in all texts; return in how many rows, by table.

    Done again, it goes on with what is left.

    Raises:
        EraseRefused: a row is not what was written.
    """
    sealing = SealingDatabase(database, key)
    async with database.reading() as tx:
        is_answered = await has_answers(tx)
    if is_answered:  # requests: the name may stand in what was said
        async with database.transaction() as tx:
            await forget_answers(tx)
    found: dict[str, int] = {}
    words = list(erasing.words)
    for table, columns in TEXTS.items():
        after = 0
        while words:
            given = (table, columns, words)
            async with sealing.reading() as tx:
                rows = await store.texts_with(
                    tx, *given, after=after, limit=ROWS_PER_STEP
                )
            if not rows:
                break
            async with sealing.transaction() as tx:
                for row_id in rows:
                    await _replace(tx, key, erasing, table, row_id)
            found[table] = found.get(table, 0) + len(rows)
            after = rows[-1]
    return found


async def mentions(
    database: Readable, subject: str, also: Sequence[str]
) -> tuple[Mention, ...]:
    """Return where words stand, to the letter: in every text, of whatever table."""
    words = sorted({form for word in (subject, *also) for form in forms(word)})
    async with database.reading() as tx:
        found = await store.mentions(tx, words, but_subject=subject)
    return tuple(
        Mention(table, n_rows, *STAYS[table]) for table, n_rows in found.items()
    )


async def _replace(
    tx: Tx, key: bytes, erasing: Erasing, table: str, row_id: int
) -> None:
    """Replace the words in one row, as it is by now, and seal it."""
    columns = TEXTS[table]
    texts = await store.texts_of(tx, table, columns, row_id)
    if texts is None:
        return  # It was forgotten meanwhile.
    await _check(tx, key, table, row_id)
    changed = [erasing.text(one) if isinstance(one, str) else one for one in texts]
    await store.put_texts(tx, table, columns, row_id, changed)
    if table in store.JOURNALED:
        await seal_erased(tx, key, erasing.id, table, [row_id])


async def _check(tx: Tx, key: bytes, table: str, row_id: int) -> None:
    """Make sure that a row is what was written: a new seal would hide that it is not."""
    if table in store.JOURNALED:
        is_right = await is_as_written(tx, key, table, row_id)
    else:
        is_right = await is_sealed(tx, key, table, row_id)
    if not is_right:
        raise EraseRefused(
            f"row {row_id} of {table} is not what was written, and an erasure would hide"
            " that: run `meterline verify`"
        )
