"""Meters, products and prices: made once, shown first, and never someone else's."""

import contextlib
import os
import pty
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from meterline_sidecar.config.read import read_config
from meterline_sidecar.config.shape import Config
from meterline_sidecar.errors import RetryLater, StripeRefused
from meterline_sidecar.store import facts
from meterline_sidecar.store.sqlite.driver import SqliteDatabase
from meterline_sidecar.stripe.account import ACCOUNT
from meterline_sidecar.stripe.billed import billed_meter
from meterline_sidecar.stripe.pacing import Backoff
from meterline_sidecar.stripe.provision.apply import Provisioner
from meterline_sidecar.stripe.provision.plan import Provision
from tests.clock import FakeClock
from tests.outbox_rows import KEY, Shop
from tests.patience import PATIENCE_S
from tests.sidecar_process import (
    METERLINE,
    MODULE,
    PRICING,
    SidecarProcess,
    until_asleep,
)
from tests.stripe_server.faults import Fault
from tests.stripe_server.server import ServerThread

CLOCK = FakeClock()
PRICE = "meterline_starter_api_calls"


def provisioner(shop: Shop, config: Config) -> Provisioner:
    backoff = Backoff(first_s=0.01, max_s=0.02)
    return Provisioner(shop.stripe(), config, clock=CLOCK, backoff=backoff)


async def make(shop: Shop, config: Config) -> Provision:
    found = await provisioner(shop, config).plan()
    await provisioner(shop, config).apply(found)
    return found


def names(found: Provision) -> list[str]:
    return [f"{step.verb} {step.kind} {step.name}" for step in found.steps]


async def test_a_plan_shows_everything_and_makes_nothing(
    shop: Shop, configured: Callable[..., Config]
) -> None:
    shop.server.account.meters.clear()

    found = await provisioner(shop, configured()).plan()

    assert names(found) == [
        "create meter api_calls",
        f"create product {PRICE}",
        f"create price {PRICE}",
    ]
    assert shop.server.account.meters == {}
    assert shop.server.catalog.prices == {}


@pytest.mark.parametrize(
    ("more", "recurring"),
    [
        ('period = "day"', {"interval": "day"}),
        ('period = "week"', {"interval": "week"}),
        ('period = "quarter"', {"interval": "month", "interval_count": "3"}),
        ('period = "year"', {"interval": "year"}),
        ("trial_days = 14", {"interval": "month", "trial_period_days": "14"}),
        ("trial_days = 0", {"interval": "month"}),
    ],
)
async def test_periods_and_trials_are_said_as_stripe_says_them(
    shop: Shop,
    configured: Callable[..., Config],
    more: str,
    recurring: dict[str, Any],
) -> None:
    config = configured(pricing=PRICING.replace("currency =", f"{more}\ncurrency ="))

    found = await make(shop, config)

    assert found.problems == ()
    (price,) = shop.server.catalog.prices.values()
    metered = {name: price["recurring"][name] for name in ("usage_type", "meter")}
    assert price["recurring"] == metered | recurring
    assert (await provisioner(shop, config).plan()).steps == ()


async def test_a_trial_that_stripe_has_not_is_a_problem(
    shop: Shop, configured: Callable[..., Config]
) -> None:
    pricing = PRICING.replace("currency =", "trial_days = 731\ncurrency =")

    found = await provisioner(shop, configured(pricing=pricing)).plan()

    assert "no `trial_days` above 730" in found.problems[0]


@pytest.mark.parametrize(("mode", "window"), [("delta", None), ("set", "hour")])
async def test_what_is_made_is_what_is_reported_to(
    shop: Shop, configured: Callable[..., Config], mode: str, window: str | None
) -> None:
    shop.server.account.meters.clear()

    await make(shop, configured(mode=mode))

    (meter,) = shop.server.account.meters.values()
    (price,) = shop.server.catalog.prices.values()
    assert (meter.formula, meter.window) == ("sum", window)
    assert price["recurring"] == {
        "interval": "month",
        "usage_type": "metered",
        "meter": meter.id,
    }
    assert price["lookup_key"] == PRICE
    assert [tier["up_to"] for tier in price["tiers"]] == ["50000", "inf"]


async def test_a_second_time_changes_nothing(
    shop: Shop, configured: Callable[..., Config]
) -> None:
    shop.server.account.meters.clear()
    await make(shop, configured())

    again = await provisioner(shop, configured()).plan()

    assert again.steps == ()
    assert len(again.unchanged) == 3


async def test_another_amount_is_a_new_price_with_the_old_key(
    shop: Shop, configured: Callable[..., Config]
) -> None:
    await make(shop, configured())
    (old,) = shop.server.catalog.prices.values()
    dearer = PRICING.replace('"0.001"', '"0.002"').replace('"70.00"', '"140.00"')

    found = await make(shop, configured(pricing=dearer))

    new = list(shop.server.catalog.prices.values())[-1]
    assert names(found) == [f"replace price {PRICE}"]
    (step,) = found.steps
    amounts = [
        s["tiers"][-1]["unit_amount_decimal"] for s in (step.former, step.details)
    ]
    assert amounts == ["0.1", "0.2"]
    assert (old["active"], old["lookup_key"]) == (False, None)
    assert (new["active"], new["lookup_key"]) == (True, PRICE)
    assert (await provisioner(shop, configured(pricing=dearer)).plan()).steps == ()


