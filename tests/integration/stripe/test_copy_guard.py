"""A database that was restored from a copy does not tell Stripe anything twice."""

import shutil
from pathlib import Path

from meterline_sidecar.clock import HOUR_MS
from meterline_sidecar.stripe.copy_guard import SentMark
from tests.outbox_rows import Shop


async def restore(shop: Shop, copy: Path) -> Shop:
    """Put ``copy`` in the database's place, as a person in a hurry would."""
    await shop.database.close()
    for suffix in ("-wal", "-shm"):
        Path(f"{shop.database.path}{suffix}").unlink(missing_ok=True)
    shutil.copy(copy, shop.database.path)
    await shop.reopen()
    return shop


async def test_what_was_sent_after_the_copy_is_held_and_not_sent_again(
    shop: Shop, tmp_path: Path
) -> None:
    copy = tmp_path / "copy.db"
    pending = await shop.add(7)
    await shop.database.copy_to(copy)
    await shop.report()
    await restore(shop, copy)
    shop.clock.time_ms += 25 * HOUR_MS

    await shop.report()

    assert (await shop.row(pending)).state == "unresolved"
    assert shop.total() == 7


async def test_a_database_without_its_mark_is_taken_for_a_copy(shop: Shop) -> None:
    await shop.add(7)
    await shop.report()
    late = await shop.add(5, part=1)
    Path(f"{shop.database.path}.sent").unlink()

    await shop.report()

    assert (await shop.row(late)).state == "unresolved"


async def test_a_mark_that_is_behind_does_no_harm(shop: Shop) -> None:
    await shop.add(7)
    await shop.report()
    late = await shop.add(5, part=1)
    SentMark(shop.database.path).write(0)

    await shop.report()

    assert (await shop.row(late)).state == "confirmed"
    assert shop.total() == 12
