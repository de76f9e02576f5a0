"""What Stripe gets is what was agreed, whatever the files say by now."""

from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from meterline_pricing import Calendar
from meterline_sidecar.cli.against_ledger import agreed_of
from meterline_sidecar.config.shape import Config
from meterline_sidecar.stripe.billed import billed_meter
from meterline_sidecar.stripe.provision.plan import meter_step, wanted_prices
from meterline_sidecar.terms.files import as_agreed, wanted_of
from meterline_sidecar.terms.keeper import TermsRefused
from tests.web.conftest import OpenWeb, Web, configure
from tests.web.test_final import BASIC, CALLS, customer

BILLED = CALLS + 'bill_through = "meter"\n'
SIZES = (
    '[[meter]]\nname = "size"\naggregation = "AGGREGATION"\nvalue = "bytes_out"\n'
    'bill_through = "meter"\n'
)


@pytest.fixture
async def web(open_web: OpenWeb) -> AsyncGenerator[Web]:
    files = BILLED + SIZES.replace("AGGREGATION", "sum") + customer()
    async with open_web(meterline=files, pricing=BASIC) as opened:
        yield opened


def prices(web: Web, config: Config) -> dict[str, Any]:
    """Return the amount of every price that Stripe should have."""
    now_ms = web.clock.now_ms()
    held = as_agreed(config, web.parts.terms.terms, now_ms)
    wanted, problems = wanted_prices(held, today=Calendar().day(now_ms))
    assert problems == []
    return {one.lookup_key: one.fields["unit_amount_decimal"] for one in wanted}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('"usd"', '"eur"'),  # refused: customers are on it
        ('"usd"', '"usd"\neffective = 2099-01-01'),  # not yet
        ("0.01", "0.03"),  # not loaded
    ],
)
async def test_a_price_that_does_not_hold_is_not_made(
    web: Web, tmp_path: Path, before: str, after: str
) -> None:
    files = BILLED + SIZES.replace("AGGREGATION", "sum") + customer()

    edited = configure(tmp_path, meterline=files, pricing=BASIC.replace(before, after))

    assert prices(web, edited) == {"meterline_basic_calls": "1"}


async def test_a_price_that_was_agreed_by_reload_is_made(
    web: Web, tmp_path: Path
) -> None:
    files = BILLED + SIZES.replace("AGGREGATION", "sum") + customer()
    edited = configure(tmp_path, meterline=files, pricing=BASIC.replace("0.01", "0.03"))

    await web.parts.terms.load(wanted_of(edited), author="test")

    assert prices(web, edited) == {"meterline_basic_calls": "3"}


async def test_a_plan_that_is_refused_is_told_of_and_not_made(
    web: Web, tmp_path: Path
) -> None:
    files = BILLED + SIZES.replace("AGGREGATION", "sum") + customer()
    edited = configure(tmp_path, meterline=files, pricing=BASIC.replace("usd", "eur"))
    with pytest.raises(TermsRefused):
        await web.parts.terms.load(wanted_of(edited), author="test")

    held = await agreed_of(edited, clock=web.clock)

    assert held.config.catalogue.plan("basic").currency == "usd"
    assert any("cannot become eur" in text for text in held.waiting)


async def test_a_meter_is_made_as_it_counts_and_not_as_it_was_refused(
    web: Web, tmp_path: Path
) -> None:
    files = BILLED + SIZES.replace("AGGREGATION", "latest") + customer()
    edited = configure(tmp_path, meterline=files, pricing=BASIC)
    with pytest.raises(TermsRefused):
        await web.parts.terms.load(wanted_of(edited), author="test")

    held = as_agreed(edited, web.parts.terms.terms, web.clock.now_ms())

    size = next(one for one in held.meters if one.meter.name == "size")
    step, _ = meter_step(billed_meter(size), [])
    assert step is not None
    assert step.details["default_aggregation"] == {"formula": "sum"}


async def test_a_meter_that_nobody_agreed_to_is_not_made(
    web: Web, tmp_path: Path
) -> None:
    more = SIZES.replace("AGGREGATION", "sum").replace('"size"', '"other"')
    edited = configure(tmp_path, meterline=BILLED + more + customer(), pricing=BASIC)

    held = as_agreed(edited, web.parts.terms.terms, web.clock.now_ms())

    assert [one.meter.name for one in held.meters] == ["calls"]


async def test_what_counts_as_stripe_cannot_is_not_made(
    open_web: OpenWeb, tmp_path: Path
) -> None:
    unique = SIZES.replace('bill_through = "meter"\n', "")
    unique = unique.replace("AGGREGATION", "unique").replace("bytes_out", "subject")
    async with open_web(meterline=CALLS + unique + customer(), pricing=BASIC) as web:
        files = BILLED + SIZES.replace("AGGREGATION", "sum") + customer()
        edited = configure(tmp_path, meterline=files, pricing=BASIC)

        held = as_agreed(edited, web.parts.terms.terms, web.clock.now_ms())

        of = {one.meter.name: one.bill_through for one in held.meters}
        assert of == {"calls": "meter", "size": "none"}