@pytest.mark.parametrize(
    ("drift", "what"),
    [
        ({"formula": "last"}, "formula is 'last'"),
        ({"window": "day"}, "event_time_window is 'day'"),
        ({"customer_key": "user"}, "customer_mapping.event_payload_key is 'user'"),
        ({"value_key": "count"}, "value_settings.event_payload_key is 'count'"),
    ],
)
async def test_a_meter_that_can_not_be_mended_is_a_problem_and_no_second_one(
    shop: Shop,
    configured: Callable[..., Config],
    drift: dict[str, Any],
    what: str,
) -> None:
    (meter,) = shop.server.account.meters.values()
    for name, value in drift.items():
        setattr(meter, name, value)

    found = await provisioner(shop, configured()).plan()

    assert what in found.problems[0]
    assert not any(step.kind == "meter" for step in found.steps)


async def test_an_archived_meter_of_page_two_is_reactivated(
    shop: Shop, configured: Callable[..., Config]
) -> None:
    shop.server.account.meters.clear()
    for i in range(120):
        shop.server.account.add_meter(f"other_{i}")
    meter = shop.server.account.add_meter("api_calls")
    meter.status = "inactive"

    found = await make(shop, configured())

    assert names(found)[0] == "reactivate meter api_calls"
    assert meter.status == "active"
    assert len(shop.server.account.meters) == 121


async def test_a_price_of_somebody_else_under_our_key_is_left_alone(
    shop: Shop, configured: Callable[..., Config]
) -> None:
    await make(shop, configured())
    (price,) = shop.server.catalog.prices.values()
    price["metadata"] = {}

    found = await provisioner(shop, configured()).plan()

    assert "not made by Meterline" in found.problems[0]


async def test_a_price_whose_meter_was_replaced_is_made_anew(
    shop: Shop, configured: Callable[..., Config]
) -> None:
    await make(shop, configured())
    shop.server.account.meters.clear()
    meter = shop.server.account.add_meter("api_calls")

    await make(shop, configured())

    new = list(shop.server.catalog.prices.values())[-1]
    assert new["recurring"]["meter"] == meter.id


async def test_a_price_that_stripe_can_not_say_is_a_problem(
    shop: Shop, configured: Callable[..., Config]
) -> None:
    pricing = PRICING.replace(
        'meter = "api_calls"\n', 'meter = "api_calls"\nminimum_spend = "5"\n'
    )

    found = await provisioner(shop, configured(pricing=pricing)).plan()

    assert "`minimum_spend`" in found.problems[0]


async def test_an_apply_that_failed_half_way_is_finished_by_the_next(
    shop: Shop, configured: Callable[..., Config]
) -> None:
    shop.server.account.meters.clear()
    one = provisioner(shop, configured())
    found = await one.plan()
    await one.apply(Provision(found.steps[:2], (), ()))

    rest = await make(shop, configured())
    await one.apply(found)

    assert names(rest) == [f"create price {PRICE}"]
    assert len(shop.server.account.meters) == 1
    assert len(shop.server.catalog.prices) == 1


@pytest.mark.parametrize(
    "fault", [Fault.SAVED_500_BEFORE, Fault.SAVED_500_AFTER, Fault.RESET_AFTER]
)
async def test_a_change_that_fails_in_passing_is_made_once(
    shop: Shop, configured: Callable[..., Config], fault: Fault
) -> None:
    shop.server.account.meters.clear()
    shop.server.write_faults.extend([fault, Fault.SLOW, fault])

    await make(shop, configured())

    assert len(shop.server.account.meters) == 1
    assert len(shop.server.catalog.prices) == 1
    assert (await provisioner(shop, configured()).plan()).steps == ()


async def test_a_change_that_fails_for_good_is_told(
    shop: Shop, configured: Callable[..., Config]
) -> None:
    shop.server.write_faults.extend([Fault.SAVED_500_BEFORE] * 20)

    with pytest.raises(RetryLater, match="HTTP 500"):
        await make(shop, configured())


async def test_nothing_is_made_while_there_is_a_problem(
    shop: Shop, configured: Callable[..., Config]
) -> None:
    one = provisioner(shop, configured())
    found = await one.plan()

    with pytest.raises(StripeRefused, match="a reason"):
        await one.apply(Provision(found.steps, (), ("a reason",)))

    assert shop.server.catalog.products == {}


