"""Customers by API, and the files again, in a running sidecar."""

from typing import Any

import httpx
import pytest

from meterline_sidecar.clock import DAY_MS, HOUR_MS
from tests.producer import event
from tests.sidecar_process import METERLINE, PRICING
from tests.web.conftest import OpenWeb, Web

NEW: dict[str, Any] = {"id": "new", "plan": "starter", "subjects": ["new_*"]}
RULE = '[[customer_rule]]\nmatch = "user_*"\nplan = "starter"\n'
PRO = PRICING.replace('"starter"', '"pro"')


async def send(web: Web, method: str, path: str, **body: Any) -> httpx.Response:
    return await web.http.request(method, path, json=body)


async def calls(web: Web, customer: str) -> int:
    invoice = await web.get(f"/v1/customers/{customer}/invoice")
    return sum(meter["quantity"] for meter in invoice["usage"])


def rewrite(web: Web, meterline: str, pricing: str = PRICING) -> None:
    """Change the files of a running sidecar."""
    file = web.parts.config.file
    assert file is not None
    head = file.read_text().partition("\n[[")[0]
    file.write_text(f"{head}\n{meterline}")
    (file.parent / "pricing.toml").write_text(pricing)


async def test_usage_counts_for_a_new_customer_at_once(open_web: OpenWeb) -> None:
    async with open_web() as web:
        await web.ship(event(subject="new_1"))

        made = await send(web, "POST", "/v1/customers", **NEW)
        await web.ship(event(subject="new_1"), event(subject="new_2"))

        assert made.status_code == 200, made.text
        assert made.json()["customer"]["owner"] == "api"
        assert made.json()["changes"] == ["new: a new customer on plan starter"]
        assert await calls(web, "new") == 3
        assert [c["id"] for c in (await web.get("/v1/customers"))["customers"]] == [
            "acme",
            "new",
        ]


async def test_what_is_left_out_of_a_change_stays_as_it_is(open_web: OpenWeb) -> None:
    async with open_web() as web:
        await send(web, "POST", "/v1/customers", **NEW, name="New Ltd")

        changed = await send(
            web, "PUT", "/v1/customers/new", address=["1 High Street"], plan=None
        )
        billed = {"tax_id": "VAT GB1", "email": "pay@new.example"}
        told = await send(web, "PUT", "/v1/customers/new", **billed)
        refused = await web.http.put("/v1/customers/new", json={"email": "nobody"})

        shown = changed.json()["customer"] | billed
        assert (shown["name"], shown["plan"]) == ("New Ltd", None)
        assert shown["address"] == ["1 High Street"]
        assert len(told.json()["changes"]) == 2
        assert refused.status_code == 400
        assert "email: expected an address such as" in refused.json()["detail"]
        assert shown == await web.get("/v1/customers/new")


async def test_a_body_that_says_something_twice_is_refused(open_web: OpenWeb) -> None:
    async with open_web() as web:
        refused = await web.http.put(
            "/v1/customers/new", content=b'{"plan": null, "name": "A", "name": "B"}'
        )
        assert refused.status_code == 400
        assert "`name` stands in the body more than once" in refused.json()["detail"]


async def test_a_change_holds_from_the_day_that_is_given(open_web: OpenWeb) -> None:
    async with open_web(pricing=PRICING + PRO) as web:
        await send(web, "POST", "/v1/customers", **NEW)
        body = {"plan": "pro", "from": "2026-12-01"}

        changed = await web.http.put("/v1/customers/new", json=body)
        before = await web.get("/v1/customers/new")
        web.clock.time_ms += 40 * DAY_MS
        after = await web.get("/v1/customers/new")

        assert changed.json()["changes"] == ["from 2026-12-01 new: plan starter -> pro"]
        assert (before["plan"], after["plan"]) == ("starter", "pro")


async def test_who_ends_can_still_be_invoiced(open_web: OpenWeb) -> None:
    async with open_web() as web:
        await send(web, "POST", "/v1/customers", **NEW)
        await web.ship(event(subject="new_1"))

        ended = await send(web, "POST", "/v1/customers/new/end")
        web.clock.time_ms += 40 * DAY_MS

        assert ended.json()["customer"]["ends"] is not None
        assert await calls(web, "new") == 1


