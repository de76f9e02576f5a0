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


_SHOWN: Final = "shown to people; nothing is billed by it"
_FORGOTTEN: Final = "rows are deleted by age, and one that is gone looks the same"
_AT_EDGES: Final = (
    "how far an edge's events are rolled up; into which is in its chain, and in that of"
    " the centre, which takes each number once"
)

COVERAGE: Final[Mapping[str, Cover]] = {
    "events": Cover("chain", "the digest of its batch, and how many there are"),
    "packed_events": Cover(
        "chain",
        "as the rows of `events` that it stands for, and the pack before it",
        {
            "last_id": "the end of the last one, behind its last event: what is there is a"
            " row, and stays one"
        },
    ),
    "losses": Cover("chain", "the digest of its batch, and how many there are"),
    "batches": Cover("chain", "the batch before it, the events, and the head outside"),
    "subjects": Cover(
        "chain",
        "the name by the events of its batches; who pays is recomputed from `terms`",
    ),
    "endpoints": Cover("chain", "the events of its batches"),
    "producers": Cover(
        "recomputed",
        "its id by the chain; its counts from events, losses and batches",
        {
            "app": _SHOWN,
            "host": _SHOWN,
            "pid": _SHOWN,
            "started_ms": _SHOWN,
            "spool": _SHOWN,
            "seen_ms": _SHOWN,
            "is_closed": _SHOWN,
            "duplicates": _SHOWN,
            "recorded_seq": "what a worker announced stands nowhere else; it is never"
            " below what was stored, and the worker says it again",
            "insert": "a worker that sent nothing yet has a row and no event",
            "delete": "of a worker that sent nothing; any other is missed",
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
        "the name by the macs of its events",
        {"conflicts": _SHOWN, "conflict_event_id": _SHOWN},
    ),
    "generations": Cover(
        "recomputed",
        "its definition from `terms`; its cursor by the usage that it stands for",
        {
            "definition": "a time or row number in it by which no event is counted"
            " otherwise; another meter, and whatever changes a sum, is found",
            "last_success_ms": _SHOWN,
            "is_complete": "which count is read; that one is recomputed",
        },
    ),
    "groups": Cover(
        "recomputed",
        "by the usage under its labels",
        {"insert": "labels that no usage has are in no sum"},
    ),
    "usage": Cover("recomputed", "from events"),
    "usage_days": Cover("recomputed", "from events"),
    "usage_totals": Cover("recomputed", "from events"),
    "unique_values": Cover("recomputed", "from events"),
    "property_values": Cover(
        "recomputed",
        "from events: what is told apart, by the usage under it",
        {
            "after_event_id": "found where it changes usage, which is recomputed by it",
            "insert": "a value that no counted event has is in no sum",
        },
    ),
    "owners": Cover("recomputed", "from `terms`"),
    "window_cuts": Cover(
        "recomputed",
        "from `terms`",
        {
            "after_event_id": "found where it changes usage, which is recomputed by it",
        },
    ),
    "late_usage": Cover(
        "recomputed",
        "from events and final invoices: each day that must be there is",
        {
            "insert": "a day too many lets an invoice be compared once more",
            "last_event_id": "a later one lets an invoice be compared once more",
        },
    ),
    "corrections": Cover("journal", "its link"),
    "late_rejections": Cover("journal", "its link"),
    "corrected_events": Cover(
        "journal",
        "the digest in the row of its correction",
        {"insert": "a row of no correction says nothing of any event"},
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
            "erasure_id": "which of several erasures it was, of a row that all of them"
            " changed",
            "insert": "of a batch that left for the archive: its file has its own",
            "delete": "of a batch that left for the archive: its file has its own",
        },
    ),
    "erasing_files": Cover(
        "not covered",
        "which files of the archive an erasure has written anew; each proves itself, and"
        " an old one is deleted only once the new one was read",
    ),
    "archive_moves": Cover("journal", "its link, and the files that it names"),
    "edge_files": Cover("journal", "its link, and the files that it names"),
    "edge_decisions": Cover("journal", "its link"),
    "edges": Cover(
        "not covered",
        "how edges stand, which they say again: whoever could change it could say for"
        " them that nothing is missing, as `--accept-gap` does; an edge whose mark does"
        " not fit is refused",
    ),
    "edge_producers": Cover(
        "not covered",
        "over which edge a worker's events come; they count by the worker's numbers",
    ),
    "edge_covers": Cover(
        "not covered",
        "up to where edges have rolled up each worker, as their states say; it is asked"
        " for once a worker goes over to another edge",
    ),
    "edge_questions": Cover(
        "not covered",
        "what centres ask each other about raw events of edges, for seconds; shown to"
        " people, and nothing is billed by it",
    ),
    "epochs": Cover("not covered", _AT_EDGES),
    "rolled_up_before": Cover("not covered", _AT_EDGES),
    "roll_ups": Cover("not covered", _AT_EDGES),
    "rolls": Cover("not covered", _AT_EDGES),
    "journal": Cover("journal", "the link before it, and the row that it is of"),
    "outbox": Cover("seal", "its seal, and how many rows there are"),
    "outbox_cursor": Cover("seal", "its seal"),
    "reconciliations": Cover(
        "seal",
        "its seal",
        {"delete": "the next comparison with Stripe makes it again"},
    ),
    "stripe_calls": Cover(
        "seal",
        "its seal",
        {
            "delete": "the invoice is told again, which finds at Stripe what is there",
        },
    ),
    "stripe_events": Cover("seal", "its seal", {"delete": _FORGOTTEN}),
    "outbox_hours": Cover(
        "not covered",
        "work to do: which hours are to be compared with the outbox; every hour is"
        " compared with Stripe's own totals as well",
    ),
    "idempotency_keys": Cover(
        "not covered",
        "under which keys changes were asked for, for some days; the changes are rows of"
        " their own, which are covered",
    ),
    "idempotency_answers": Cover(
        "not covered", "what was answered to these, to be answered again"
    ),
    "request_keys": Cover(
        "not covered",
        "what clients called their requests, for some days; which requests count is said by"
        " the flags of their events",
    ),
    "import_chunks": Cover(
        "not covered",
        "what waits and is not counted; each chunk has a mac, and one that was changed is"
        " refused when it is committed",
    ),
    "import_faults": Cover(
        "not covered", "which lines were left out, to be shown; their number is covered"
    ),
    "alerts": Cover("not covered", "who was told of what; nothing is billed by it"),
    "facts": Cover(
        "not covered",
        "where work goes on, such as when Stripe was last asked; what a fact says of"
        " subjects is recomputed",
    ),
}


def markdown_table() -> str:
    """Return the table for the docs."""
    lines = [
        "| table | covered by | compared with | not noticed |",
        "|---|---|---|---|",
    ]
    for table, cover in COVERAGE.items():
        free = "; ".join(
            f"`{what}`: {why}" if what not in ("insert", "delete") else _said(what, why)
            for what, why in cover.free.items()
        )
        lines.append(f"| `{table}` | {cover.how} | {cover.by} | {free} |")
    return "\n".join(lines) + "\n"


def _said(what: str, why: str) -> str:
    return f"a row that is {'added' if what == 'insert' else 'deleted'}: {why}"
