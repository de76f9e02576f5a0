"""Sees that all who write a ledger have the same key: their links are one chain."""

import hmac
from typing import Final

from meterline_sidecar.errors import ConfigError
from meterline_sidecar.ledger.chain import ChainFiles
from meterline_sidecar.store.facts import get_fact, put_fact
from meterline_sidecar.store.port import Database

KEY: Final = "chain_key"
"""The fact that tells the key from others, and tells nobody the key."""


async def check_key(database: Database, chain: ChainFiles, key: bytes) -> None:
    """Make sure that we have the key that others write with; the first one says which.

    Raises:
        ConfigError: we have another one.
    """
    if not database.others_write:
        return
    ours = hmac.digest(key, b"meterline chain key", "sha256").hex()
    async with database.transaction() as tx:
        known = await get_fact(tx, KEY)
        if known is None:
            await put_fact(tx, KEY, ours)
    if known not in (None, ours):
        raise ConfigError(
            f"{chain.key_path} is not the key that this ledger is written with: copy that"
            " file from a centre that runs, in the place of this one"
        )
