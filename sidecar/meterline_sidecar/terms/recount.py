"""Agreeing that a meter measured something else than was counted, on purpose."""

from meterline_sidecar.clock import format_time_ms
from meterline_sidecar.terms.book import ALWAYS, Terms
from meterline_sidecar.terms.change import MeterChange
from meterline_sidecar.terms.diff import Diff
from meterline_sidecar.terms.record import Planned
from meterline_sidecar.terms.refusals import meter_into_final


def recount(
    terms: Terms,
    name: str,
    *,
    from_ms: int,
    now_ms: int,
    final_ms: int,
    reason: str,
) -> Diff:
    """Return that a meter measured from a time on what it measures now.

    Args:
        final_ms: before when somebody's period is final.
        reason: why it may reach into what is final; empty where it may not.
    """
    meter = terms.meter(name, now_ms)
    if meter is None:
        known = ", ".join(sorted(terms.names("meter"))) or "none"
        return Diff(
            refused=(f"there is no active meter {name}; known are: {known}",),
            at_ms=now_ms,
        )
    when = "the beginning" if from_ms == ALWAYS else format_time_ms(from_ms)
    if from_ms < final_ms and not reason:
        return Diff(
            refused=(
                meter_into_final(
                    name,
                    from_ms,
                    final_ms=final_ms,
                    on_purpose=f"meterline meters rebuild {name}",
                ),
            ),
            at_ms=now_ms,
        )
    return Diff(
        planned=(
            Planned(
                name, MeterChange(meter=meter), from_ms, reason, from_ms < final_ms
            ),
        ),
        told=(f"from {when} meter {name}: counted as it is now",),
        at_ms=now_ms,
    )
