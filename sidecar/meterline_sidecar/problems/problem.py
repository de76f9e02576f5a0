"""What a problem is, and what all of them are called."""

from typing import Final, Literal, get_args

from msgspec import Struct

Severity = Literal["info", "warning", "error"]
"""``info`` is worth knowing, a ``warning`` needs a person, and with an ``error``
something stands still or is wrong until a person acts."""
SEVERITIES: Final[tuple[Severity, ...]] = get_args(Severity)
HISSES: Final = ("ch", "s", "sh", "x")  # words that end so take `es`

Code = Literal[
    "events_not_stored",
    "events_lost",
    "events_refused",
    "events_missing",
    "events_held",
    "events_in_memory",
    "spools_not_read",
    "spools_of_another_ledger",
    "quantity_not_taken",
    "external_id_conflict",
    "import_waits",
    "import_stuck",
    "request_keys_forgotten",
    "ledger_not_trusted",
    "erased_words_missing",
    "chain_head_not_written",
    "clock_rehearsal",
    "clock_jumped",
    "clock_unconfirmed",
    "clock_behind_events",
    "clocks_apart",
    "edge_refused",
    "edge_silent",
    "edge_clock",
    "leader_unknown",
    "files_differ",
    "not_forwarded",
    "disk_low",
    "disk_full",
    "archive_not_readable",
    "archive_not_written",
    "archive_waits",
    "backup_missing",
    "backup_old",
    "job_failing",
    "sidecar_away",
    "file_missing",
    "file_open_to_others",
    "spool_dir_not_writable",
    "spool_dir_not_shared",
    "spools_not_readable",
    "spools_left_behind",
    "usage_behind",
    "recounting",
    "usage_unassigned",
    "subject_claimed_twice",
    "subject_never_matches",
    "sign_up_unfit",
    "alert_of_nobody",
    "filter_never_matches",
    "values_together",
    "fraction_not_counted",
    "fraction_rounded",
    "value_not_priced",
    "meter_not_priced",
    "no_draft",
    "no_plan",
    "removed_not_billed",
    "removed_open",
    "late_usage_waits",
    "period_held",
    "period_not_closed",
    "stripe_not_sending",
    "stripe_may_not_read",
    "stripe_meter",
    "stripe_clock",
    "stripe_differs",
    "stripe_dropped",
    "stripe_by_hand",
    "stripe_invoice_held",
    "stripe_invoice_waiting",
    "stripe_invoice_differs",
    "stripe_copy",
    "outbox_failing",
    "outbox_unresolved",
    "outbox_parked",
    "outbox_dead",
    "outbox_expired",
    "outbox_rejected",
]


class Problem(Struct, frozen=True, kw_only=True):
    """One thing that can be wrong."""

    severity: Severity
    title: str
    means: str
    """What it says, without a full stop; a page may put it into a sentence."""
    action: str
    """What a person does about it, likewise."""


class Found(Struct, frozen=True, kw_only=True):
    """A problem that there is, with its numbers and names."""

    code: Code
    severity: Severity
    text: str
    """What was found, without a full stop."""
    action: str
    """What to do about it."""

    @property
    def needs_person(self) -> bool:
        """Whether it stays until somebody has acted."""
        return self.severity != "info"


def n_of(count: int, what: str) -> str:
    """Return a count of something as people write it: ``1 event``, ``2,000 batches``."""
    if count == 1:
        return f"1 {what}"
    return f"{count:,} {what}{'es' if what.endswith(HISSES) else 's'}"


def such_as(names: list[str], *, n_all: int) -> str:
    """Return names for a sentence: all of them, or the first and that there are more."""
    return f"{', '.join(names)}{' and others' if n_all > len(names) else ''}"
