"""Usage by properties in a real ledger: counted in steps, again, and after a restart."""

import json
import random
from collections.abc import Mapping
from typing import Final

import pytest

from meterline.usage_event import Part, UsageEvent
from meterline_pricing import Period
from meterline_sidecar.decimals import Number
from meterline_sidecar.ledger.chain import ChainFiles
from meterline_sidecar.meters import Meter
from meterline_sidecar.properties import NONE, OTHER
from meterline_sidecar.store.edge import values as value_store
from meterline_sidecar.terms.book import Terms
from meterline_sidecar.usage import step
from meterline_sidecar.usage.aggregate import Aggregator
from meterline_sidecar.usage.counted import snapshot
from meterline_sidecar.usage.customer_usage import usage_of
from meterline_sidecar.usage.recount import count_again
from meterline_sidecar.usage.values import together
from meterline_sidecar.where import Where
from tests.agreed import agree_to, claim, keep, terms_of
from tests.integration.conftest import Sidecar
from tests.integration.ledger.test_verify import verified
from tests.producer import NOON_MS, Connection, batch, event

DAY_MS: Final = 86_400_000
TOKENS: Final = Meter("tokens", "sum", value="quantities.tokens", group_by=("model",))
METERS: Final = (
    TOKENS,
    Meter("most", "max", value="quantities.tokens", group_by=("model", "region")),
    Meter("last", "latest", value="quantities.tokens", group_by=("model",)),
    Meter("users", "unique", value="subject", group_by=("tenant",)),
    Meter("calls", "count"),
    Meter(
        "large",
        "sum",
        value="quantities.tokens",
        where=Where(properties={"model": ("l*",)}),
    ),
)
SPAN: Final = Period(NOON_MS - DAY_MS, NOON_MS + DAY_MS)

Groups = dict[str, dict[str, Number]]


class Shop:
    """A sidecar whose usage is told apart by properties."""

    def __init__(
        self, sidecar: Sidecar, *meters: Meter, values_max: int = 1_000
    ) -> None:
        self.sidecar = sidecar
        self.meters = meters
        self.terms = claim(terms_of(*meters), "acme", "acct_*")
        self.n_shipped = 0
        self.values_max = values_max

    @property
    def key(self) -> bytes:
        return ChainFiles(self.sidecar.database.path).key(has_batches=False)

    async def start(self, terms: Terms | None = None) -> None:
        """Start counting, as after a restart."""
        if terms is not None:
            self.terms = terms
        database = self.sidecar.database
        await keep(database, self.terms, key=self.key)
        self.aggregator = Aggregator(
            database, self.terms, clock=self.sidecar.clock, values_max=self.values_max
        )
        await self.aggregator.start()

    async def ship(self, *events: UsageEvent) -> None:
        """Have events stored and counted."""
        async with Connection(self.sidecar.socket) as app:
            await app.hello()
            await app.ship(batch(*events, first_seq=self.n_shipped + 1))
        self.n_shipped += len(events)
        await self.aggregator.run()

    async def usage(self) -> dict[str, Groups]:
        """Return what acme used: by meter and group, as JSON."""
        async with snapshot(self.sidecar.database) as (tx, at):
            (found,) = await usage_of(
                tx, at, self.meters, customers=["acme"], period=SPAN
            )
        return {
            meter.meter: {
                json.dumps(group.labels, sort_keys=True): {"n": group.quantity}
                for group in meter.groups
            }
            or {"{}": {"n": meter.quantity}}
            for meter in found.meters
        }

    async def by_model(self) -> dict[str, Number]:
        """Return acme's tokens by model."""
        return {
            json.loads(labels).get("model", ""): group["n"]
            for labels, group in (await self.usage())["tokens"].items()
        }

    async def values(self) -> list[value_store.ValueRow]:
        """Return the values that are told apart."""
        async with self.sidecar.database.reading() as tx:
            return await value_store.read_values(tx)


def tokens(*parts: tuple[int, Mapping[str, str]], **changes: object) -> UsageEvent:
    return event(
        quantities={"tokens": sum(amount for amount, _ in parts)},
        parts=[Part("tokens", amount, dict(own)) for amount, own in parts if own]
        or None,
        **changes,
    )


def any_event(dice: random.Random) -> UsageEvent:
    parts = {
        model: (dice.randrange(9), {"model": model} if model else {})
        for model in dice.sample(["large", "small", "tiny", "huge", ""], 2)
    }
    said = {"region": dice.choice("ab"), "tenant": f"t{dice.randrange(6)}"}
    return tokens(
        *parts.values(),
        time_ms=NOON_MS - dice.randrange(7_200_000),
        subject=dice.choice(["acct_1", "acct_2", "stranger"]),
        properties=dict(dice.sample(sorted(said.items()), dice.randrange(3))) or None,
    )


def no_edges(_customer: str, _start: int, _end: int) -> tuple[int, ...]:
    return ()


async def recounted(shop: Shop) -> dict[str, Groups]:
    """Return usage after all meters were counted again from the first event on."""
    for meter in shop.meters:
        agree_to(shop.terms, meter.name, meter, from_ms=0, learned_ms=NOON_MS)
    await shop.start()
    await shop.aggregator.run()
    async with snapshot(shop.sidecar.database) as (_, at):
        assert at.recounting_percent is None
        assert at.generation > 1
    return await shop.usage()