async def test_the_last_day_of_all_is_as_good_as_none(open_web: OpenWeb) -> None:
    async with open_web() as web:
        await send(web, "POST", "/v1/customers", **NEW, ends="9999-12-31")
        await web.ship(event(subject="new_1"))

        assert await calls(web, "new") == 1
        assert (await web.http.get("/status")).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "detail"),
    [
        ("POST", "/v1/customers", {"id": "acme"}, 409, "acme is there already"),
        ("PUT", "/v1/customers/acme", {"plan": None}, 409, "the files look after"),
        ("POST", "/v1/customers", {"id": "a/b"}, 400, "id: expected an id"),
        ("PUT", "/v1/customers/x%20y", {}, 400, "id: expected an id"),
        ("POST", "/v1/customers", {}, 400, "`id` is missing"),
        (
            "POST",
            "/v1/customers",
            NEW | {"plann": "x"},
            400,
            "`plann` is an unknown field; did you mean `plans`?",
        ),
        (
            *("POST", "/v1/customers", NEW | {"plan": "startr"}, 400),
            "unknown plan `startr`; did you mean `starter`?",
        ),
        (
            *("POST", "/v1/customers", NEW | {"subjects": ["a*b"]}, 400),
            "subjects: `a*b` would match nothing",
        ),
        (
            *("POST", "/v1/customers", NEW | {"subjects": ["acme_*"]}, 409),
            "subject `acme_*` is of customer acme",
        ),
        (
            *("POST", "/v1/customers", NEW | {"time_zone": "Mars"}, 400),
            "Mars",
        ),
        (
            *("POST", "/v1/customers", NEW | {"time_zone": "right/UTC"}, 400),
            "time_zone: `right/UTC` is not the same everywhere",
        ),
        (
            *("POST", "/v1/customers", NEW | {"starts": "0001-01-01"}, 400),
            "starts: 0001-01-01 is before 1900",
        ),
        (
            "POST",
            "/v1/customers",
            NEW | {"starts": "2026-02-01", "ends": "2026-01-31"},
            400,
            "ends: 2026-01-31 is before the first day",
        ),
        ("POST", "/v1/customers/nobody/end", {}, 404, "no customer 'nobody'"),
        ("POST", "/v1/customers/acme/adopt?owner=file", {}, 409, "already"),
    ],
)
async def test_what_can_not_be_is_refused_and_changes_nothing(
    open_web: OpenWeb,
    method: str,
    path: str,
    body: dict[str, Any],
    status: int,
    detail: str,
) -> None:
    async with open_web() as web:
        row_id = web.parts.terms.terms.row_id

        refused = await web.http.request(method, path, json=body)

        assert refused.status_code == status, refused.text
        assert detail in refused.json()["detail"]
        assert web.parts.terms.terms.row_id == row_id


NESTED = b'{"x":' + b"[" * 5_000 + b"]" * 5_000 + b"}"


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'"x"', b"\xff", b'{"id":"\xff"}', NESTED]
)
async def test_a_body_that_is_none_is_refused(
    open_web: OpenWeb, content: bytes
) -> None:
    async with open_web() as web:
        refused = await web.http.post("/v1/customers", content=content)

        assert refused.status_code == 400


async def test_a_stripe_id_is_one_customers_only(open_web: OpenWeb) -> None:
    async with open_web() as web:
        await send(web, "POST", "/v1/customers", **NEW, stripe_customer="cus_1")

        refused = await send(
            web, "POST", "/v1/customers", id="other", stripe_customer="cus_1"
        )

        assert refused.status_code == 409
        assert "stripe_customer `cus_1` is of customer new" in refused.text


async def test_a_token_without_write_changes_no_customer(open_web: OpenWeb) -> None:
    async with open_web() as web:
        made = web.tokens.create("reader", "read", now_ms=web.clock.now_ms())
        headers = {"Authorization": f"Bearer {made.text}"}

        refused = await web.http.post("/v1/customers", json=NEW, headers=headers)

        assert refused.status_code == 403


async def test_a_row_says_whose_token_wrote_it(open_web: OpenWeb) -> None:
    async with open_web() as web:
        made = web.tokens.create("signup page", "write", now_ms=web.clock.now_ms())
        headers = {"Authorization": f"Bearer {made.text}"}

        await web.http.post("/v1/customers", json=NEW, headers=headers)

        async with web.parts.database.reading() as tx:
            rows = await tx.fetch_all(
                "SELECT author FROM terms GROUP BY author ORDER BY min(id)"
            )
        assert [row[0] for row in rows] == ["files", "signup page"]


async def test_who_signs_up_has_an_invoice_of_their_own(open_web: OpenWeb) -> None:
    async with open_web(meterline=METERLINE + RULE) as web:
        await web.ship(event(subject="user_1"), event(subject="user_2"))

        await web.parts.sign_ups.run()

        assert await calls(web, "user_1") == 1
        assert (await web.get("/v1/customers/user_2"))["plan"] == "starter"


