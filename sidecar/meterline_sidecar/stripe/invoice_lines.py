"""What an invoice at Stripe has more, less, or otherwise than ours, to the cent."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from meterline_sidecar.store.stripe_calls import CallRow
from meterline_sidecar.stripe.calls import StripeCalls, part_of, read_all

LINE: Final = "meterline_line"
INVOICE: Final = "meterline_invoice"
NOTE: Final = "meterline_credit_note"
MISSED: Final = {
    "paid": "invoice.paid",
    "uncollectible": "invoice.marked_uncollectible",
}
"""What a webhook would have said of an invoice that has such a status."""


class Wanted(NamedTuple):
    """A line that must be there."""

    ref: str
    item_id: str | None
    amount: int
    description: str


def wanted_of(rows: Sequence[CallRow]) -> list[Wanted]:
    """Return the lines that the calls of an invoice ask for."""
    found: list[Wanted] = []
    for row in rows:
        if row.step == "item":
            params = msgspec.json.decode(row.params)
            found.append(
                Wanted(row.ref, row.object_id, params["amount"], params["description"])
            )
    return found


def differences(
    wanted: Sequence[Wanted], lines: Sequence[Mapping[str, Any]], currency: str
) -> Iterator[str]:
    """Yield in words what lines at Stripe have more, less, or otherwise."""
    by_item = {one.item_id: one.ref for one in wanted if one.item_id is not None}
    seen: dict[str, list[Mapping[str, Any]]] = {}
    for line in lines:
        ref = _ref_of(line, by_item)
        if ref is None or ref not in {one.ref for one in wanted}:
            yield (
                f"there is a line of somebody else, {line.get('description')!r}, of"
                f" {line.get('amount')}"
            )
        else:
            seen.setdefault(ref, []).append(line)
    for one in wanted:
        found = seen.get(one.ref, [])
        if not found:
            yield f"{one.description!r} of {one.amount} is missing"
        elif len(found) > 1:
            yield f"{one.description!r} is there {len(found)} times"
        elif (found[0]["amount"], found[0]["currency"]) != (one.amount, currency):
            yield (
                f"{one.description!r} is {found[0]['amount']} {found[0]['currency']} and"
                f" should be {one.amount} {currency}"
            )


def _ref_of(line: Mapping[str, Any], by_item: Mapping[str, str]) -> str | None:
    metadata = part_of(line, "metadata")
    if LINE in metadata:
        return str(metadata[LINE])
    details = part_of(part_of(line, "parent"), "invoice_item_details")
    return by_item.get(str(details.get("invoice_item")))


async def lines_of(stripe: StripeCalls, stripe_id: str) -> list[dict[str, Any]]:
    """Return every line of an invoice at Stripe.

    Raises:
        StripeRefused, RetryLater: as ``read_all``.
    """
    return await read_all(stripe, f"/v1/invoices/{stripe_id}/lines")


async def credit_notes_of(stripe: StripeCalls, stripe_id: str) -> list[dict[str, Any]]:
    """Return every credit note of an invoice at Stripe, void ones among them.

    Raises:
        StripeRefused, RetryLater: as ``read_all``.
    """
    return await read_all(stripe, "/v1/credit_notes", {"invoice": stripe_id})


def total_differs(
    wanted: Sequence[Wanted], invoice: Mapping[str, Any], params: Mapping[str, Any]
) -> Iterator[str]:
    """Yield in words where an invoice comes to something else than its lines.

    Args:
        params: what was asked for of its draft; taxes that Stripe adds do not count.
    """
    name = "total_excluding_tax" if "automatic_tax" in params else "total"
    theirs, ours = invoice.get(name), sum(one.amount for one in wanted)
    if isinstance(theirs, int) and theirs != ours:
        yield (
            f"it comes to {theirs} {params['currency']} and should come to {ours}"
            f" {params['currency']}: a discount, a tax or shipping was added at Stripe"
        )


def credited_there(invoice: Mapping[str, Any]) -> int:
    """Return what credit notes of Stripe's come to, in its smallest units."""
    names = ("pre_payment_credit_notes_amount", "post_payment_credit_notes_amount")
    return sum(int(invoice.get(name) or 0) for name in names)


def credited_here(rows: Sequence[CallRow]) -> int:
    """Return what credit notes that Stripe may know of come to, likewise."""
    return sum(
        int(msgspec.json.decode(row.params)["amount"])
        for row in rows
        if row.step == "credit_note"
        and (row.state == "done" or row.doubt_ms is not None)
    )


def credit_differs(
    rows: Sequence[CallRow], invoice: Mapping[str, Any]
) -> Iterator[str]:
    """Yield in words where credit notes come to something else."""
    theirs, ours = credited_there(invoice), credited_here(rows)
    if theirs > ours:
        yield (
            f"credit notes there come to {theirs}, and to {ours} here: take over those"
            " that were made there, with `meterline outbox invoice NUMBER"
            " --take-credit-notes`"
        )
    elif theirs < ours:
        yield (
            f"credit notes here come to {ours}, and to {theirs} there: one was voided at"
            f" Stripe; credit {ours - theirs} there again"
        )


def state_differs(
    rows: Sequence[CallRow], status: str | None, state: str
) -> Iterator[str]:
    """Yield in words where Stripe does not have what it was told last.

    Args:
        state: ours; it takes over what Stripe says, where it can.
    """
    done = [row.step for row in rows if row.state == "done"]
    ends = {"void": "void", "uncollectible": "uncollectible", "paid": "paid"}
    wanted = next((ends[step] for step in reversed(done) if step in ends), None)
    if wanted == "uncollectible" and status == "paid":
        return  # they paid after all
    if wanted is not None and status != wanted:
        yield f"it is {status} at Stripe, which was told that it is {wanted}"
    elif wanted is None and status == "void" != state:
        yield (
            f"it is void at Stripe, and {state} here: make it void here as well, with"
            " `meterline invoice NUMBER --void`, or invoice it there by hand"
        )
    elif wanted is None and status == "draft":
        yield f"it is draft at Stripe, and {state} here"
    elif wanted is None and status in MISSED and state in ("final", "sent"):
        yield f"it is {status} at Stripe, and {state} here"
