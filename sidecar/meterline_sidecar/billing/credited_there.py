"""Credit notes that somebody made at Stripe: which they are, and what they say."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from meterline_sidecar.billing.stripe_plan import WORDS_MAX, NotTold
from meterline_sidecar.store.stripe_calls import CallRow
from meterline_sidecar.stripe.calls import part_of
from meterline_sidecar.stripe.invoice_lines import NOTE


def only_there(
    calls: Sequence[CallRow], notes: Sequence[Mapping[str, Any]]
) -> list[Mapping[str, Any]]:
    """Return the credit notes at Stripe that no call made, the oldest first.

    Args:
        calls: all of the invoice.
        notes: all that Stripe has of it, void ones among them.

    Raises:
        NotTold: there is none; or one of ours is void there, so that it is not clear
            what another one stands for.
    """
    ours = [call for call in calls if call.step == "credit_note"]
    made = {call.object_id for call in ours} | {call.ref for call in ours}
    alive = [note for note in notes if note.get("status") != "void"]
    found = [
        note
        for note in alive
        if note["id"] not in made and part_of(note, "metadata").get(NOTE) not in made
    ]
    if not found:
        raise NotTold("nothing was credited at Stripe that is not credited here")
    kept = {note["id"] for note in alive}
    gone = [c.ref for c in ours if c.state == "done" and c.object_id not in kept]
    if gone:
        raise NotTold(
            f"{', '.join(gone)} is void at Stripe, and what was credited there since may"
            " be in its place: void that there, and credit the invoice here, which tells"
            " Stripe"
        )
    return sorted(found, key=lambda note: int(note.get("created") or 0))


def net_of(note: Mapping[str, Any], first: CallRow) -> int:
    """Return what a credit note takes of our invoice: taxes of Stripe's are not on it.

    Args:
        first: the call that made the draft.
    """
    is_taxed_there = "automatic_tax" in msgspec.json.decode(first.params)
    net: object = note.get("total_excluding_tax")
    return net if is_taxed_there and isinstance(net, int) else int(note["amount"])


def reason_of(note: Mapping[str, Any]) -> str:
    """Return why it is credited here, in words that name the credit note."""
    said = f": {note['memo']}" if note.get("memo") else ""
    return f"credit note {note.get('number') or note['id']} of Stripe{said}"[:WORDS_MAX]
