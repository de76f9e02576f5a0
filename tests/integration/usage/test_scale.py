"""Meters with a scale in a real ledger: counted in steps, changed, counted again."""

import random
from decimal import Decimal

import pytest

from meterline_sidecar.meters import Meter
from meterline_sidecar.usage import step
from meterline_sidecar.usage.counted import counted
from meterline_sidecar.usage.misfits import Misfits, read_misfits
from tests.agreed import agree_to
from tests.integration.conftest import Sidecar
from tests.integration.ledger.test_verify import verified
from tests.integration.usage.test_properties import Shop, recounted
from tests.producer import NOON_MS, event

WHOLE = Meter("hours", "sum", value="quantities.hours")
TENTHS = Meter("hours", "sum", value="quantities.hours", scale=1)
EXACT = Meter("hours", "sum", value="quantities.hours", scale=6)


async def misfits(shop: Shop) -> dict[str, Misfits]:
    async with shop.sidecar.database.reading() as tx:
        return await read_misfits(tx, (await counted(tx)).generation)


async def hours(shop: Shop) -> str:
    return str((await shop.usage())["hours"]["{}"]["n"])


async def test_a_scale_that_changes_holds_from_then_on_and_both_add_up(
    sidecar: Sidecar,
) -> None:
    shop = Shop(sidecar, WHOLE)
    await shop.start()
    await shop.ship(event(quantities={"hours": 2}), event(quantities={"hours": "0.5"}))
    assert await hours(shop) == "2"
    assert await misfits(shop) == {"hours": Misfits(left_out=1)}
    for learned, meter in enumerate((TENTHS, EXACT), 1):
        from_ms = NOON_MS - 600_000 + learned * 60_000
        agree_to(shop.terms, "hours", meter, from_ms=from_ms)
        await shop.start()
        await shop.ship(event(quantities={"hours": "0.25"}))

    assert await hours(shop) == "2.450000"  # 2, 0.2 and 0.25
    assert await misfits(shop) == {"hours": Misfits(rounded=1, left_out=1)}
    assert (await verified(sidecar.database.path)).findings == []


async def test_counted_again_with_a_scale_that_fits_nothing_is_left_to_say(
    sidecar: Sidecar,
) -> None:
    shop = Shop(sidecar, WHOLE)
    await shop.start()
    await shop.ship(*(event(quantities={"hours": text}) for text in ("0.5", "1.25")))
    assert await misfits(shop) == {"hours": Misfits(left_out=2)}
    shop.meters = (EXACT,)

    await recounted(shop)

    assert await hours(shop) == "1.750000"
    assert await misfits(shop) == {}
    assert (await verified(sidecar.database.path)).findings == []


@pytest.mark.parametrize("aggregation", ["sum", "max", "min", "latest"])
async def test_steps_and_recounts_come_to_the_same_to_the_last_digit(
    sidecar: Sidecar, monkeypatch: pytest.MonkeyPatch, aggregation: str
) -> None:
    monkeypatch.setattr(step, "STEP_EVENTS", 7)
    dice = random.Random(aggregation)
    meter = Meter("hours", aggregation, value="quantities.hours", scale=3)  # type: ignore[arg-type]  # one of them
    shop = Shop(sidecar, meter)
    await shop.start()
    amounts = [Decimal(dice.randrange(10**6)) / 1000 for _ in range(40)]
    await shop.ship(
        *(
            event(
                time_ms=NOON_MS - 3_600_000 + i,
                quantities={"hours": int(n) if n == int(n) else f"{n:f}".rstrip("0")},
            )
            for i, n in enumerate(amounts)
        )
    )
    of: dict[str, Decimal] = {
        "sum": sum(amounts, Decimal(0)),
        "max": max(amounts),
        "min": min(amounts),
        "latest": amounts[-1],
    }
    expected = f"{of[aggregation]:.3f}"

    assert await hours(shop) == expected
    await recounted(shop)
    assert await hours(shop) == expected
    assert (await verified(sidecar.database.path)).findings == []