def test_the_command_shows_makes_and_refuses(tmp_path: Path) -> None:
    with ServerThread() as stripe:
        billed = 'name = "api_calls"\nbill_through = "meter"'
        sidecar = SidecarProcess(
            tmp_path,
            meterline=METERLINE.replace('name = "api_calls"', billed)
            + f'[stripe]\napi_key_file = "key"\napi_base = "{stripe.base}"\n',
        )
        (tmp_path / "key").write_text(KEY)

        shown = sidecar.meterline("stripe", "plan")
        made = sidecar.meterline("stripe", "apply")
        again = sidecar.meterline("stripe", "apply")
        next(iter(stripe.server.account.meters.values())).formula = "last"
        refused = sidecar.meterline("stripe", "apply")

    assert shown.returncode == 0, shown.stderr
    assert "+ create meter api_calls" in shown.stdout
    assert "up_to 50000" in shown.stdout
    assert (made.returncode, again.returncode) == (0, 0)
    assert "0 to change, 3 unchanged" in again.stdout
    assert refused.returncode == 3
    assert "cannot be changed" in refused.stdout
    assert len(stripe.server.catalog.prices) == 1


@pytest.mark.parametrize(
    ("answer", "code", "told"),
    [
        (b"y\n", 0, "done"),
        (b"n\n", 1, "meterline: nothing was changed; answer y to make these changes"),
        (b"\x04", 1, "meterline: nothing was changed; answer y to make these changes"),
        (None, 130, "meterline: interrupted; nothing was changed"),
    ],
)
def test_on_a_terminal_it_asks_before_it_changes_anything(
    tmp_path: Path, answer: bytes | None, code: int, told: str
) -> None:
    ours, theirs = pty.openpty()
    with ServerThread() as stripe:
        billed = 'name = "api_calls"\nbill_through = "meter"'
        sidecar = SidecarProcess(
            tmp_path,
            meterline=METERLINE.replace('name = "api_calls"', billed)
            + f'[stripe]\napi_key_file = "key"\napi_base = "{stripe.base}"\n',
        )
        (tmp_path / "key").write_text(KEY)
        command = subprocess.Popen(
            [*MODULE, "stripe", "apply", "--config", str(sidecar.config)],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
        )
        os.close(theirs)
        said = b""
        try:
            while b"[y/N]: " not in said:
                said += os.read(ours, 4096)
            if answer is None:
                until_asleep(command.pid)
                command.send_signal(signal.SIGINT)
            else:
                os.write(ours, answer)
            with contextlib.suppress(OSError):  # nobody has the other side open
                while part := os.read(ours, 4096):
                    said += part
            command.wait(PATIENCE_S)
        finally:
            command.kill()
            command.wait()
            os.close(ours)
        made = len(stripe.server.catalog.prices)

    assert said.decode().splitlines()[-1] == told
    assert (command.returncode, made) == (code, 1 if code == 0 else 0)


async def test_the_command_says_that_a_key_is_of_another_account(
    tmp_path: Path,
) -> None:
    with ServerThread() as stripe:
        sidecar = SidecarProcess(
            tmp_path,
            meterline=METERLINE
            + f'[stripe]\napi_key_file = "key"\napi_base = "{stripe.base}"\n',
        )
        (tmp_path / "key").write_text(KEY)
        config = read_config(tmp_path / "meterline.toml")
        database = await SqliteDatabase.open(config.sidecar.database)
        async with database.transaction() as tx:
            await facts.put_fact(tx, ACCOUNT, "live acct_2Other")
        await database.close()

        shown = sidecar.meterline("stripe", "plan")

    assert shown.returncode == 0, shown.stderr
    assert (
        "this ledger reports to acct_2Other, live mode, of Stripe but the key is of"
        " acct_1Meterline, a sandbox, of Stripe"
    ) in shown.stderr


async def test_a_meter_without_window_under_set_mode_is_told_as_drift(
    shop: Shop, configured: Callable[..., Config]
) -> None:
    delta, window = configured(), configured(mode="set")
    fits = await provisioner(shop, delta).meter_problems(
        billed_meter(meter) for meter in delta.meters
    )

    problems = await provisioner(shop, window).meter_problems(
        billed_meter(meter) for meter in window.meters
    )

    assert fits == {}
    problem = problems["api_calls"]
    assert "event_time_window is None, not 'hour'" in problem
    assert "stripe_mode" in problem


def also(name: str) -> str:
    """Return a price list with another plan of this name."""
    return PRICING + PRICING.replace('name = "starter"', f'name = "{name}"')


async def test_a_plan_may_have_any_name(
    shop: Shop, configured: Callable[..., Config]
) -> None:
    config = configured(pricing=also("a/b?c#d%2F é &+"))
    name = "meterline_a/b?c#d%2F é &+_api_calls"

    found = await make(shop, config)
    shop.server.catalog.products[name]["active"] = False
    again = await make(shop, config)

    assert found.problems == ()
    assert names(again) == [f"reactivate product {name}"]
    assert len(shop.server.catalog.products) == 2
    assert (await provisioner(shop, config).plan()).steps == ()


async def test_a_name_that_is_too_long_for_a_lookup_key_is_a_problem(
    shop: Shop, configured: Callable[..., Config]
) -> None:
    rest = len("meterline__api_calls")

    fits = await provisioner(shop, configured(pricing=also("x" * (200 - rest)))).plan()
    found = await provisioner(shop, configured(pricing=also("x" * (201 - rest)))).plan()

    assert fits.problems == ()
    assert "has 201 characters, and Stripe takes 200" in found.problems[0]
