"""Whatever a centre can be asked for, it answers the same with its ledger on PostgreSQL."""

from pathlib import Path
from typing import Final

from tests.clock import FakeClock
from tests.integration.fleet.asked import Asked, offered
from tests.integration.fleet.conftest import World
from tests.integration.fleet.lived import METERLINE, PRICING, lived
from tests.postgres_server import shared_database

REFUSED: Final = {
    ("POST", "/login"): "nobody has a token",
    ("POST", "/stripe/webhook"): "nothing is told to Stripe",
    ("POST", "/v1/archive/restore"): "events stay here",
    ("POST", "/v1/archive/run"): "events stay here",
    ("POST", "/v1/invoices/{number}/stripe/retry"): "nothing is told to Stripe",
    ("POST", "/v1/invoices/{number}/stripe/credit-notes"): "nothing is told to Stripe",
}
"""What is refused in any case, and why."""


async def test_every_page_and_answer_is_the_same_on_either_database(
    tmp_path: Path,
) -> None:
    both: list[Asked] = []
    for name, database in (("file", None), ("server", shared_database())):
        world = World(tmp_path / name, database=database, clock=FakeClock())
        async with world.centre(METERLINE, pricing=PRICING) as centre:
            asked = Asked(centre)
            await lived(world, asked)
            both.append(asked)

    on_file, on_server = both
    assert on_server.answers.keys() == on_file.answers.keys()
    for what, got in on_file.answers.items():
        assert on_server.answers[what] == got, what
        assert got[0] < 500, what
    missing = offered("GET", "POST", "PUT") - on_server.granted - REFUSED.keys()
    assert sorted(missing) == [], "have `lived` ask for these, too"
