"""Month ends as they happen; what they come to was worked out by hand, from the docs."""

from pathlib import Path
from typing import Final

import pytest

from tests.web.month_ends import (
    METERS,
    Story,
    customer,
    each,
    fee,
    of,
    plan,
    play,
    tax,
    tiers,
)

STORIES: Final = [
    Story(
        "the files say something else of all, and reach into nothing that is final",
        METERS + customer(),
        plan(each("0.01"), tax("20")),
        """
        use acme_1 100 2026-11-10
        at 2026-12-01T01:00Z
        close acme 2026-11 1.20
        at 2026-12-09T12:00Z
        edit 'percent = "20"' 'percent = "25"' '"0.01"' '"0.05"'
        edit [[plan.tax]] '[[plan.discount]]\\npercent = 50\\n[[plan.tax]]'
        edit 'plan = "basic"' 'plan = "basic"\\ntime_zone = "America/New_York"'
        refused 'currency = "usd"' 'currency = "eur"'
        use acme_1 10 2026-11-11
        use acme_1 10 2026-12-09
        use acme_1 1 2027-01-01T00:00Z-1ms
        at 2027-01-02
        close acme 2026-12 0.46 2026-11:0.12    # 11 x 0.05 = 0.55 - 0.28, and 0.07
        owes acme usd=1.66
        """,
    ),
    Story(
        "usage is late at each moment, and two invoices are void",
        METERS + customer(),
        plan(each("0.01")),
        """
        use acme_1 100 2026-11-10
        at 2026-12-01T01:00Z
        use acme_1 50 2026-12-01-1ms
        close acme 2026-11 1.50
        use acme_1 10 2026-11-11
        at 2027-01-01T01:00Z
        close acme 2026-12 0.10 2026-11:0.10
        void acme 2026-12
        use acme_1 20 2026-11-12
        close acme 2026-12 0.30 2026-11:0.30
        at 2027-02-01T01:00Z
        use acme_1 5 2026-11-13
        close acme 2027-01 0.05 2026-11:0.05
        void acme 2026-11
        use acme_1 5 2026-11-14
        draft acme 2027-02 0.00
        close acme 2026-11 1.55 2026-11:-0.35
        use acme_1 5 2026-11-15
        draft acme 2027-02 0.05 2026-11:0.05
        owes acme usd=1.90
        """,
    ),
    Story(
        "a customer has another name in the files, and the former one is owed for",
        METERS + customer(),
        plan(each("0.01")),
        """
        use acme_1 100 2026-11-10
        at 2026-12-01T01:00Z
        close acme 2026-11 1.00
        at 2026-12-10T12:00Z
        use acme_1 20 2026-12-05
        edit 'id = "acme"' 'id = "beta"'
        use acme_1 7 2026-11-20
        at 2026-12-21
        use acme_1 5 2026-12-20
        use acme_1 3 2026-12-06
        at 2027-01-02
        close acme 2026-12 0.30 2026-11:0.07
        close beta 2026-12 0.05
        """,
    ),
    Story(
        "one more call is over a cliff, and a hundred more are back where they were",
        METERS + customer(),
        plan(
            tiers("2", "1").replace("graduated", "volume"),
            tax("20"),
        ),
        """
        use acme_1 100 2026-11-10
        at 2026-12-01T01:00Z
        close acme 2026-11 240.00
        use acme_1 1 2026-11-11
        at 2027-01-01T01:00Z
        close acme 2026-12 -118.80 2026-11:-118.80
        use acme_1 99 2026-11-12
        draft acme 2027-01 118.80 2026-11:118.80
        """,
    ),
    Story(
        "late usage fills a minimum up before it costs anything",
        METERS + customer(),
        plan(each("0.01"), tax("20"), more="minimum_spend = 5"),
        """
        use acme_1 100 2026-11-10
        at 2026-12-01T01:00Z
        close acme 2026-11 6.00
        use acme_1 200 2026-11-11
        draft acme 2026-12 6.00
        use acme_1 300 2026-11-12
        draft acme 2026-12 7.20 2026-11:1.20
        """,
    ),
    Story(
        "calls move from one final month to another customer's, with other taxes",
        METERS + customer() + customer("bolt", "pro"),
        plan(each("1"), tax("20")) + plan(each("3"), tax("10"), name="pro"),
        """
        use acme_1 10 2026-11-10
        at 2026-12-02
        close acme 2026-11 12.00
        close bolt 2026-11 0.00
        move bolt_1 1 2 3
        draft bolt 2026-12 9.90 2026-11:9.90
        draft acme 2026-12 -3.60 2026-11:-3.60
        """,
    ),
    Story(
        "on purpose into two final months, twice, and one of them is void between",
        METERS + customer(),
        plan(each("1"), tax("10"))
        + plan(each("2"), tax("10"), name="pro")
        + plan(each("3"), tax("10"), name="max"),
        """
        use acme_1 10 2026-11-10
        use acme_1 10 2026-11-20
        at 2027-01-02
        use acme_1 10 2026-12-10
        close acme 2026-11 22.00
        close acme 2026-12 11.00
        refused 'plan = "basic"' 'plan = "pro"\\nfrom = 2026-11-16'
        on-purpose 'plan = "basic"' 'plan = "pro"\\nfrom = 2026-11-16'
        at 2027-02-02
        close acme 2027-01 22.00 2026-11:11.00 2026-12:11.00
        on-purpose 'plan = "pro"\\nfrom = 2026-11-16' 'plan = "max"\\nfrom = 2026-12-01'
        draft acme 2027-02 11.00 2026-12:11.00
        void acme 2026-12
        close acme 2026-12 22.00 2026-12:-11.00
        owes acme usd=66.00
        """,
    ),
    Story(
        "a first day is named when months are final that had another length",
        METERS + customer(),
        plan(fee("30"), each("1"))
        + plan(fee("7"), each("1"), name="weekly", more='period = "week"'),
        """
        use acme_1 10 2026-11-10
        edit 'plan = "basic"' 'plan = "weekly"'
        at 2026-12-16T10:00Z
        close acme 2026-11 40.00
        close acme 2026-12-01 6.00
        close acme 2026-12-07 7.00
        edit 'plan = "weekly"' 'plan = "weekly"\\nstarts = 2026-12-15'
        use acme_1 3 2026-11-11
        use acme_1 2 2026-12-02
        at 2026-12-22
        close acme 2026-12-14 11.00 2026-11:3.00 2026-12-01:2.00
        """,
    ),
    Story(
        "usage of a month before the customer was known is imported late",
        METERS + customer(),
        plan(each("1")),
        """
        at 2026-12-02
        use acme_1 5 2026-11-10
        close acme 2026-11 5.00
        use acme_1 4 2026-10-31
        use acme_1 2 2026-11-11
        draft acme 2026-10 4.00
        draft acme 2026-12 2.00 2026-11:2.00
        close acme 2026-10 6.00 2026-11:2.00
        draft acme 2026-12 0.00
        """,
    ),
    Story(
        "words of a price are corrected in the middle of a month",
        METERS + customer(),
        plan(tiers("0", "0.01", 'description = "API kalls"'), fee("10.01")),
        """
        use acme_1 150 2026-11-10
        at 2026-11-16T10:00Z
        edit 'API kalls' 'API calls'
        use acme_1 150 2026-11-16T09:00Z
        at 2026-12-02
        close acme 2026-11 12.01
        """,
    ),
    Story(
        "an add-on ends whose price had the name of another one's",
        METERS
        + customer(
            more='plans = [{ plan = "a", from = 2026-11-01, to = 2026-11-15 },'
            ' { plan = "b", from = 2026-11-01 }]'
        ),
        plan(fee("30"))
        + plan(each("1", "tokens", 'name = "API"'), name="a")
        + plan(tiers("0", "0.01", 'name = "API"'), name="b"),
        """
        use acme_1 150 2026-11-10 tokens=5
        use acme_1 150 2026-11-16
        at 2026-12-02
        close acme 2026-11 782.00    # 30 + 150 x 5 + 200 x 0.01
        """,
    ),
    Story(
        "coupons of one name last as long as each says, also for a month without use",
        METERS + customer(more="starts = 2026-11-01"),
        plan(
            each("1"),
            fee("10"),
            of("coupon", "percent = 50", "periods = 2", 'on = ["calls"]'),
            of("coupon", "amount = 1", "periods = 4", 'on = ["fee"]'),
        ),
        """
        at 2027-05-02
        use acme_1 10 2026-12-10
        use acme_1 10 2027-02-10
        use acme_1 10 2027-03-10
        close acme 2026-11 9.00
        close acme 2026-12 14.00
        close acme 2027-01 9.00
        close acme 2027-02 14.00
        close acme 2027-03 20.00
        """,
    ),
    Story(
        "a coupon is there again where nothing is left that it was taken off",
        METERS + customer(more="starts = 2026-11-01"),
        plan(each("10"), of("coupon", "percent = 50", "periods = 1")),
        """
        use acme_1 1 2026-11-10
        at 2026-12-02
        close acme 2026-11 5.00
        move stray 1
        use acme_1 1 2026-12-01
        at 2027-01-02
        close acme 2026-12 0.00 2026-11:-5.00
        use acme_1 2 2026-11-11
        draft acme 2027-01 20.00 2026-11:20.00
        void acme 2026-12
        use acme_1 2 2026-11-12
        draft acme 2026-12 25.00 2026-11:15.00
        """,
    ),
    Story(
        "amounts of one name are each given once where a minimum changes",
        METERS + customer(),
        plan(
            fee("100"),
            each("1"),
            of("discount", "amount = 60", 'on = ["fee"]'),
            of("discount", "percent = 10", 'on = ["calls"]'),
            more="minimum_spend = 0",
        ),
        """
        at 2026-11-16T09:00Z
        use acme_1 100 2026-11-10
        use acme_1 100 2026-11-16T08:00Z
        edit 'minimum_spend = 0' 'minimum_spend = 1'
        at 2026-12-02
        close acme 2026-11 220.00
        """,
    ),
    Story(
        "all terms at once, to the cent",
        METERS + customer(),
        plan(
            tiers("0.1", "1.005", "free_units = 2\ndiscounts = [{ percent = 10 }]"),
            fee("99.99"),
            of("discount", "amount = 3", 'on = ["fee"]'),
            of("coupon", 'percent = "12.5"'),
            of("credit", "amount = 10"),
            tax("19"),
            tax("2.5", 'on = ["fee"]'),
            more="maximum_spend = 100",
        ),
        """
        use acme_1 112 2026-11-10
        at 2026-12-02
        # 10 + 10 x 1.005 = 20.05, less 10%: 18.05 (18.045). The fee less 3: 96.99. Less
        # 15.04 above 100, of which calls bear 2.36 (of 2.3597...): 15.69 and 84.31. Less
        # 12.50, of which 1.96 (of 1.96125): 13.73 and 73.77. 10 are paid: 77.50. Taxes are
        # 19% of 87.50, 16.63 (16.625), and 2.5% of 73.77, 1.84 (1.84425).
        close acme 2026-11 95.97
        """,
    ),
    Story(
        "yen have no decimals, nor has what a credit of them pays",
        METERS + customer(more="starts = 2026-11-21"),
        plan(fee("1000"), tax("10"), of("credit", 'amount = "10.50"'), currency="jpy"),
        """
        at 2027-01-02
        close acme 2026-11 356     # 333.33, and 33.3 of 333; less 10
        close acme 2026-12 1100
        """,
    ),
    Story(
        "of very many units no cent is lost",
        METERS + customer(),
        plan(each("0.999999999999", "tokens"), tax("20")),
        """
        use acme_1 1 2026-11-10 tokens=999999999999999
        at 2026-12-02
        close acme 2026-11 1199999999998798.80
        use acme_1 1 2026-11-10 tokens=1
        draft acme 2026-12 1.20 2026-11:1.20
        """,
    ),
    Story(
        "thousandths of a dinar, in notes and when it is void",
        METERS + customer(),
        plan(fee("10.005"), tax("5"), currency="kwd"),
        """
        at 2026-12-02
        close acme 2026-11 10.505
        note acme 2026-11 0.001
        note acme 2026-11 10.000
        owes acme kwd=0.504
        void acme 2026-11
        owes acme kwd=0.000
        """,
    ),
    Story(
        "credits pay in the order of closing, and for nothing that was final before",
        METERS + customer(),
        plan(each("1"), tax("19")),
        """
        use acme_1 100 2026-11-10
        at 2026-12-02
        close acme 2026-11 119.00
        credit acme 500
        use acme_1 10 2026-11-11
        draft acme 2026-12 11.90 2026-11:11.90
        void acme 2026-11
        close acme 2026-11 20.90
        use acme_1 400 2026-12-01
        draft acme 2026-12 86.00     # 400 - 390, and 76.00 of tax
        """,
    ),
    Story(
        "a credit that was given back pays for nothing more, nor for what comes late",
        METERS + customer(),
        plan(each("1")),
        """
        credit acme 100
        use acme_1 10 2026-11-10
        at 2026-12-02
        close acme 2026-11 0.00
        use acme_1 20 2026-11-11
        draft acme 2026-12 0.00 2026-11:0.00
        end-credit acme 1
        draft acme 2026-12 20.00 2026-11:20.00
        use acme_1 5 2026-12-01
        at 2027-01-02
        close acme 2026-12 25.00 2026-11:20.00
        owes acme usd=25.00
        """,
    ),
    Story(
        "a change of plan is put off before it comes, brought forward, and called off",
        METERS + customer(more="starts = 2026-11-01"),
        plan(fee("30")) + plan(fee("60"), name="pro"),
        """
        at 2026-11-05T10:00Z
        edit 'plan = "basic"' 'plan = "pro"\\nfrom = 2026-11-16'
        edit 'from = 2026-11-16' 'from = 2026-11-26'
        draft acme 2026-11 35.00
        edit 'from = 2026-11-26' 'from = 2026-11-21'
        draft acme 2026-11 40.00
        edit 'plan = "pro"\\nfrom = 2026-11-21' 'plan = "basic"'
        at 2026-12-02
        close acme 2026-11 30.00
        """,
    ),
    Story(
        "one plan grants a credit once, the next one in each period, by one name",
        METERS + customer(more="starts = 2026-11-01"),
        plan(each("1"), of("credit", "amount = 100"))
        + plan(each("2"), of("credit", "amount = 20", 'every = "period"'), name="pro"),
        """
        use acme_1 15 2026-11-10
        at 2026-11-16T09:00Z
        edit 'plan = "basic"' 'plan = "pro"'
        use acme_1 15 2026-11-16T09:00Z
        at 2026-12-02T09:00Z
        close acme 2026-11 10.00     # 15 - 15, and 30 - 20
        edit 'plan = "pro"' 'plan = "basic"'
        use acme_1 110 2026-12-03
        at 2027-01-02
        close acme 2026-12 25.00     # 110 - 85
        """,
    ),
    Story(
        "the main plan is replaced by one with another tax, and the add-on goes on",
        METERS + customer(more='starts = 2026-11-01\nplans = [{ plan = "addon" }]'),
        plan(fee("30"), tax("19"))
        + plan(fee("60", "pro fee"), tax("5"), name="pro")
        + plan(tiers("0", "1"), tax("10"), name="addon"),
        """
        use acme_1 60 2026-11-10
        at 2026-11-16T10:00Z
        edit 'plan = "basic"' 'plan = "pro"'
        use acme_1 60 2026-11-16T09:00Z
        at 2026-12-02
        close acme 2026-11 71.35     # 15, 30 and 20; 2.85, 1.50 and 2.00
        """,
    ),
]


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.title)
async def test_what_is_billed_is_what_was_worked_out_by_hand(
    story: Story, tmp_path: Path
) -> None:
    await play(story, tmp_path)
