"""Words that have to be named again, as a ledger was put back that may hold them.

An erasure keeps no word: beside the ledger lies a keyed digest of each, by which nobody
finds it in a text. So where an erasure is done again, its other words are noted here as
missing, until somebody names them, or says that nobody can.
"""

from collections.abc import Iterable
from typing import Final

import msgspec

from meterline_sidecar.ledger.erased import ErasedWord, Erasing, name_digest
from meterline_sidecar.store.facts import drop_fact, get_fact, put_fact
from meterline_sidecar.store.port import Tx

MISSING: Final = "erased_words"
"""The fact that says which are missing, by the alias of the subject."""

Missing = dict[str, tuple[ErasedWord, ...]]


async def missing_words(tx: Tx) -> Missing:
    """Return which words are missing, by the alias that they were erased with."""
    text = await get_fact(tx, MISSING)
    return {} if text is None else msgspec.json.decode(text, type=Missing)


async def known_aliases(tx: Tx, key: bytes, words: Iterable[str]) -> dict[str, str]:
    """Return what took the place of words that are missing, of those that are named."""
    missing = await missing_words(tx)
    known = {one.digest: one.alias for of in missing.values() for one in of}
    digests = {word: name_digest(key, word).hex() for word in words}
    return {word: known[d] for word, d in digests.items() if d in known}


async def note_words(tx: Tx, key: bytes, erasing: Erasing) -> None:
    """Note what an erasure that is done leaves missing, or has found.

    One of an alias that names no word gives those up that were erased with it.
    """
    named = {name_digest(key, word).hex() for word in erasing.also}
    gives_up = not named and erasing.again is None
    left: Missing = {}
    for alias, words in (await missing_words(tx)).items():
        rest = tuple(word for word in words if word.digest not in named)
        if alias != erasing.subject:
            left[alias] = rest
        elif not gives_up:
            left[erasing.alias] = rest
    again = erasing.again or ()
    left[erasing.alias] = tuple(dict.fromkeys((*left.get(erasing.alias, ()), *again)))
    left = {alias: words for alias, words in left.items() if words}
    if left:
        await put_fact(tx, MISSING, msgspec.json.encode(left).decode())
    else:
        await drop_fact(tx, MISSING)
