"""Requests that are carried out once, whatever is sent again: by keys of their senders.

Whoever asks for a change can name the request with a key. The first transaction that is
opened for it keeps the key, so that there is never one without the other, whatever the
process dies of; a second request under the key is refused by its own first transaction.
What was answered is kept behind that: it may be missing, the change never is.
"""

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final, NamedTuple, TypeVar

from meterline_sidecar.errors import MeterlineError
from meterline_sidecar.store.port import Tx, Work

T = TypeVar("T")
KEPT_MS: Final = 7 * 86_400_000
"""How long a key holds: somebody may come back to a page that was open over a weekend."""
FORGOTTEN_AT_ONCE: Final = 100  # with each key that is kept; so they never pile up


class UsedBefore(MeterlineError):
    """A request under this key was carried out, or is just being so."""


class Used(NamedTuple):
    """A request that was carried out under a key."""

    request: bytes
    """A digest of what was asked for."""
    used_ms: int
    status: int | None
    """What was answered; ``None`` where that is not kept."""
    answer: bytes | None


class Once:
    """A request under a key, while it is carried out.

    Args:
        key: a digest of the key, 16 bytes.
        request: a digest of all that is asked for, 16 bytes.
        now_ms: when it came.
    """

    def __init__(self, key: bytes, request: bytes, *, now_ms: int) -> None:
        self.key = key
        self.request = request
        self.now_ms = now_ms
        self.is_kept = False
        """Whether a transaction was committed for it, and its key with it."""

    async def keep(self, tx: Tx) -> None:
        """Keep its key, in the first of its transactions; in others do nothing.

        Raises:
            UsedBefore: another request has kept it.
        """
        if self.is_kept:
            return
        await forget_keys(tx, before_ms=self.now_ms - KEPT_MS)
        if not await put_key(tx, self.key, self.request, used_ms=self.now_ms):
            raise UsedBefore("a request under this key was carried out before")


_ONCE: Final[ContextVar[Once | None]] = ContextVar("once", default=None)


def once() -> Once | None:
    """Return the request that is carried out here; ``None``: none that has a key."""
    return _ONCE.get()


@contextmanager
def carrying_out(request: Once) -> Generator[None]:
    """Carry a request out: the first transaction that is opened meanwhile keeps its key."""
    token = _ONCE.set(request)
    try:
        yield
    finally:
        _ONCE.reset(token)


def keeping(work: Work[T]) -> Work[T]:
    """Return work that keeps the key of the request that it is done for."""
    request = once()
    if request is None:
        return work

    async def whole(tx: Tx) -> T:
        await request.keep(tx)
        return await work(tx)

    return whole


async def put_key(tx: Tx, key: bytes, request: bytes, *, used_ms: int) -> bool:
    """Keep a key; return whether nobody had."""
    n_rows = await tx.execute(
        "INSERT INTO idempotency_keys (key, request, used_ms) VALUES (?, ?, ?)"
        " ON CONFLICT (key) DO NOTHING",
        (key, request, used_ms),
    )
    return n_rows == 1


async def put_answer(tx: Tx, key: bytes, *, status: int, answer: bytes) -> None:
    """Keep what was answered under a key; the first one stays."""
    await tx.execute(
        "INSERT INTO idempotency_answers (key, status, answer) VALUES (?, ?, ?)"
        " ON CONFLICT (key) DO NOTHING",
        (key, status, answer),
    )


async def find_key(tx: Tx, key: bytes) -> Used | None:
    """Return what was carried out under a key; ``None``: nothing."""
    row = await tx.fetch_one(
        "SELECT request, used_ms, status, answer FROM idempotency_keys AS k"
        " LEFT JOIN idempotency_answers AS a ON a.key = k.key WHERE k.key = ?",
        (key,),
    )
    return None if row is None else Used(*row)


async def forget_keys(tx: Tx, *, before_ms: int) -> None:
    """Forget some of the keys from before a time, and their answers."""
    rows = await tx.fetch_all(
        "SELECT key FROM idempotency_keys WHERE used_ms < ? ORDER BY used_ms LIMIT ?",
        (before_ms, FORGOTTEN_AT_ONCE),
    )
    if rows:
        await tx.execute_many("DELETE FROM idempotency_answers WHERE key = ?", rows)
        await tx.execute_many("DELETE FROM idempotency_keys WHERE key = ?", rows)


async def has_answers(tx: Tx) -> bool:
    """Say whether any answer is kept."""
    return await tx.fetch_one("SELECT 1 FROM idempotency_answers LIMIT 1") is not None


async def forget_answers(tx: Tx) -> None:
    """Forget every answer, as names may stand there; the keys hold as before."""
    await tx.execute("DELETE FROM idempotency_answers")
