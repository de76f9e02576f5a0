"""``meterline what-if``, of customers who have used up something before."""

import json
from pathlib import Path

from tests.sidecar_process import METERLINE, SidecarProcess

PRICING = """
[[plan]]
name = "starter"
currency = "usd"
[[plan.price]]
name = "fee"
model = "flat"
amount = "10"
[[plan.coupon]]
amount = 1
periods = 1
[[plan.credit]]
amount = 12
"""


def test_what_was_used_up_before_pays_for_nothing_under_other_prices_either(
    tmp_path: Path,
) -> None:
    file = METERLINE.replace('"starter"\n', '"starter"\nstarts = 2026-10-01\n', 1)
    (tmp_path / "same.toml").write_text(PRICING)
    (tmp_path / "dear.toml").write_text(PRICING.replace('"10"', '"20"'))
    tried = ("what-if", "--period", "2026-11", "--json", "--plan")
    with SidecarProcess(
        tmp_path, meterline=file, pricing=PRICING, clock="2026-11-06T12:00:00Z"
    ) as sidecar:
        sidecar.meterline("invoice", "acme", "--period", "2026-10", "--finalize")

        same = sidecar.meterline(*tried, str(tmp_path / "same.toml")).stdout
        dear = sidecar.meterline(*tried, str(tmp_path / "dear.toml")).stdout

    (by_same,), (by_dear,) = (json.loads(one)["customers"] for one in (same, dear))
    # October took the coupon, and 9 of the credit.
    assert (by_same["before"], by_same["after"]) == ("7.00", "7.00")
    assert by_dear["after"] == "17.00"
