"""What differs whenever pages would look different."""

from hashlib import blake2b

from meterline_sidecar.usage.counted import counted_now
from meterline_sidecar.web.parts import Parts


async def mark_of(parts: Parts) -> str:
    """Return a short text that is another one as soon as a page would be."""
    at = await counted_now(parts.database)
    failures = sum(job.failures for job in parts.schedule.jobs.values())
    shown = (
        *(at.generation, at.up_to_event, parts.receiver.connections),
        *(parts.ingest.trouble, failures, parts.standings.n_missing),
        *parts.closer.mark,
    )
    return blake2b(repr(shown).encode(), digest_size=6).hexdigest()
