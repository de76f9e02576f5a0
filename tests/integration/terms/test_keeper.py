"""Customers by API and by rule, on a real ledger."""

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from meterline_sidecar.ledger.journal import Journal
from meterline_sidecar.store import terms as store
from meterline_sidecar.store.open import open_ledger
from meterline_sidecar.store.port import Ledger, Tx
from meterline_sidecar.terms.diff import Wanted
from meterline_sidecar.terms.keeper import TermsKeeper, TermsRefused
from meterline_sidecar.terms.sign_ups import SignUps
from tests.clock import FakeClock
from tests.unit.terms.agreements import customer, plan


class Office:
    """A keeper of terms, and the subjects of its ledger."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.clock = FakeClock()
        self.keeper = TermsKeeper(ledger, Journal(b"key"), clock=self.clock)
        self.sign_ups = SignUps(ledger, self.keeper, clock=self.clock)

    async def files(self, *customers: str, **rules: str) -> None:
        """Load files in which these customers have a subject of their name."""
        await self.keeper.load(
            Wanted(
                customers=[
                    customer(name, subjects=(name, f"{name}_*"), plan="basic")
                    for name in customers
                ],
                plans=[plan("basic"), plan("free")],
                rules={f"{prefix}*": plan for prefix, plan in rules.items()},
            ),
            author="files",
        )

    async def seen(self, *subjects: str) -> None:
        """Have subjects use something for the first time."""
        now_ms = self.clock.now_ms()
        async with self.ledger.transaction() as tx:
            for name in subjects:
                await tx.execute(
                    "INSERT INTO subjects (name, customer) VALUES (?, ?)",
                    (name, self.keeper.terms.claims.customer_of(name, now_ms)),
                )

    async def payers(self) -> dict[str, str | None]:
        async with self.ledger.reading() as tx:
            rows = await tx.fetch_all("SELECT name, customer FROM subjects")
        return {row[0]: row[1] for row in rows}

    async def n_rows(self) -> int:
        async with self.ledger.reading() as tx:
            return len(await store.terms_after(tx, 0, limit=1_000))


@pytest.fixture
async def office(tmp_path: Path) -> AsyncGenerator[Office]:
    ledger = await open_ledger(tmp_path / "meterline.db")
    office = Office(ledger)
    await office.keeper.start()
    yield office
    await ledger.close()


async def test_who_is_added_by_api_pays_at_once_for_what_was_used_before(
    office: Office,
) -> None:
    await office.files("acme")
    await office.seen("new_1", "new_2", "acme_1")

    await office.keeper.change_customer(
        customer("new", subjects=("new_*",), plan="basic"), author="me"
    )

    assert await office.payers() == {"new_1": "new", "new_2": "new", "acme_1": "acme"}


async def test_who_should_be_new_and_is_not_is_left_as_they_are(office: Office) -> None:
    await office.files("acme")

    with pytest.raises(TermsRefused, match="acme is there already"):
        await office.keeper.change_customer(
            customer("acme", plan="free"), author="me", must_be_new=True
        )

    assert await office.n_rows() == 4


async def test_the_api_does_not_change_whom_the_files_look_after(
    office: Office,
) -> None:
    await office.files("acme")

    with pytest.raises(TermsRefused, match=r"the files look after.*customers adopt"):
        await office.keeper.change_customer(customer("acme", plan="free"), author="me")


async def test_the_files_do_not_change_whom_the_api_looks_after(
    office: Office,
) -> None:
    await office.files("acme")
    await office.keeper.change_customer(customer("new", plan="basic"), author="me")

    with pytest.raises(TermsRefused, match=r"the API looks after.*customers adopt"):
        await office.files("acme", "new")
    await office.files("acme")

    new = office.keeper.terms.customer("new", office.clock.now_ms())
    assert new is not None
    assert not new.is_removed


@pytest.mark.parametrize("text", ["acme", "acme_*"])
async def test_the_api_does_not_take_what_another_customer_has(
    office: Office, text: str
) -> None:
    await office.files("acme")

    with pytest.raises(TermsRefused, match="is of customer acme, whom the files"):
        await office.keeper.change_customer(
            customer("new", subjects=(text,)), author="me"
        )


async def test_the_files_do_not_take_what_a_customer_of_the_api_has(
    office: Office,
) -> None:
    await office.files("acme")
    await office.keeper.change_customer(
        customer("new", subjects=("beta_*",)), author="me"
    )

    with pytest.raises(TermsRefused, match=r"`beta_\*` is of customer new, whom the A"):
        await office.files("acme", "beta")


async def test_a_customer_can_be_given_over_and_back(office: Office) -> None:
    await office.files("acme")

    await office.keeper.adopt("acme", "api", author="me")
    await office.keeper.change_customer(customer("acme", plan="free"), author="me")
    with pytest.raises(TermsRefused):
        await office.files("acme")
    await office.keeper.adopt("acme", "file", author="me")
    await office.files("acme")

    acme = office.keeper.terms.customer("acme", office.clock.now_ms())
    assert acme is not None
    assert (acme.source, acme.plan) == ("file", "basic")


async def test_whoever_signs_up_becomes_a_customer_once(office: Office) -> None:
    await office.files("acme", user_="free")
    await office.seen("user_1", "acme_1", "other")

    await office.sign_ups.run()
    n_rows = await office.n_rows()
    await office.sign_ups.run()

    user = office.keeper.terms.customer("user_1", office.clock.now_ms())
    assert user is not None
    assert (user.plan, user.subjects, user.source) == ("free", ("user_1",), "api")
    assert await office.n_rows() == n_rows
    assert await office.payers() == {
        "user_1": "user_1",
        "acme_1": "acme",
        "other": None,
    }


async def test_whoever_signs_up_later_is_found_too(office: Office) -> None:
    await office.files("acme", user_="free")
    await office.seen("user_1")
    await office.sign_ups.run()

    await office.seen("user_2", "user_3")
    await office.sign_ups.run()

    assert set((await office.payers()).values()) == {"user_1", "user_2", "user_3"}


async def test_of_several_rules_the_longest_wins(office: Office) -> None:
    await office.files("acme", user_="free", user_vip_="basic", **{"": "free"})
    await office.seen("user_vip_1", "user_1", "x")

    await office.sign_ups.run()

    now_ms = office.clock.now_ms()
    found = [office.keeper.terms.customer(n, now_ms) for n in ("user_vip_1", "user_1")]
    assert [who.plan for who in found if who] == ["basic", "free"]
    assert (await office.payers())["x"] == "x"


async def test_who_is_new_is_no_reason_to_look_at_everybody_again(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    await office.files("acme", acct_="free")
    await office.seen("else_1", "acct_1")
    await office.sign_ups.run()
    looked_after: list[int] = []

    async def counted(tx: Tx, *, after_id: int, limit: int) -> list[tuple[int, str]]:
        looked_after.append(after_id)
        return await subjects_of_nobody(tx, after_id=after_id, limit=limit)

    subjects_of_nobody = store.subjects_of_nobody
    monkeypatch.setattr(store, "subjects_of_nobody", counted)

    new = customer("new", subjects=("new_1",), plan="basic")
    await office.keeper.change_customer(new, author="me")
    await office.sign_ups.run()
    given_up = customer("new", subjects=())
    await office.keeper.change_customer(given_up, author="me")
    await office.sign_ups.run()

    assert looked_after[0] > 0
    assert 0 in looked_after[1:]


async def test_a_rule_that_comes_later_is_for_who_is_there_already(
    office: Office,
) -> None:
    await office.files("acme")
    await office.seen("user_1")
    await office.sign_ups.run()

    await office.files("acme", user_="free")
    await office.sign_ups.run()

    assert await office.payers() == {"user_1": "user_1"}


@pytest.mark.parametrize("name", ["user_*", "user_/x", "user_" + "y" * 100, "user_ é"])
async def test_a_subject_that_can_be_no_id_claims_nothing_and_is_counted(
    office: Office, name: str
) -> None:
    await office.files("acme", user_="free")
    await office.seen(name, "user_1")

    await office.sign_ups.run()

    assert await office.payers() == {name: None, "user_1": "user_1"}
    (unfit,) = office.sign_ups.problems()
    assert unfit.code == "sign_up_unfit"
    assert unfit.text == f"1 subject cannot become customers: `{name:.60}`"


async def test_whose_subjects_somebody_will_take_over_does_not_sign_up(
    office: Office,
) -> None:
    await office.files("acme", user_="free")
    await office.keeper.change_customer(
        customer("big", subjects=("user_9",), plan="basic"), author="me"
    )
    await office.seen("user_9")

    await office.sign_ups.run()

    assert await office.payers() == {"user_9": "big"}
