"""How a chain survives that a name is taken out of what it is over.

The chain's links stay as they are. A batch in which the name stood is sealed: a keyed
digest over its link and over what it holds by then, made only where it was just what
was committed. So a verification takes such a batch for what was committed but for the
name, and any other change of it is found as ever. Rows of terms are sealed likewise.
"""

import hmac
import json
from collections.abc import Iterable, Mapping
from functools import cached_property
from hashlib import sha256
from typing import Final

import msgspec
from msgspec.structs import replace

from meterline_sidecar.errors import MeterlineError
from meterline_sidecar.properties import stored_in
from meterline_sidecar.store.edge import erasing_files
from meterline_sidecar.store.edge.events import BatchRow, EventRow, LossRow
from meterline_sidecar.store.facts import get_fact, put_fact
from meterline_sidecar.store.port import Row, Tx

UNDER_WAY: Final = "erasing"
"""The fact that keeps what an erasure that is under way needs to go on."""
OF_BATCH: Final = b"meterline erased batch 1"
OF_ROW: Final = b"meterline erased row 1"
OF_NAME: Final = b"meterline erased name 1"

TEXT_CHARS_MIN: Final = 6
"""A shorter name, such as the number of a user, may mean something else in a text."""

_encode = msgspec.msgpack.Encoder().encode
_to_json = msgspec.json.Encoder().encode


def forms(word: str) -> tuple[str, ...]:
    """Return how a word may be written in a text: as it is, and as JSON has it."""
    written = {word, _to_json(word).decode()[1:-1], json.dumps(word)[1:-1]}
    return tuple(sorted(written, key=lambda form: (-len(form), form)))


class EraseRefused(MeterlineError, ValueError):
    """A name cannot be erased now; the text says why, and what to do."""


class ErasedWord(msgspec.Struct, frozen=True):
    """What is kept of another word that was erased with a name."""

    digest: str
    """Keyed, in hex; see ``name_digest``."""
    alias: str


class Erasing(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """An erasure that is under way: gone from the ledger when it is done."""

    id: int
    subject: str
    subject_id: int
    alias: str
    author: str
    reason: str
    also: dict[str, str] = {}
    """Other words that lead to the person, and what takes the place of each."""
    again: tuple[ErasedWord, ...] | None = None
    """Of one that is done again: its other words, which nobody has named yet."""
    kept: tuple[str, ...] = ()
    """Properties that meters look at: usage is by their values, which stay."""
    marks: tuple[str, ...] = ()
    """Of files that were written anew before the ledger was put back."""
    file_id: int = 0
    """Up to which move all files of the archive are written anew."""
    edge_file_id: int = 0
    """Likewise, of an edge: up to which row those that it wrote."""
    batch_id: int = 0
    """Up to which batch of the ledger all is sealed."""
    batches: int = 0
    """How many were."""
    events: int = 0

    @cached_property
    def words(self) -> Mapping[str, str]:
        """What is replaced wherever it stands in a text; the longest first."""
        words = dict(self.also)
        if len(self.subject) >= TEXT_CHARS_MIN:
            words[self.subject] = self.alias
        written = {form: alias for word, alias in words.items() for form in forms(word)}
        return dict(sorted(written.items(), key=lambda pair: -len(pair[0])))

    def text(self, text: str) -> str:
        """Return a text as it is when it is done."""
        for word, alias in self.words.items():
            text = text.replace(word, alias)
        return text

    def external_id(self, external_id: str, event: EventRow) -> str:
        """Return what a sender calls an event as it is when it is done."""
        if event.subject == self.subject:
            external_id = external_id.replace(self.subject, self.alias)
        return self.text(external_id)

    def renamed(self, events: Iterable[EventRow]) -> list[EventRow]:
        """Return events as they are when it is done."""
        return [self._renamed(event) for event in events]

    def as_before(self, events: Iterable[EventRow]) -> list[EventRow]:
        """Return events under the subject's name again."""
        return [
            event._replace(subject=self.subject)
            if event.subject == self.alias
            else event
            for event in events
        ]

    def changes(self, event: EventRow) -> bool:
        """Say whether it changes an event."""
        return self._renamed(event) is not event

    def _renamed(self, event: EventRow) -> EventRow:
        properties = self.properties(event.properties)
        if event.subject == self.subject:
            return event._replace(subject=self.alias, properties=properties)
        if properties == event.properties:
            return event
        return event._replace(properties=properties)

    def properties(self, text: str | None) -> str | None:
        """Return an event's properties as they are when it is done."""
        if text is None or not any(word in text for word in self.words):
            return text
        said = stored_in(text)
        after = replace(
            said,
            whole=self._values(said.whole),
            parts=tuple((name, n, self._values(own)) for name, n, own in said.parts),
        )
        if after == said:
            return text
        written: dict[str, object] = {}
        if after.whole:
            written["all"] = after.whole
        if after.parts:
            written["parts"] = after.parts
        return _to_json(written).decode()

    def _values(self, named: dict[str, str]) -> dict[str, str]:
        return {
            name: value if name in self.kept else self.text(value)
            for name, value in named.items()
        }

    def renamed_losses(self, losses: Iterable[LossRow]) -> list[LossRow]:
        """Return losses as they are when it is done."""
        names = [self.subject.encode(), *(word.encode() for word in self.words)]
        return [
            loss._replace(payload=self.alias.encode())
            if loss.payload is not None and any(name in loss.payload for name in names)
            else loss
            for loss in losses
        ]


async def under_way(tx: Tx) -> Erasing | None:
    """Return the erasure that is under way, if one is."""
    text = await get_fact(tx, UNDER_WAY)
    return None if text is None else msgspec.json.decode(text, type=Erasing)


async def keep(tx: Tx, erasing: Erasing) -> None:
    """Note how far an erasure is."""
    await put_fact(tx, UNDER_WAY, msgspec.json.encode(erasing).decode())


async def is_erasing(tx: Tx) -> bool:
    """Say whether files of the archive are being written anew, or old ones deleted."""
    return await get_fact(tx, UNDER_WAY) is not None or bool(
        await erasing_files.waiting(tx)
    )


def batch_seal(
    key: bytes,
    mac: bytes,
    *,
    batch: BatchRow,
    producer: str,
    events: list[EventRow],
    losses: list[LossRow],
) -> bytes:
    """Return the seal of a batch that was changed by an erasure, 32 bytes.

    Args:
        mac: its link of the chain, which stays.
    """
    facts = _encode((mac, producer, *batch.facts()))
    rows = sha256(_encode((events, losses))).digest()
    return hmac.digest(key, OF_BATCH + facts + rows, "sha256")


def row_seal(key: bytes, entry: str, mac: bytes, row: Row) -> bytes:
    """Return the seal of a row of the journal, by its link and what stands in it."""
    return hmac.digest(key, OF_ROW + _encode((entry, mac, row)), "sha256")


def name_digest(key: bytes, name: str) -> bytes:
    """Return what an erasure keeps of a name: nobody reads it back without the key."""
    return hmac.digest(key, OF_NAME + name.encode(), "sha256")
