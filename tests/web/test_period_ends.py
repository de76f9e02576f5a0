"""Where periods begin and end, to the millisecond and to the cent, in zones and over leap days."""

from pathlib import Path
from typing import Final

import pytest

from tests.web.month_ends import METERS, Story, customer, each, fee, plan, play


def zone(
    name: str,
    start: str,
    end: str,
    *,
    period: str,
    length: str = "month",
    more: str = "",
) -> Story:
    """Return a story of calls a millisecond before and at both ends of a period."""
    return Story(
        f"{length} {period} in {name}",
        METERS + customer(more=f'time_zone = "{name}"\n{more}'),
        plan(each("1"), more=f'period = "{length}"'),
        f"""
        at 2028-05-01
        use acme_1 1 {start}-1ms
        use acme_1 2 {start}
        use acme_1 4 {end}-1ms
        use acme_1 8 {end}
        close acme {period} 6.00
        """,
    )


ZONES: Final = [
    zone("Asia/Kathmandu", "2026-10-31T18:15Z", "2026-11-30T18:15Z", period="2026-11"),
    zone("Europe/London", "2026-03-01", "2026-03-31T23:00Z", period="2026-03"),
    zone("Europe/London", "2026-09-30T23:00Z", "2026-11-01", period="2026-10"),
    zone("Africa/Casablanca", "2026-01-31T23:00Z", "2026-03-01", period="2026-02"),
    # The clocks go back by half an hour, and from 01:00 to midnight on the 1st.
    zone(
        *("Australia/Lord_Howe", "2026-04-04T13:00Z", "2026-04-05T13:30Z"),
        period="2026-04-05",
        length="day",
    ),
    zone("America/Havana", "2026-11-01T04:00Z", "2026-12-01T05:00Z", period="2026-11"),
    zone("America/Havana", "2026-10-01T04:00Z", "2026-11-01T04:00Z", period="2026-10"),
    # An anchor that some months do not have.
    zone(
        *("Asia/Kathmandu", "2026-01-30T18:15Z", "2026-02-27T18:15Z"),
        period="2026-01-31",
        more="anchor = 2026-01-31",
    ),
    zone(
        *("Europe/London", "2026-02-28", "2026-03-29T23:00Z"),
        period="2026-02-28",
        more="anchor = 2025-08-30",
    ),
    zone(
        *("UTC", "2028-02-29", "2028-03-29"),
        period="2028-02-29",
        more="anchor = 2026-08-29",
    ),
]

PARTS: Final = [
    Story(
        "a year over a leap day, from the middle of the one before",
        METERS + customer(more="anchor = 2024-02-29\nstarts = 2027-06-01"),
        plan(fee("366"), each("1"), more='period = "year"'),
        """
        at 2027-06-02
        use acme_1 1 2027-06-01
        at 2029-03-01
        use acme_1 2 2028-02-29-1ms
        use acme_1 4 2028-02-29
        close acme 2027-02-28 276.00    # 273 of 366 days
        close acme 2028-02-29 370.00
        """,
    ),
    Story(
        "a week of 169 hours, by the second",
        METERS + customer(more='time_zone = "Europe/Berlin"\nstarts = 2026-10-24'),
        plan(fee("169"), currency="eur", more='period = "week"\nprorate = "second"'),
        """
        at 2026-11-20
        close acme 2026-10-19 49.00
        close acme 2026-10-26 169.00
        """,
    ),
    Story(
        "a plan changes in the month with which a zone does",
        METERS + customer(more="starts = 2026-10-01"),
        plan(fee("31")) + plan(fee("62"), name="pro"),
        """
        at 2026-11-10
        edit 'starts' 'time_zone = "America/Los_Angeles"\\nstarts'
        at 2026-12-16T20:00Z
        edit 'plan = "basic"' 'plan = "pro"'
        at 2027-01-05
        close acme 2026-12 47.00     # 15 days, and 16
        """,
    ),
    Story(
        "what is edited in the evening of UTC holds for two days of Auckland",
        METERS + customer(more='time_zone = "Pacific/Auckland"'),
        plan(each("1"), fee("30")),
        """
        at 2026-11-30T12:00Z
        use acme_1 1 2026-11-30-1ms
        use acme_1 10 2026-11-30
        edit '"1"' '"2"' '"30"' '"60"'
        at 2026-12-31T12:00Z
        use acme_1 100 2026-11-30T11:00Z
        close acme 2026-11 52.00     # 29 of 30 days, and one at 60; 1 + 20
        close acme 2026-12 260.00
        """,
    ),
]


@pytest.mark.parametrize("story", [*ZONES, *PARTS], ids=lambda story: story.title)
async def test_a_period_ends_where_the_next_one_begins(
    story: Story, tmp_path: Path
) -> None:
    await play(story, tmp_path)
