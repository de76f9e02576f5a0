"""Every operation of the API, in the order in which its documentation lists them."""

from typing import Final

from meterline_sidecar.web.api import (
    account,
    alerts,
    archive,
    audit,
    closing,
    collection,
    corrections,
    credit,
    customers,
    documents,
    edges,
    events,
    explain,
    held,
    imports,
    invoices,
    late,
    line_events,
    meters,
    outbox,
    reload,
    status,
    stripe_calls,
    usage,
)

OPERATIONS: Final = (
    *status.OPERATIONS,
    *usage.OPERATIONS,
    *events.OPERATIONS,
    *held.OPERATIONS,
    *corrections.OPERATIONS,
    *imports.OPERATIONS,
    *late.OPERATIONS,
    *archive.OPERATIONS,
    *customers.OPERATIONS,
    *explain.OPERATIONS,
    *line_events.OPERATIONS,
    *credit.OPERATIONS,
    *invoices.OPERATIONS,
    *closing.OPERATIONS,
    *audit.OPERATIONS,
    *documents.OPERATIONS,
    *collection.OPERATIONS,
    *stripe_calls.OPERATIONS,
    *account.OPERATIONS,
    *meters.OPERATIONS,
    *edges.OPERATIONS,
    *outbox.OPERATIONS,
    *alerts.OPERATIONS,
    *reload.OPERATIONS,
)
ROUTES: Final = (*status.ROUTES, *outbox.ROUTES, *imports.ROUTES)
"""What answers something else than an operation does: plain text, a webhook, lines."""
