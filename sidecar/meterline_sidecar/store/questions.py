"""SQL for what centres that share a ledger ask each other about their edges, for seconds."""

from typing import Final, NamedTuple

from meterline_sidecar.store.port import Tx

QUESTIONS_MAX: Final = 64
"""At once, of all centres; an answer has 300 KiB or so."""


class Question(NamedTuple):
    """A question about an edge, from whichever centre."""

    name: str
    """Which nobody had before."""
    edge_id: int
    asked: bytes
    is_answered: bool


async def add_question(tx: Tx, name: str, edge_id: int, asked: bytes) -> bool:
    """Add a question; say whether there was room for it."""
    added = await tx.execute(
        "INSERT INTO edge_questions (question, edge_id, asked) SELECT ?, ?, ?"
        " WHERE (SELECT count(*) FROM edge_questions) < ?",
        (name, edge_id, asked, QUESTIONS_MAX),
    )
    return added == 1


async def list_questions(tx: Tx) -> list[Question]:
    """Return all questions that are there, in no order."""
    rows = await tx.fetch_all(
        "SELECT question, edge_id, asked, told IS NOT NULL FROM edge_questions"
    )
    return [
        Question(name, edge_id, asked, bool(is_answered))
        for name, edge_id, asked, is_answered in rows
    ]


async def answer_question(tx: Tx, name: str, told: bytes) -> None:
    """Note what an edge told; the first answer stays, and nobody may wait any more."""
    await tx.execute(
        "UPDATE edge_questions SET told = ? WHERE question = ? AND told IS NULL",
        (told, name),
    )


async def told_of(tx: Tx, name: str) -> bytes | None:
    """Return what an edge told; ``None``: nothing yet, or the question is gone."""
    row = await tx.fetch_one(
        "SELECT told FROM edge_questions WHERE question = ?", (name,)
    )
    return None if row is None else row[0]


async def drop_question(tx: Tx, name: str) -> None:
    """Forget a question and its answer."""
    await tx.execute("DELETE FROM edge_questions WHERE question = ?", (name,))
