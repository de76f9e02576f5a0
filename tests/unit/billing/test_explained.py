"""What stands under a line is what people can read."""

from decimal import Decimal

from meterline_pricing import Charge, Line
from meterline_sidecar.billing.explained import words_under

ENDLESS = "3." + "3" * 99
FEE = Charge(Decimal(ENDLESS), "$10.00 flat x 1/3")
TRIAL = Charge(Decimal(f"-{ENDLESS}"), f"- ${ENDLESS} 100% free trial")


def line(amount: str, explanation: str, *charges: Charge) -> Line:
    return Line(
        kind="fee",
        name="fee",
        description="fee",
        of="fee",
        meter=None,
        quantity=None,
        charges=charges,
        amount=Decimal(amount),
        explanation=explanation,
    )


def test_a_share_without_end_is_told_short() -> None:
    rounded = f"{FEE.explanation} = $3.33 (rounded from {ENDLESS})"
    free = f"{FEE.explanation} {TRIAL.explanation} = $0.00"

    assert words_under(line("3.33", rounded, FEE), "usd") == (
        ["$10.00 flat x 1/3 = $3.33 (rounded from 3.33333333...)"],
        "",
    )
    assert words_under(line("0.00", free, FEE, TRIAL), "usd") == (
        ["$10.00 flat x 1/3", "- $3.33333333... 100% free trial"],
        "",
    )
