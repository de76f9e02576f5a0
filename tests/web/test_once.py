"""What is sent again under a key changes nothing: by a program, or by a form."""

import asyncio
import re
from typing import Any, Final

import httpx
import pytest

from meterline_sidecar.clock import DAY_MS
from tests.web.conftest import ON_SERVER, OpenWeb, Web, form
from tests.web.test_credits import CREDITS, FEE

BODY: Final = {"amount": "40.00", "reason": "the outage"}
PAGE: Final = "/customers/acme"
HTML: Final = {"accept": "text/html"}


async def ask(web: Web, key: str, path: str = CREDITS, **body: str) -> httpx.Response:
    headers = {"Idempotency-Key": key}
    return await web.http.post(path, json=BODY | body, headers=headers)


async def granted(web: Web) -> list[str]:
    return [one["amount"] for one in (await web.get(CREDITS))["credits"]]


def key_in(page: str, action: str = "/credits") -> str:
    found = re.search(
        rf'action="[^"]*{action}"[^>]*><input type="hidden" name="once" value="([^"]+)"',
        page,
    )
    assert found is not None, page
    return found[1]


async def test_a_program_gets_the_first_answer_again_and_grants_nothing_twice(
    open_web: OpenWeb,
) -> None:
    async with open_web(pricing=FEE) as web:
        first = await ask(web, "a-1")
        again = await ask(web, "a-1")
        other = await ask(web, "a-2", amount="5")

        assert first.status_code == again.status_code == 200
        assert first.content == again.content
        assert "idempotent-replayed" not in first.headers
        assert again.headers["idempotent-replayed"] == "true"
        assert again.headers["content-type"] == first.headers["content-type"]
        assert other.status_code == 200
        assert await granted(web) == ["40.00", "5"]


async def test_a_key_with_another_request_or_one_that_is_none_is_refused(
    open_web: OpenWeb,
) -> None:
    async with open_web(pricing=FEE) as web:
        assert (await ask(web, "a-1")).status_code == 200
        other = await ask(web, "a-1", amount="41.00")
        elsewhere = await ask(web, "a-1", "/v1/customers/globex/credits")
        bad = [await ask(web, key) for key in ("", "x" * 256)]
        headers = [("Idempotency-Key", "a"), ("Idempotency-Key", "b")]
        bad.append(await web.http.post(CREDITS, json=BODY, headers=headers))

        assert (other.status_code, elsewhere.status_code) == (409, 409)
        assert "is that of another request" in other.json()["detail"]
        assert [answer.status_code for answer in bad] == [400] * 3
        assert await granted(web) == ["40.00"]


async def test_what_was_refused_leaves_its_key_to_the_next(open_web: OpenWeb) -> None:
    async with open_web(pricing=FEE) as web:
        refused = await ask(web, "a-1", amount="four")
        assert refused.status_code == 400
        assert (await ask(web, "a-1")).status_code == 200
        assert await granted(web) == ["40.00"]


async def test_of_many_at_once_one_is_carried_out(open_web: OpenWeb) -> None:
    async with open_web(pricing=FEE) as web:
        answers = await asyncio.gather(*(ask(web, "a-1") for _ in range(8)))

        assert {answer.status_code for answer in answers} <= {200, 409}
        assert 200 in {answer.status_code for answer in answers}
        assert await granted(web) == ["40.00"]
        assert (await ask(web, "a-1")).status_code == 200


NO_ANSWERS: Final = (
    "CREATE TRIGGER no_answers BEFORE INSERT ON idempotency_answers"
    " BEGIN SELECT RAISE(ABORT, 'the power is gone'); END"
)
"""Ends a request between its change and its answer."""
NO_ANSWERS_THERE: Final = "ALTER TABLE idempotency_answers ADD CHECK (false) NOT VALID"
"""The same on a server."""


