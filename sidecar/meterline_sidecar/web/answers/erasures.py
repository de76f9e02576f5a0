"""What the API answers about names that were erased."""

import msgspec


class ShownErasure(msgspec.Struct, frozen=True, kw_only=True):
    """A name that was erased. Whose it was is not said."""

    erasure: int
    alias: str
    """What stands in its place."""
    digest: str
    """Keyed, in hex: the same for the same name, and nothing can be read from it."""
    events: int
    batches: int
    erased: str
    author: str
    reason: str


class ErasurePage(msgspec.Struct, frozen=True, kw_only=True):
    """Erasures, the newest first."""

    erasures: tuple[ShownErasure, ...]
    next_before: int | None


class Erased(msgspec.Struct, frozen=True, kw_only=True):
    """What an erasure did, or would do."""

    is_dry_run: bool
    erasure: ShownErasure | None
    """``null`` of a dry run."""
    events: int
    """How many events are of the subject: they and their sums stay, under the alias."""
    mentions: dict[str, int]
    """In how many rows of which tables the name stands in a text that people or apps wrote.
    These stay as they are."""
    spools: tuple[str, ...]
    """Spools of workers that hold the name until they have been stored and deleted."""
    remains: int
    """How often it stands in free room of the ledger's files; 0 where none is left."""


class NewErasure(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A name that is to be erased, and why."""

    subject: str
    """As it stands in events, to the letter."""
    reason: str
    dry_run: bool = False
    """Only say what holds the name."""
