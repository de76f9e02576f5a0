"""Jobs that go by what time it is, and wait while nobody knows."""

from meterline_sidecar.web.parts import Parts


async def close(parts: Parts) -> None:
    """Close what is due, as far as this machine's clock says what is over."""
    if _goes_on(parts):
        await parts.closer.run(by_itself=not _may_be_ahead(parts))


async def import_(parts: Parts) -> None:
    """Count what is committed, as far as this machine's clock says what is past."""
    if _goes_on(parts):
        await parts.imports.run()


async def archive(parts: Parts) -> None:
    """Let old events go, as far as this machine's clock says how old they are."""
    if _goes_on(parts) and not _may_be_ahead(parts):
        await parts.archive.run()


def _goes_on(parts: Parts) -> bool:
    """Say whether the clock has not jumped."""
    return parts.watch is None or parts.watch.is_right()


def _may_be_ahead(parts: Parts) -> bool:
    """Say whether the clock began far ahead, which is doubted for a while."""
    return parts.absence is not None and parts.absence.ahead_ms() > 0
