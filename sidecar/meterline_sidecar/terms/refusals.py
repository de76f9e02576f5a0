"""Why a change of a meter must not be, in words that say what to do."""

from meterline_sidecar.clock import format_time_ms


def meter_into_final(name: str, from_ms: int, *, final_ms: int, on_purpose: str) -> str:
    """Return why a meter cannot be counted otherwise from a time on.

    Args:
        on_purpose: the command that does it all the same, given a reason.
    """
    return (
        f"meter {name}: counting otherwise from {format_time_ms(from_ms)[:10]} on would"
        f" reach into a period that is final; it can hold from"
        f" {format_time_ms(final_ms)[:10]} on. To correct what is final on purpose:"
        f' `{on_purpose} --into-final "the reason"`'
    )


def other_aggregation(name: str, known: str, wanted: str) -> str:
    """Return why a meter cannot add up in another way."""
    return (
        f"meter {name}: its aggregation is {known}, and what was counted so cannot be"
        f" added to a {wanted}; give the new one a name of its own"
    )
