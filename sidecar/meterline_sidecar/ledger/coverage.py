"""What a verification knows of each table, and what it does not: the whole list.

A test makes a case of every table and column of the schema from it: a row that is
changed, added or deleted is found, unless it is named here as free, with the reason.
What belongs to events that left the ledger is compared with the files of the archive;
a verification that does not read them says of how many events that is.
"""

from collections.abc import Mapping
from typing import Final, Literal, NamedTuple

How = Literal["chain", "journal", "seal", "recomputed", "not covered"]


class Cover(NamedTuple):
    """How one table is covered."""

    how: How
    by: str
    """What it is compared with, or why with nothing."""
    free: Mapping[str, str] = {}
    """What may change unseen: a column, ``insert`` or ``delete``; with the reason."""


_SAID: Final = {"insert": "a row that is added", "delete": "a row that is deleted"}
_SHOWN: Final = "shown to people; nothing is billed by it"
_FORGOTTEN: Final = "rows are deleted by age, so a missing one looks the same"
_AT_EDGES: Final = (
    "how far an edge's events are rolled up; the results are in its chain and in that"
    " of the centre, which takes each number once"
)

COVERAGE: Final[Mapping[str, Cover]] = {
    "events": Cover("chain", "the digest of its batch, and how many there are"),
    "packed_events": Cover(
        "chain",
        "like the rows of `events` that it replaces, and with the pack before it",
        {
            "last_id": "of the last pack, beyond its last event: events there are rows, and"
            " stay rows"
        },
    ),
    "losses": Cover("chain", "the digest of its batch, and how many there are"),
    "batches": Cover("chain", "the batch before it, the events, and the head outside"),
    "subjects": Cover(
        "chain",
        "the name, by the events of its batches; who pays is recomputed from `terms`",
    ),
    "endpoints": Cover("chain", "the events of its batches"),
    "producers": Cover(
        "recomputed",
        "its id, by the chain; its counts, from events, losses and batches",
        {
            "app": _SHOWN,
            "host": _SHOWN,
            "pid": _SHOWN,
            "started_ms": _SHOWN,
            "spool": _SHOWN,
            "seen_ms": _SHOWN,
            "is_closed": _SHOWN,
            "duplicates": _SHOWN,
            "recorded_seq": "what a worker announced is stored nowhere else; it is never"
            " below what was stored, and the worker repeats it",
            "insert": "a worker that sent nothing yet has a row and no event",
            "delete": "only of a worker that sent nothing; any other is noticed",
        },
    ),
    "producer_sums": Cover("recomputed", "from `producers`"),
    "event_hours": Cover("recomputed", "from events and batches"),
    "held_events": Cover(
        "recomputed",
        "from events, batches and `held_decisions`",
        {"due_ms": "when it is counted by itself; what is counted is an event"},
    ),
    "external_events": Cover("chain", "its mac, over the name and the event"),
    "external_sources": Cover(
        "chain",
        "the name, by the macs of its events",
        {"conflicts": _SHOWN, "conflict_event_id": _SHOWN},
    ),
    "generations": Cover(
        "recomputed",
        "its definition, from `terms`; its cursor, by the usage up to it",
        {
            "definition": "a time or row number in it that changes how no event is counted;"
            " another meter, and anything that changes a sum, is found",
            "last_success_ms": _SHOWN,
            "is_complete": "which count is in use; that one is recomputed",
        },
    ),
    "groups": Cover(
        "recomputed",
        "by the usage under its labels",
        {"insert": "labels without usage are in no sum"},
    ),
    "usage": Cover("recomputed", "from events"),
    "usage_days": Cover("recomputed", "from events, with `packed_days`"),
    "packed_days": Cover("recomputed", "from events, with `usage_days`"),
    "day_parts": Cover(
        "recomputed",
        "from `usage`",
        {"delete": "where there is none, `usage` is read"},
    ),
    "usage_totals": Cover("recomputed", "from events"),
    "unique_values": Cover("recomputed", "from events"),
    "property_values": Cover(
        "recomputed",
        "from events: the values that are kept apart, by the usage under them",
        {
            "after_event_id": "found if it changes usage, which is recomputed with it",
            "insert": "a value without counted events is in no sum",
        },
    ),
    "owners": Cover("recomputed", "from `terms`"),
    "window_cuts": Cover(
        "recomputed",
        "from `terms`",
        {
            "after_event_id": "found if it changes usage, which is recomputed with it",
        },
    ),
    "late_usage": Cover(
        "recomputed",
        "from events and final invoices: no day that must be there is missing",
        {
            "insert": "an extra day only makes an invoice be compared once more",
            "last_event_id": "a later one only makes an invoice be compared once more",
        },
    ),
    "corrections": Cover("journal", "its link"),
    "late_rejections": Cover("journal", "its link"),
    "corrected_events": Cover(
        "journal",
        "the digest in the row of its correction",
        {"insert": "a row without a correction affects no event"},
    ),
    "terms": Cover("journal", "its link"),
    "invoices": Cover("journal", "its link"),
    "adjustments": Cover("journal", "its link"),
    "invoice_states": Cover("journal", "its link"),
    "payments": Cover("journal", "its link"),
    "credits": Cover("journal", "its link"),
    "credit_ends": Cover("journal", "its link"),
    "term_uses": Cover("journal", "its link"),
    "documents": Cover("journal", "its link"),
    "held_decisions": Cover("journal", "its link"),
    "imports": Cover("journal", "its link"),
    "import_states": Cover("journal", "its link"),
    "generation_ends": Cover("journal", "its link"),
    "erasures": Cover("journal", "its link"),
    "erasure_seals": Cover(
        "recomputed",
        "from the row that it seals, with its link; a row without its seal is found",
        {
            "erasure_id": "which erasure it was, if several changed the row",
            "insert": "only for a batch that left for the archive: its file has the seal",
            "delete": "only for a batch that left for the archive: its file has the seal",
        },
    ),
    "erasing_files": Cover(
        "not covered",
        "which files of the archive an erasure has rewritten; each file proves itself, and"
        " an old one is deleted only once the new one was read",
    ),
    "archive_moves": Cover("journal", "its link, and the files that it names"),
    "edge_files": Cover("journal", "its link, and the files that it names"),
    "edge_decisions": Cover("journal", "its link"),
    "edges": Cover(
        "not covered",
        "the state of edges, which they repeat; a change could claim that nothing is"
        " missing, as `--accept-gap` does; an edge whose mark does not fit is refused",
    ),
    "edge_producers": Cover(
        "not covered",
        "through which edge a worker's events arrive; they count by the worker's numbers",
    ),
    "edge_covers": Cover(
        "not covered",
        "how far edges have rolled up each worker, by their own reports; needed only when"
        " a worker moves to another edge",
    ),
    "edge_questions": Cover(
        "not covered",
        "questions between centres about raw events of edges, kept for seconds; shown to"
        " people, and nothing is billed by it",
    ),
    "epochs": Cover("not covered", _AT_EDGES),
    "rolled_up_before": Cover("not covered", _AT_EDGES),
    "roll_ups": Cover("not covered", _AT_EDGES),
    "rolls": Cover("not covered", _AT_EDGES),
    "journal": Cover("journal", "the link before it, and the row that it covers"),
    "outbox": Cover("seal", "its seal, and how many rows there are"),
    "outbox_cursor": Cover("seal", "its seal"),
    "reconciliations": Cover(
        "seal",
        "its seal",
        {"delete": "the next comparison with Stripe adds it again"},
    ),
    "stripe_calls": Cover(
        "seal",
        "its seal",
        {
            "delete": "the call is made again, and finds at Stripe what exists",
        },
    ),
    "stripe_events": Cover("seal", "its seal", {"delete": _FORGOTTEN}),
    "outbox_hours": Cover(
        "not covered",
        "work to do: the hours to compare with the outbox; every hour is also compared"
        " with Stripe's own totals",
    ),
    "idempotency_keys": Cover(
        "not covered",
        "the keys of requests for changes, for some days; the changes themselves are rows"
        " that are covered",
    ),
    "idempotency_answers": Cover(
        "not covered", "the answers to those requests, to be repeated"
    ),
    "request_keys": Cover(
        "not covered",
        "the keys of client requests, for some days; the flags of events say which requests"
        " count",
    ),
    "import_chunks": Cover(
        "not covered",
        "lines that wait and are not counted; each chunk has a mac, and a changed one is"
        " refused when it is committed",
    ),
    "import_faults": Cover(
        "not covered",
        "the lines that were left out, for display; their number is covered",
    ),
    "alerts": Cover("not covered", "who was notified of what; nothing is billed by it"),
    "facts": Cover(
        "not covered",
        "where work continues, such as when Stripe was last asked; facts about subjects"
        " are recomputed",
    ),
}


def markdown_table() -> str:
    """Return the table for the docs."""
    lines = [
        "| table | covered by | compared with | not noticed |",
        "|---|---|---|---|",
    ]
    for table, cover in COVERAGE.items():
        alike: dict[str, list[str]] = {}
        for what, why in cover.free.items():
            alike.setdefault(why, []).append(_SAID.get(what, f"`{what}`"))
        free = "; ".join(f"{', '.join(what)}: {why}" for why, what in alike.items())
        lines.append(f"| `{table}` | {cover.how} | {cover.by} | {free} |")
    return "\n".join(lines) + "\n"
