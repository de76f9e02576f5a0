"""What a verification knows of the batches that left the ledger for the archive.

Either it has read their files: then all is compared as if they were here. Or it has
not: then the chain begins with the link that the journal covers, and what their events
come to can only be told as far as none of them is in it.
"""

from collections import defaultdict
from dataclasses import dataclass, field

from meterline_sidecar.store.edge.begin import Begin

Hours = dict[int, tuple[int, int]]
"""The span of event ids of each hour."""


@dataclass(slots=True)
class OfProducer:
    """What left of one producer."""

    last_seq: int = 0
    counts: tuple[int, ...] = (0, 0, 0, 0, 0, 0)
    """Events, those of nobody, held ones, those with something left out; what was lost
    and what was refused."""


@dataclass(slots=True)
class Away:
    """What left the ledger, as far as it was looked at."""

    begin: Begin
    is_read: bool = True
    """Whether its files were read; also where there are none."""
    beyond_ms: int = 0
    """Before this all of its counted events happened."""
    hours: Hours = field(default_factory=dict[int, tuple[int, int]])
    producers: defaultdict[str, OfProducer] = field(
        default_factory=lambda: defaultdict(OfProducer)
    )
    """By the random id."""