async def test_the_files_are_loaded_again_and_everything_follows(
    open_web: OpenWeb,
) -> None:
    async with open_web() as web:
        await web.ship(event(subject="beta_1"))
        alert = '[[alert]]\nname = "quota"\nkind = "limit"\nmeter = "api_calls"\n'
        beta = '[[customer]]\nid = "beta"\nsubjects = ["beta_*"]\nplan = "pro"\n'
        rewrite(web, f"{METERLINE}{beta}{alert}amount = 1\n", pricing=f"{PRICING}{PRO}")

        loaded = (await send(web, "POST", "/v1/reload")).json()
        again = (await send(web, "POST", "/v1/reload")).json()
        await web.parts.standings.refresh()

        assert "beta: a new customer on plan pro" in loaded["changes"]
        assert (again["changes"], again["needs_restart"]) == ([], [])
        assert await calls(web, "beta") == 1
        alerts = (await web.get("/v1/alerts"))["alerts"]
        assert {alert["customer"] for alert in alerts} == {"beta"}


async def test_files_with_mistakes_change_nothing_and_are_told(
    open_web: OpenWeb,
) -> None:
    async with open_web() as web:
        rewrite(web, METERLINE.replace('plan = "starter"', 'plan = "startr"'))

        refused = await send(web, "POST", "/v1/reload")

        assert refused.status_code == 400
        assert "unknown plan `startr`" in refused.json()["detail"]
        assert (await web.get("/v1/customers/acme"))["plan"] == "starter"


async def test_a_reload_names_what_only_a_restart_changes(open_web: OpenWeb) -> None:
    async with open_web() as web:
        told = METERLINE.replace(
            'aggregation = "count"', 'aggregation = "count"\nbill_through = "meter"'
        )
        rewrite(web, f'{told}[stripe]\nmode = "send"\n')

        loaded = (await send(web, "POST", "/v1/reload")).json()

        assert loaded["needs_restart"] == ["stripe.mode"]
        assert web.parts.config.stripe.mode == "dry_run"


async def test_a_meter_that_is_billed_by_stripe_from_now_on_needs_no_restart(
    open_web: OpenWeb,
) -> None:
    at_stripe = 'plan = "starter"\nstripe_customer = "cus_1"'
    files = METERLINE.replace('plan = "starter"', at_stripe)
    count = 'aggregation = "count"'
    async with open_web(meterline=files) as web:
        await web.ship(event())
        web.clock.time_ms += 3 * HOUR_MS
        await web.parts.stripe.report()
        before = (await web.get("/v1/outbox"))["rows"]
        rewrite(web, files.replace(count, f'{count}\nbill_through = "meter"'))

        await send(web, "POST", "/v1/reload")
        await web.parts.stripe.report()

        (row,) = (await web.get("/v1/outbox"))["rows"]
        assert before == []
        assert (row["event_name"], row["value"]) == ("api_calls", 1)


async def test_who_is_taken_out_of_the_file_is_shown_and_invoiced(
    open_web: OpenWeb,
) -> None:
    async with open_web() as web:
        await web.ship(event(subject="acme_1"))
        web.clock.time_ms += 1  # what is used from the very moment on is nobody's
        rewrite(web, METERLINE.partition("[[customer]]")[0])
        loaded = (await send(web, "POST", "/v1/reload")).json()
        web.clock.time_ms += 40 * DAY_MS

        shown = await web.get("/v1/customers/acme")
        page = await web.http.get("/customers/acme")
        draft = await web.get("/v1/customers/acme/invoice")
        final = await web.http.post(
            "/v1/customers/acme/invoice/finalize",
            params={"period": draft["invoice"]["period"]["name"]},
        )

        assert loaded["changes"] == [
            "acme: removed; what they used until now can still be invoiced"
        ]
        assert shown["is_taken_out"]
        assert page.status_code == 200
        assert "removed from the files" in page.text
        assert final.json()["status"] == "final"
        assert final.json()["usage"][0]["quantity"] == 1


async def test_a_customer_is_given_to_the_api_and_back(open_web: OpenWeb) -> None:
    async with open_web() as web:
        given = await send(web, "POST", "/v1/customers/acme/adopt?owner=api")
        changed = await send(web, "PUT", "/v1/customers/acme", name="Acme Ltd")
        refused = await send(web, "POST", "/v1/reload")
        back = await send(web, "POST", "/v1/customers/acme/adopt?owner=file")

        assert given.json()["customer"]["owner"] == "api"
        assert changed.json()["customer"]["name"] == "Acme Ltd"
        assert refused.status_code == 409
        assert back.json()["customer"]["owner"] == "file"
        assert back.json()["customer"]["name"] == "Acme Corp"


async def test_the_files_get_nobody_whom_they_do_not_name(open_web: OpenWeb) -> None:
    async with open_web() as web:
        await send(web, "POST", "/v1/customers", **NEW)

        refused = await send(web, "POST", "/v1/customers/new/adopt?owner=file")

        assert refused.status_code == 409
        assert "the files do not name this customer" in refused.text
