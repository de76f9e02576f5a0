"""Tokens of centres that share a ledger: a file each, and one list in the database.

Each centre lays the two together every second, so that what was made or revoked on one
host holds on all of them a moment later. A token is never changed but for being revoked,
and that is for good: whoever comes first, all end with the same.
"""

from typing import Final

import msgspec

from meterline_sidecar.access.tokens import Token, TokenFile
from meterline_sidecar.store.facts import facts_from, put_fact
from meterline_sidecar.store.port import Database

NAMED: Final = "token:"
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
        theirs = {token.id: token for token in map(_decode, written.values())}
        news = [
            one for one in self._file.merge(theirs.values()) if _is_news(one, theirs)
        ]
        if not news:
            return
        async with self._database.transaction() as tx:
            for token in news:
                text = msgspec.json.encode(token).decode()
                await put_fact(tx, NAMED + token.id, text)


def _is_news(token: Token, theirs: dict[str, Token]) -> bool:
    known = theirs.get(token.id)
    return known is None or (token.revoked_ms is not None and known.revoked_ms is None)
