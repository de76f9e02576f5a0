"""SQL for terms: what was agreed and from when, row by row as it was learned."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Final, Literal, NamedTuple

from meterline_sidecar.store.columns import marks
from meterline_sidecar.store.port import Tx
from meterline_sidecar.store.rollups import WINDOW_MS

Step = tuple[int, str | None]
"""From when on, and who pays."""
Kind = Literal["customer", "plan", "meter", "rule"]
Source = Literal["file", "api"]

NEVER_MS: Final = (1 << 63) - 1
"""The end of what has none."""


class NewTerm(NamedTuple):
    """A row to add."""

    kind: Kind
    name: str
    change: str
    """A JSON object: only what changes."""
    from_ms: int
    learned_ms: int
    source: Source
    author: str
    reason: str = ""
    reaches_final: int = 0


class TermRow(NamedTuple):
    """A row as it is stored; the id is the order in which it was learned."""

    id: int
    kind: Kind
    name: str
    change: str
    from_ms: int
    learned_ms: int
    source: Source
    author: str
    reason: str
    reaches_final: int


async def add_terms(tx: Tx, rows: Sequence[NewTerm]) -> list[TermRow]:
    """Add rows in order and return them with their ids."""
    newest = await newest_term(tx)
    await tx.execute_many(
        "INSERT INTO terms (kind, name, change, from_ms, learned_ms, source, author,"
        " reason, reaches_final) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        rows,
    )
    return await terms_after(tx, newest, limit=len(rows))


async def terms_after(tx: Tx, row_id: int, *, limit: int) -> list[TermRow]:
    """Return up to ``limit`` rows behind an id, in the order they were learned."""
    rows = await tx.fetch_all(
        "SELECT id, kind, name, change, from_ms, learned_ms, source, author, reason,"
        " reaches_final FROM terms WHERE id > ? ORDER BY id LIMIT ?",
        (row_id, limit),
    )
    return [TermRow(*row) for row in rows]


async def is_known(tx: Tx, kind: Kind, name: str) -> bool:
    """Say whether there is a row about something."""
    row = await tx.fetch_one(
        "SELECT 1 FROM terms WHERE kind = ? AND name = ? LIMIT 1", (kind, name)
    )
    return row is not None


async def newest_term(tx: Tx) -> int:
    """Return the id of the row that was learned last; 0 before the first."""
    row = await tx.fetch_one("SELECT coalesce(max(id), 0) FROM terms")
    assert row is not None
    return int(row[0])


async def subjects_named(tx: Tx, names: Sequence[str]) -> list[tuple[int, str]]:
    """Return ``(id, name)`` of those of up to some hundred subjects that were seen."""
    rows = await tx.fetch_all(
        f"SELECT id, name FROM subjects WHERE name IN ({marks(len(names))})"  # noqa: S608 - only marks
        " ORDER BY name",
        names,
    )
    return [(row[0], row[1]) for row in rows]


async def subjects_of_nobody(
    tx: Tx, *, after_id: int, limit: int
) -> list[tuple[int, str]]:
    """Return ``(id, name)`` of subjects behind an id that nobody pays for, by id."""
    rows = await tx.fetch_all(
        "SELECT id, name FROM subjects WHERE customer IS NULL AND id > ?"
        " ORDER BY id LIMIT ?",
        (after_id, limit),
    )
    return [(row[0], row[1]) for row in rows]


async def subjects_between(
    tx: Tx, first: str, beyond: str | None, *, after: str, limit: int
) -> list[tuple[int, str]]:
    """Return ``(id, name)`` of subjects in ``[first, beyond)`` after a name, sorted."""
    if beyond is None:
        rows = await tx.fetch_all(
            "SELECT id, name FROM subjects WHERE name >= ? AND name > ?"
            " ORDER BY name LIMIT ?",
            (first, after, limit),
        )
    else:
        rows = await tx.fetch_all(
            "SELECT id, name FROM subjects WHERE name >= ? AND name > ? AND name < ?"
            " ORDER BY name LIMIT ?",
            (first, after, beyond, limit),
        )
    return [(row[0], row[1]) for row in rows]


async def set_owners(tx: Tx, histories: Mapping[int, Sequence[Step]]) -> None:
    """Store who pays for some subjects, each from when on, in order of time.

    One entry that holds from the beginning stands beside the subject; a longer history
    in a table of its own. Where one begins within a window, what is counted from now on
    goes into a window of its own, so that each pays for theirs to the millisecond.
    """
    split = {subject_id: of for subject_id, of in histories.items() if len(of) > 1}
    await tx.execute_many(
        "DELETE FROM owners WHERE subject_id = ?",
        [(subject_id,) for subject_id in histories],
    )
    await tx.execute_many(
        "UPDATE subjects SET customer = ?, is_split = ? WHERE id = ?",
        [
            (history[-1][1], int(subject_id in split), subject_id)
            for subject_id, history in histories.items()
        ],
    )
    if not split:
        return
    await tx.execute_many(
        "INSERT INTO owners (subject_id, from_ms, end_ms, customer)"
        " VALUES (?, ?, ?, ?)",
        [
            (subject_id, from_ms, end_ms, customer)
            for subject_id, history in split.items()
            for (from_ms, customer), end_ms in zip(
                history, [*(at_ms for at_ms, _ in history[1:]), NEVER_MS], strict=True
            )
        ],
    )
    # A cut stays when the history is corrected later: windows were counted by it.
    await tx.execute_many(
        "INSERT INTO window_cuts (cut_ms, subject_id, after_event_id)"
        " VALUES (?, ?, (SELECT coalesce(max(cursor), 0) FROM generations))"
        " ON CONFLICT (cut_ms, subject_id) DO NOTHING",
        [
            (from_ms, subject_id)
            for subject_id, history in split.items()
            for from_ms, _ in history
            if from_ms % WINDOW_MS != 0
        ],
    )


async def owners_of(tx: Tx, subject_ids: Sequence[int]) -> dict[int, list[Step]]:
    """Return who pays for each of up to some thousand subjects, in order of time."""
    found: dict[int, list[Step]] = {
        subject_id: [(0, None)] for subject_id in subject_ids
    }
    for subject_id, customer in await tx.fetch_all(
        f"SELECT id, customer FROM subjects WHERE id IN ({marks(len(found))})",  # noqa: S608 - only marks
        subject_ids,
    ):
        found[subject_id] = [(0, customer)]
    split: dict[int, list[Step]] = defaultdict(list)
    for subject_id, from_ms, customer in await tx.fetch_all(
        "SELECT subject_id, from_ms, customer FROM owners"  # noqa: S608 - only marks
        f" WHERE subject_id IN ({marks(len(found))}) ORDER BY subject_id, from_ms",
        subject_ids,
    ):
        split[subject_id].append((from_ms, customer))
    return found | split
