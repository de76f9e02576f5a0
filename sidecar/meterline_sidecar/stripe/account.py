"""Which account at Stripe a ledger reports to: one, in live mode or a sandbox, for ever."""

import logging
from typing import Final

from meterline_sidecar.store import facts, outbox
from meterline_sidecar.store.outbox import Cursor
from meterline_sidecar.store.port import Database, Tx

ACCOUNT: Final = "stripe_account"
"""The fact that says whose key something was first told with, and its mode."""
ELSEWHERE: Final = "use a separate ledger for that one (sidecar.database)"

log = logging.getLogger(__name__)


class LedgerAccount:
    """The account that a ledger reports to: that of the first key it told something with.

    Live mode and the test mode of an account have one name, and are two accounts here.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def refusal(
        self, *, is_live: bool, account: str | None, is_telling: bool
    ) -> str | None:
        """Return why a key may not be used; ``None``: it may be.

        Reading binds a ledger to nothing: who tries one key after the other before
        anything is told has not decided yet.

        Args:
            account: whose the key is; ``None``: that is not known, so that only its mode
                can be wrong.
            is_telling: whether something is to be told, and not only read.
        """
        async with self._database.reading() as tx:
            known = await facts.get_fact(tx, ACCOUNT)
            refusal = _wrong_mode(await outbox.cursor(tx), is_live=is_live)
        if account is None or refusal is not None:
            return refusal
        given = _named(account, is_live=is_live)
        if known is None and is_telling:
            async with self._database.transaction() as tx:
                # Another process may have been first.
                known = await facts.get_fact(tx, ACCOUNT)
                if known is None:
                    await facts.put_fact(tx, ACCOUNT, given)
                    log.info("this ledger reports to %s from now on", _in_words(given))
        difference = other_account(known, is_live=is_live, account=account)
        return difference and (
            f"{difference}: put a key of the first in its place, or {ELSEWHERE}"
        )


def other_account(
    known: str | None, *, is_live: bool, account: str | None
) -> str | None:
    """Return in words that a key is of another account; ``None``: it is not, or unknown.

    Args:
        known: what the fact says; ``None``: there is none yet.
        account: whose the key is; ``None``: that is not known.
    """
    if known is None or account is None:
        return None
    given = _named(account, is_live=is_live)
    if known == given:
        return None
    return f"this ledger reports to {_in_words(known)} but the key is of {_in_words(given)}"


def _named(account: str, *, is_live: bool) -> str:
    return f"{'live' if is_live else 'sandbox'} {account}"


def _in_words(bound: str) -> str:
    mode, _, account = bound.partition(" ")
    return f"{account}, {'live mode' if mode == 'live' else 'a sandbox'}, of Stripe"


async def wrong_account(tx: Tx, *, is_live: bool | None) -> str | None:
    """Bind the ledger to the mode of its first key; say why another one is wrong.

    Args:
        is_live: the mode of the key; ``None``: there is none.
    """
    cursor = await outbox.cursor(tx)
    if cursor is None or is_live is None:
        return None
    if cursor.is_live is None:
        await outbox.bind(tx, is_live=is_live)
    return _wrong_mode(cursor, is_live=is_live)


def _wrong_mode(cursor: Cursor | None, *, is_live: bool) -> str | None:
    if cursor is None or cursor.is_live in (None, is_live):
        return None
    told, given = (
        "live mode" if mode else "a sandbox" for mode in (cursor.is_live, is_live)
    )
    return (
        f"this ledger reports to {told} of Stripe but the key is of {given}:"
        f" {ELSEWHERE}"
    )