@pytest.mark.parametrize("values_max", [1, 3, 1_000])
async def test_steps_restarts_and_recounts_come_to_the_same_groups(
    sidecar: Sidecar, monkeypatch: pytest.MonkeyPatch, values_max: int
) -> None:
    monkeypatch.setattr(step, "STEP_EVENTS", 17)
    dice = random.Random(values_max)
    shop = Shop(sidecar, *METERS, values_max=values_max)
    for _ in range(4):
        await shop.start()
        await shop.ship(*(any_event(dice) for _ in range(25)))
    usage, values = await shop.usage(), await shop.values()

    again = await recounted(shop)

    assert again == usage
    assert await shop.values() == values
    assert (f'{{"tenant": "{OTHER}"}}' in usage["users"]) == (values_max < 1_000)
    assert (await verified(sidecar.database.path)).findings == []


async def test_a_total_by_property_is_the_total_without(sidecar: Sidecar) -> None:
    plain = Meter("plain", "sum", value="quantities.tokens")
    shop = Shop(sidecar, TOKENS, plain, values_max=2)
    await shop.start()
    dice = random.Random(7)

    await shop.ship(*(any_event(dice) for _ in range(100)))

    usage = await shop.usage()
    assert sum((await shop.by_model()).values()) == (usage["plain"]["{}"]["n"])


async def test_values_beyond_the_limit_are_added_up_together_and_it_is_said(
    sidecar: Sidecar,
) -> None:
    shop = Shop(sidecar, TOKENS, values_max=2)
    await shop.start()

    await shop.ship(
        *(tokens((i, {"model": f"m{i}"})) for i in range(1, 6)), tokens((9, {}))
    )

    assert await shop.by_model() == {"m1": 1, "m2": 2, OTHER: 12, NONE: 9}
    async with sidecar.database.reading() as tx:
        assert await together(tx, [TOKENS]) == {"model": 2}
        assert await together(tx, [METERS[4]]) == {}


async def test_a_higher_limit_holds_from_then_on_also_when_it_is_counted_again(
    sidecar: Sidecar,
) -> None:
    shop = Shop(sidecar, TOKENS, values_max=1)
    await shop.start()
    await shop.ship(tokens((1, {"model": "a"})), tokens((2, {"model": "b"})))
    shop.values_max = 2
    await shop.start()
    await shop.ship(tokens((4, {"model": "b"})), tokens((8, {"model": "c"})))
    found = await shop.by_model()

    again = await recounted(shop)

    assert found == {"a": 1, "b": 4, OTHER: 10}
    assert {json.loads(k)["model"]: v["n"] for k, v in again["tokens"].items()} == found
    assert (await verified(sidecar.database.path)).findings == []


async def test_a_meter_that_begins_or_ceases_to_add_up_by_a_property_does_so_from_then(
    sidecar: Sidecar,
) -> None:
    by_route = Meter("tokens", "sum", value="quantities.tokens", group_by=("route",))
    shop = Shop(sidecar, by_route)
    await shop.start()
    await shop.ship(tokens((1, {"model": "a"})))
    for learned, meter in enumerate((TOKENS, by_route), 1):
        from_ms = NOON_MS - 600_000 + learned * 60_000
        agree_to(shop.terms, "tokens", meter, from_ms=from_ms)
        await shop.start()
        shop.meters = (meter,)
        await shop.ship(tokens((10 * learned, {"model": "a"})))

    assert (await shop.usage())["tokens"] == {
        '{"model": "a"}': {"n": 10},
        '{"route": "/v1/items/{id}"}': {"n": 21},
    }
    assert (await verified(sidecar.database.path)).findings == []


async def test_counting_back_by_a_property_reads_the_values_of_before(
    sidecar: Sidecar,
) -> None:
    plain = Meter("tokens", "sum", value="quantities.tokens")
    shop = Shop(sidecar, plain, values_max=2)
    await shop.start()
    await shop.ship(*(tokens((i, {"model": f"m{i}"})) for i in range(1, 4)))
    shop.meters = (TOKENS,)

    preview = await count_again(
        sidecar.database, {"tokens": (0, TOKENS)}, edges=no_edges
    )
    values = await shop.values()
    found = await recounted(shop)

    groups = preview.after.used("acme", "tokens", start=0, end=SPAN.end)
    assert values == []
    assert {json.loads(labels)["model"]: n for labels, n in groups.items()} == {
        json.loads(labels)["model"]: group["n"]
        for labels, group in found["tokens"].items()
    }
    assert set(groups.values()) == {1, 2, 3}
    assert preview.differences == ()


async def test_a_value_of_which_nothing_is_known_any_more_is_missed(
    sidecar: Sidecar,
) -> None:
    shop = Shop(sidecar, TOKENS, values_max=1)
    await shop.start()
    await shop.ship(tokens((1, {"model": "a"})), tokens((2, {"model": "b"})))
    async with sidecar.database.transaction() as tx:
        await tx.execute("DELETE FROM property_values WHERE value = ''")

    (finding,) = (await verified(sidecar.database.path)).findings

    assert finding == "property_values: it is not noted that model has too many values"
