"""What differs whenever pages would look different."""

from hashlib import blake2b

from meterline_sidecar.usage.counted import Counted
from meterline_sidecar.web.parts import Parts


def mark_of(parts: Parts, at: Counted) -> str:
    """Return a short text that is another one as soon as a page would be.

    Args:
        at: how far usage is counted.
    """
    failures = sum(job.failures for job in parts.schedule.jobs.values())
    shown = (
        *(at.generation, at.up_to_event, parts.receiver.connections),
        *(parts.ingest.storing.trouble, failures, parts.standings.n_missing),
        *parts.closer.mark,
    )
    return blake2b(repr(shown).encode(), digest_size=6).hexdigest()
