"""Sees that what is written follows from all that was agreed, where others write, too."""

from meterline_sidecar.errors import MeterlineError
from meterline_sidecar.store import invoices
from meterline_sidecar.store.port import Database, Tx
from meterline_sidecar.store.terms import newest_term
from meterline_sidecar.terms.book import Terms


class TermsMoved(MeterlineError):
    """Another process agreed to something, or closed a period, since it was looked."""


async def check_terms(database: Database, tx: Tx, terms: Terms) -> None:
    """Make sure that nothing was agreed that is not known here.

    Raises:
        TermsMoved: something was; look again.
    """
    if database.others_write and await newest_term(tx) != terms.row_id:
        raise TermsMoved(
            "something was agreed at another centre just now; nothing of this was"
            " written: try again"
        )


async def check_found(
    database: Database, tx: Tx, found_from: tuple[int, int] | None
) -> None:
    """Make sure that a difference was found from all that there is by now.

    Args:
        found_from: see ``Diff``.

    Raises:
        TermsMoved: it was not; look again.
    """
    if found_from is None or not database.others_write:
        return
    if (await newest_term(tx), await invoices.newest_invoice(tx)) != found_from:
        raise TermsMoved(
            "something was agreed, or a period became final, at another centre just now;"
            " nothing of this was written: try again"
        )
