"""What the API answers about who changed what."""

import msgspec


class ShownAct(msgspec.Struct, frozen=True, kw_only=True):
    """Something that somebody decided, or that happened by itself."""

    link: int
    """Of the journal, whose order it is."""
    at: str
    author: str
    about: str
    what: str
    reason: str
    change: str
    """All that a change of terms says, in JSON; empty for anything else."""


class AuditPage(msgspec.Struct, frozen=True, kw_only=True):
    """What was decided, the newest first."""

    acts: tuple[ShownAct, ...]
    next_after: int | None
    """Where what is older goes on."""
