"""One call by which Stripe is told of a final invoice, among all of that invoice."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from meterline_sidecar.store.stripe_calls import CallRow
from meterline_sidecar.stripe.invoice_lines import INVOICE


class Job(NamedTuple):
    """A call, among all calls of its invoice."""

    row: CallRow
    rows: Sequence[CallRow]

    @property
    def params(self) -> dict[str, Any]:
        """What is asked for."""
        found: dict[str, Any] = msgspec.json.decode(self.row.params)
        return found

    @property
    def first(self) -> dict[str, Any]:
        """What is asked for of the draft."""
        found: dict[str, Any] = msgspec.json.decode(self.rows[0].params)
        return found

    @property
    def mark(self) -> str:
        """What names the invoice at Stripe: this ledger, and its row."""
        return str(self.first["metadata"][INVOICE])

    @property
    def stripe_id(self) -> str:
        """The invoice at Stripe, once there is one."""
        return str(self.rows[0].object_id)

    @property
    def key(self) -> str:
        """The Idempotency-Key: what an id of a row says would be another in a copy."""
        row = self.row
        return f"{self.mark}/{row.step}/{row.ref}/{row.key_no}"

    def renewed(self) -> "Job":
        """Return the call under its next key."""
        return self._replace(row=self.row._replace(key_no=self.row.key_no + 1))
