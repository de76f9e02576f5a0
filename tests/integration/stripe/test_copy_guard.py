"""A database that was restored from a copy does not tell Stripe anything twice."""

import shutil
from pathlib import Path

from meterline_sidecar.clock import DAY_MS, HOUR_MS, MINUTE_MS
from meterline_sidecar.store import facts
from meterline_sidecar.store.sqlite.driver import SqliteDatabase
from meterline_sidecar.stripe.comparison import ReconciledSeries
from meterline_sidecar.stripe.copy_guard import AWAKE, CopyGuard, SentMark
from meterline_sidecar.stripe.enqueue import Enqueuer
from meterline_sidecar.stripe.reconcile import Reconciler
from meterline_sidecar.stripe.settle import OF_A_COPY
from tests.outbox_rows import EARLIER_MS, Shop


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


async def settle(shop: Shop) -> list[ReconciledSeries]:
    reconciler = Reconciler(shop.database, shop.stripe(), clock=shop.clock)
    return await reconciler.run(
        start_ms=EARLIER_MS - 40 * DAY_MS, end_ms=shop.clock.now_ms()
    )


async def move(shop: Shop, copy: Path, folder: Path) -> None:
    """Go on with ``copy`` alone, on another machine."""
    folder.mkdir()
    await shop.database.close()
    shutil.copy(copy, folder / "meterline.db")
    shop.database = await SqliteDatabase.open(folder / "meterline.db")


async def test_nothing_is_told_again_while_stripe_may_lag_behind_a_restore(
    shop: Shop, tmp_path: Path
) -> None:
    copy = tmp_path / "copy.db"
    await shop.add(146)
    await shop.database.copy_to(copy)
    await shop.report()
    await restore(shop, copy)
    told = shop.server.account.events.copy()
    shop.server.account.lag_s = 1_800

    await shop.report()
    (early,) = await settle(shop)
    await shop.report()
    shop.clock.time_ms += HOUR_MS
    (late,) = await settle(shop)
    await shop.report()

    assert (early.verdict, early.is_fresh) == ("unresolved", True)
    assert late.verdict == "equal"
    assert shop.server.account.events == told


async def test_what_no_copy_had_told_is_told_after_the_lag(
    shop: Shop, tmp_path: Path
) -> None:
    copy = tmp_path / "copy.db"
    await shop.report()  # it notes where it is
    await shop.add(7)
    await shop.database.copy_to(copy)
    await move(shop, copy, tmp_path / "elsewhere")

    await shop.report()
    assert shop.total() == 0
    shop.clock.time_ms += HOUR_MS
    await settle(shop)
    await shop.report()

    assert shop.total() == 7


async def test_a_backup_from_before_the_first_send_is_not_told_again_elsewhere(
    shop: Shop, tmp_path: Path
) -> None:
    copy = tmp_path / "copy.db"
    await shop.report()  # nothing is closed yet
    pending = await shop.add(7)
    await shop.database.copy_to(copy)
    await shop.report()
    await move(shop, copy, tmp_path / "elsewhere")
    shop.clock.time_ms += 25 * HOUR_MS

    await shop.report()
    assert (await shop.row(pending)).state == "unresolved"
    (line,) = await settle(shop)
    await shop.report()
    shop.clock.time_ms += HOUR_MS
    (settled,) = await settle(shop)

    assert (line.verdict, settled.verdict) == ("unresolved", "equal")
    assert shop.total() == 7


async def test_a_copy_of_the_whole_folder_is_held_as_well(
    shop: Shop, tmp_path: Path
) -> None:
    pending = await shop.add(7)
    async with shop.database.transaction() as tx:
        guard = CopyGuard(SentMark(shop.database.path))
        await guard.check(tx, now_ms=shop.clock.now_ms())
    guard.enrol()
    copy = tmp_path / "copy.db"
    await shop.database.copy_to(copy)
    mark = Path(f"{shop.database.path}.sent").read_text()
    await shop.report()
    await move(shop, copy, tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "meterline.db.sent").write_text(mark)

    await shop.report()

    assert (await shop.row(pending)).state == "unresolved"


