"""What the API answers about names that were erased."""

import msgspec

from meterline_sidecar.web.answers.reason import Reason


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


class Mention(msgspec.Struct, frozen=True, kw_only=True):
    """A table in which the name stands in a text that stays."""

    table: str
    rows: int
    why: str
    shown_by: str
    """A command, or a request, that shows it."""


class BackupWithName(msgspec.Struct, frozen=True, kw_only=True):
    """A copy of the ledger from before: it may hold the name until it is deleted."""

    file: str
    made: str | None
    """``null`` where nobody noted it."""
    is_here: bool
    """Whether a file is at its path still; it may have been moved away."""


class Erased(msgspec.Struct, frozen=True, kw_only=True):
    """What an erasure did, or would do."""

    is_dry_run: bool
    erasure: ShownErasure | None
    """``null`` of a dry run."""
    events: int
    """How many events are of the subject: they and their sums stay, under the alias."""
    texts: dict[str, int]
    """In how many rows of which tables the name was replaced in texts; empty of a dry run."""
    mentions: tuple[Mention, ...]
    """Where the name stands in texts: before a dry run, and after an erasure."""
    archive_files: tuple[str, ...]
    """Of a dry run: the files of the archive that will be written anew."""
    archive_unread: tuple[str, ...]
    """Of a dry run: those that cannot be read now, and why."""
    spools: tuple[str, ...]
    """Spools of workers that hold the name until they have been stored and deleted."""
    is_back: bool
    """Whether events came under the name again, behind the erasure."""
    backups: tuple[BackupWithName, ...]
    """Backups, and copies set aside, that were made before."""
    remains: int
    """How often it stands in the ledger's files still, in what stays or in free room."""


class NewErasure(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A name that is to be erased, and why."""

    subject: str
    """As it stands in events, to the letter."""
    reason: Reason
    also: tuple[str, ...] = ()
    """Other words that lead to the same person, such as an e-mail address."""
    dry_run: bool = False
    """Only say what holds the name."""
