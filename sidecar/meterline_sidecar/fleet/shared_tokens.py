"""Tokens of centres that share a ledger: a file each, and one list in the database.

Each centre lays the two together every second, so that what was made or revoked on one
host holds on all of them a moment later. A token is never changed but for being revoked,
and that is for good: whoever comes first, all end with the same.

The oldest revoked ones are forgotten beyond some number, and up to when these were revoked
is kept. A host that was away for so long may still have one as if it held: what it has
alone, and is no newer than that, does not hold any more.
"""

import logging
from collections.abc import Iterable
from typing import Final

import msgspec

from meterline_sidecar.access.tokens import REVOKED_MAX, Token, TokenFile
from meterline_sidecar.store.facts import drop_fact, facts_from, get_fact, put_fact
from meterline_sidecar.store.port import Database

log = logging.getLogger(__name__)

NAMED: Final = "token:"
FORGOTTEN: Final = "tokens_forgotten"
"""The fact that says up to when revoked tokens are forgotten."""
_decode: Final = msgspec.json.Decoder(Token).decode


class SharedTokens:
    """Lays the tokens of this host and of the ledger together."""

    def __init__(self, file: TokenFile, database: Database) -> None:
        self._file = file
        self._database = database

    async def run(self) -> None:
        """Take in what others made and revoked, and tell them what was here.

        Raises:
            ConfigError: the file cannot be read, or is damaged.
            DatabaseGone: the database does not answer; what is known here goes on to hold.
        """
        async with self._database.reading() as tx:
            written = await facts_from(tx, NAMED)
            forgotten_ms = int(await get_fact(tx, FORGOTTEN) or 0)
        theirs = {token.id: token for token in map(_decode, written.values())}
        held = {token.id for token in self._file.all()}
        known = self._file.merge(theirs.values(), forgotten_ms=forgotten_ms)
        for token_id in sorted(held - {token.id for token in known}):
            log.warning(
                "token %s holds no more: no other centre knows it, and it may have been"
                " revoked while this host was away; make another one if it was not",
                token_id,
            )
        news = [one for one in known if _is_news(one, theirs)]
        if not news:
            await self._forget(theirs.values())
            return
        async with self._database.transaction() as tx:
            for token in news:
                text = msgspec.json.encode(token).decode()
                await put_fact(tx, NAMED + token.id, text)

    async def _forget(self, theirs: Iterable[Token]) -> None:
        """Forget the oldest revoked ones beyond the most that are kept."""
        revoked = sorted((one.revoked_ms, one.id) for one in theirs if one.revoked_ms)
        gone = revoked[: max(0, len(revoked) - REVOKED_MAX)]
        if not gone:
            return
        async with self._database.transaction() as tx:
            before_ms = int(await get_fact(tx, FORGOTTEN) or 0)
            await put_fact(tx, FORGOTTEN, str(max(before_ms, gone[-1][0])))
            for _, token_id in gone:
                await drop_fact(tx, NAMED + token_id)


def _is_news(token: Token, theirs: dict[str, Token]) -> bool:
    known = theirs.get(token.id)
    return known is None or (token.revoked_ms is not None and known.revoked_ms is None)