async def reboot(shop: Shop) -> None:
    """Let the ledger believe that it was last awake in another boot."""
    async with shop.database.transaction() as tx:
        await facts.put_fact(tx, AWAKE, f"{shop.clock.now_ms()} another")


async def snapshot_back(shop: Shop, tmp_path: Path, *, slept_ms: int) -> int:
    """Return a row that was told, in a ledger that was set back to before, mark and all."""
    await shop.report()  # it notes that it is awake
    row_id = await shop.add(7)
    copy = tmp_path / "copy.db"
    await shop.database.copy_to(copy)
    mark = SentMark(shop.database.path).read()
    assert mark is not None
    await shop.report()
    await restore(shop, copy)
    SentMark(shop.database.path).write(mark.sends, mark.install or "")
    await reboot(shop)
    shop.clock.time_ms += slept_ms
    return row_id


async def test_a_disk_that_was_set_back_by_days_is_noticed_by_its_sleep(
    shop: Shop, tmp_path: Path
) -> None:
    row_id = await snapshot_back(shop, tmp_path, slept_ms=26 * HOUR_MS)

    await shop.report()
    held = await shop.row(row_id)
    (line,) = await settle(shop)

    assert held.state == "unresolved"
    assert line.verdict == "equal"
    assert shop.total() == 7


async def test_after_a_long_sleep_what_was_never_told_is_told(shop: Shop) -> None:
    await shop.report()
    await shop.add(7)
    await reboot(shop)
    shop.clock.time_ms += 26 * HOUR_MS
    new = await shop.add(5, hour_ms=shop.clock.now_ms() // HOUR_MS * HOUR_MS - HOUR_MS)

    await shop.report()
    assert (await shop.row(new)).state == "confirmed"
    await settle(shop)
    await shop.report()

    assert shop.total() == 12


async def test_stripe_knowing_what_was_never_sent_gives_a_copy_away(
    shop: Shop, tmp_path: Path
) -> None:
    row_id = await snapshot_back(shop, tmp_path, slept_ms=MINUTE_MS)
    shop.server.account.keys.clear()
    for part in range(1, 200):
        await shop.add(1, part=part)

    await shop.report()

    assert (await shop.row(row_id)).reason == OF_A_COPY
    counts = await shop.counts()
    assert counts["unresolved"] == 200
    assert shop.total() == 7


async def test_a_customer_who_is_mapped_in_a_copy_may_have_been_mapped_before(
    shop: Shop, tmp_path: Path
) -> None:
    await shop.report()  # it notes where it is
    row_id = await shop.add(7)
    async with shop.database.transaction() as tx:
        await tx.execute(
            "UPDATE outbox SET state = 'parked', stripe_customer = NULL", ()
        )
    copy = tmp_path / "copy.db"
    await shop.database.copy_to(copy)
    await move(shop, copy, tmp_path / "elsewhere")
    await shop.reporter().run()

    await Enqueuer(
        shop.database, meters=[], customers={"acme": "cus_acme"}, clock=shop.clock
    ).run()
    await shop.report()

    assert (await shop.row(row_id)).state == "unresolved"
    assert shop.total() == 0


async def test_a_file_of_another_ledger_says_nothing_about_this_one(
    shop: Shop,
) -> None:
    pending = await shop.add(7)
    SentMark(shop.database.path).write(0, "another")

    await shop.report()

    assert (await shop.row(pending)).state == "unresolved"


async def test_a_copy_is_noticed_once_and_not_at_every_start(
    shop: Shop, tmp_path: Path
) -> None:
    copy = tmp_path / "copy.db"
    await shop.add(7)
    await shop.database.copy_to(copy)
    await shop.report()
    await restore(shop, copy)
    await shop.report()
    later = await shop.add(3, hour_ms=EARLIER_MS + HOUR_MS)

    await shop.report()  # another process

    assert (await shop.row(later)).state == "confirmed"


async def test_a_mark_that_is_behind_does_no_harm(shop: Shop) -> None:
    await shop.add(7)
    await shop.report()
    late = await shop.add(5, part=1)
    SentMark(shop.database.path).write(0)

    await shop.report()

    assert (await shop.row(late)).state == "confirmed"
    assert shop.total() == 12
