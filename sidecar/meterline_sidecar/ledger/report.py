"""What a verification found, and how it says how far it is."""

from collections.abc import Callable
from typing import Final

import msgspec

FINDINGS_MAX: Final = 50  # then the rest is surely wrong as well

Progress = Callable[[str, int, int], None]
"""Is told what is being checked, how much is done, and of how much."""


class Report(msgspec.Struct):
    """What a verification found."""

    batches: int = 0
    events: int = 0
    losses: int = 0
    usage_rows: int = 0
    archive_files: int = 0
    """Files of the archive that were read."""
    archive_events_unread: int = 0
    """Events that left the ledger, and whose files were not read."""
    edge_files: int = 0
    """Files of edges that were read."""
    edge_files_unread: int = 0
    """Those that were not."""
    edge_hours: int = 0
    """Hours of edges of which files and usage were compared."""
    edge_hours_away: int = 0
    """Those of which usage has left for the archive, and which were not."""
    edges_ahead: list[str] = []
    """Edges with hours of which usage is newer than their files, in words."""
    invoices: int = 0
    """Final invoices that were computed again."""
    invoices_not_computed: int = 0
    """Those that cannot be: made before Meterline kept what an invoice is made from."""
    head_batch_id: int | None = None
    resumed_at_batch: int | None = None
    """The batch up to which the chain was verified by an earlier run."""
    findings: list[str] = []
    """What is wrong, in words, in the order in which it was found."""

    @property
    def is_sound(self) -> bool:
        """Say whether everything is as it was written."""
        return not self.findings

    def add(self, finding: str) -> None:
        """Note something that is wrong."""
        if len(self.findings) < FINDINGS_MAX:
            self.findings.append(finding)
