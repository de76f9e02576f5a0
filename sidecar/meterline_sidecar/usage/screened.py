"""How far it was looked whether counted usage came too late, where meters report that.

Between counting it and holding it back late usage is in all amounts: who makes something
final of usage waits until it was looked.
"""

from typing import Final, NamedTuple

from msgspec.structs import replace

from meterline_sidecar.store import facts
from meterline_sidecar.store.edge import corrections, late
from meterline_sidecar.store.edge.begin import begin
from meterline_sidecar.store.port import Tx
from meterline_sidecar.store.usage import Generation
from meterline_sidecar.usage.definition import Definition, decode

ANY_EVENT: Final = 2**62
SCREENED: Final = "late_screened"
"""The fact that says up to which event it was looked."""


class Screened(NamedTuple):
    """What is looked for, and how far it was."""

    reporting: Definition
    """Only what meters measure while they do not bill what is late."""
    up_to_event: int


async def screened(tx: Tx, served: Generation) -> Screened | None:
    """Return how far it was looked for late usage; ``None``: no meter reports it."""
    reporting = _reporting(decode(served.definition))
    steps = [step for steps in reporting.meters.values() for step in steps]
    if not steps:
        return None
    first = min(step.after_event_id for step in steps if step.meter is not None)
    known = int(await facts.get_fact(tx, SCREENED) or 0)
    # What left the ledger is settled, also for a meter that counts all of it again.
    settled = (await begin(tx)).event_id
    return Screened(reporting, max(known, first, settled))


async def is_screened(tx: Tx, served: Generation) -> bool:
    """Say whether no usage is counted that is about to be held back as late."""
    known = await screened(tx, served)
    if known is None:
        return True
    if await late.has_come_since(tx, known.up_to_event):
        return False
    # What holds some of it back is stored, and waits to be counted itself.
    counted = await corrections.last_known(tx, served.cursor)
    return counted == await corrections.last_known(tx, ANY_EVENT)


def _reporting(definition: Definition) -> Definition:
    return replace(
        definition,
        meters={
            name: tuple(
                step
                if step.meter is not None and step.meter.late == "report"
                else replace(step, meter=None)
                for step in steps
            )
            for name, steps in definition.meters.items()
            if any(step.meter and step.meter.late == "report" for step in steps)
        },
    )