async def test_who_lost_the_answer_with_the_process_does_not_change_it_twice(
    open_web: OpenWeb,
) -> None:
    async with open_web(pricing=FEE) as web:
        page = (await web.http.get(PAGE)).text
        sent = {**BODY, "once": key_in(page)}
        async with web.parts.database.transaction() as tx:
            await tx.execute(NO_ANSWERS_THERE if ON_SERVER else NO_ANSWERS)
        assert (await ask(web, "a-1")).status_code == 500
        assert (await web.http.post(f"{PAGE}/credits", data=sent)).status_code == 500

    async with open_web(pricing=FEE) as web:
        assert await granted(web) == ["40.00", "40.00"]
        again = await ask(web, "a-1")
        shown = await web.http.post(f"{PAGE}/credits", data=sent, headers=HTML)

        assert (again.status_code, shown.status_code) == (409, 409)
        assert "its answer is not kept" in again.json()["detail"]
        assert "This form was sent before" in shown.text
        assert await granted(web) == ["40.00", "40.00"]


async def test_a_key_is_forgotten_after_a_week(open_web: OpenWeb) -> None:
    async with open_web(pricing=FEE) as web:
        await ask(web, "a-1")
        web.clock.time_ms += 7 * DAY_MS + 1
        await ask(web, "a-2")

        assert (await ask(web, "a-1")).status_code == 200
        assert await granted(web) == ["40.00"] * 3


async def test_a_form_that_is_sent_again_shows_what_it_did(open_web: OpenWeb) -> None:
    async with open_web(pricing=FEE) as web:
        page, other = [(await web.http.get(PAGE)).text for _ in range(2)]
        sent = {**BODY, "once": key_in(page)}

        async def send(**more: str) -> httpx.Response:
            return await web.http.post(
                f"{PAGE}/credits", data=sent | more, headers=HTML
            )

        first, again, changed = await send(), await send(), await send(amount="1")
        anew = await send(once=key_in(other))

        assert first.status_code == anew.status_code == 303
        assert again.status_code == 200
        assert "It was carried out at 2026" in again.text
        assert f'href="{PAGE}#credits"' in again.text
        assert changed.status_code == 409
        assert "with other values" in changed.text
        assert await granted(web) == ["40.00", "40.00"]


async def test_a_form_with_a_mistake_is_shown_again_with_what_was_typed(
    open_web: OpenWeb,
) -> None:
    async with open_web(pricing=FEE) as web:
        key = key_in((await web.http.get(PAGE)).text)
        typed = {"amount": "<four>", "reason": 'the "outage"', "once": key}
        path = f"{PAGE}/credits"
        wrong = await web.http.post(path, data=typed, headers=HTML)
        keyless = await web.http.post(path, data=BODY, headers=HTML)

        assert (wrong.status_code, keyless.status_code) == (400, 400)
        assert (
            '<input name="amount" value="&lt;four&gt;" aria-invalid="true"'
            ' aria-describedby="wrong" autofocus' in wrong.text
        )
        assert 'value="the &#34;outage&#34;"' in wrong.text
        assert "is no number: write digits" in wrong.text
        assert key_in(wrong.text) == key
        assert 'value="40.00"' in keyless.text
        assert "without the key" in keyless.text
        assert await granted(web) == []
        good = {**typed, "amount": "4"}
        assert (await web.http.post(path, data=good, headers=HTML)).status_code == 303


async def test_what_is_wrong_is_told_where_its_form_is_gone(web: Web) -> None:
    tabs = [form(reason="twice") for _ in range(2)]

    answers = [
        await web.http.post("/events/2/void", data=tab, headers=HTML) for tab in tabs
    ]

    assert [answer.status_code for answer in answers] == [303, 409]
    assert "form" not in answers[1].text.split("<main")[1]
    assert '<p class="note wrong" role="alert">' in answers[1].text


@pytest.mark.parametrize("path", ["/close", "/imports", "/customers/acme"])
async def test_every_form_of_a_page_has_a_key_of_its_own(web: Web, path: str) -> None:
    page: Any = (await web.http.get(path)).text
    forms = page.count('<form class="filters" method="post"')

    keys = re.findall(r'name="once" value="([^"]{22})" autocomplete="off"', page)

    assert forms
    assert len(set(keys)) == forms
