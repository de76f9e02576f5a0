"""Filters of pages: who is meant by a part of a name, with scripts and without."""

from typing import Any

import pytest

from tests.web.conftest import OpenWeb

MANY = "".join(
    f'[[customer]]\nid = "c{n:03d}"\nname = "{"Zebra" if n == 77 else "Ox"} & Co {n}"\n'
    f'subjects = ["s{n}_*"]\n'
    for n in range(120)
)
METER = '[[meter]]\nname = "calls"\naggregation = "count"\n'
HTML = {"accept": "text/html"}


@pytest.fixture
def many(open_web: OpenWeb) -> Any:
    return open_web(meterline=METER + MANY, pricing="")


async def test_a_few_customers_are_offered_by_id_or_name(many: Any) -> None:
    async with many as web:
        found = await web.get("/customers-like", q="zebra")
        ids = [
            [one["id"] for one in await web.get("/customers-like", q=text)]
            for text in ("", "c01", "nobody", " C11")
        ]

        assert found == [{"id": "c077", "name": "Zebra & Co 77"}]
        assert ids[0] == [f"c{n:03d}" for n in range(20)]
        assert ids[1] == [f"c{n:03d}" for n in range(10, 20)]
        assert ids[2] == []
        assert len(ids[3]) == 10


@pytest.mark.parametrize(
    ("path", "status", "kept"),
    [
        ("/events", 404, {"subject": "s"}),
        ("/usage", 404, {"range": "30d"}),
        ("/invoices", 200, {"period": "2026-10"}),
        ("/alerts", 200, {"is_open": "true"}),
        ("/audit", 200, {}),
    ],
)
async def test_a_filter_that_names_no_customer_leads_to_those_who_may_be_meant(
    many: Any, path: str, status: int, kept: dict[str, str]
) -> None:
    async with many as web:
        answer = await web.http.get(
            path, params={**kept, "customer": "zebra"}, headers=HTML
        )
        exact = await web.http.get(path, params={"customer": "c077"}, headers=HTML)
        none = await web.http.get(path, params={"customer": "nobody"}, headers=HTML)

    assert answer.status_code == status
    assert "Zebra &amp; Co 77</bdi></a>" in answer.text
    assert "customer=c077" in answer.text
    for name, value in kept.items():
        assert f"{name}={value}" in answer.text.split("Which one?")[1]
    assert "Which one?" not in exact.text
    assert "Which one?" not in none.text


@pytest.mark.parametrize(
    ("path", "wrong"),
    [
        ("/events", {"status": "5xy"}),
        ("/usage", {"range": "2y"}),
        ("/invoices", {"period": "october"}),
        ("/alerts", {"is_open": "maybe"}),
        ("/audit", {"after": "yesterday"}),
    ],
)
async def test_a_mistake_in_a_filter_is_told_beside_it_and_keeps_the_others(
    many: Any, path: str, wrong: dict[str, str]
) -> None:
    filters = {**wrong, "customer": "c077"}
    async with many as web:
        answer = await web.http.get(path, params=filters, headers=HTML)

    assert answer.status_code == 400
    assert 'id="wrong"' in answer.text
    assert 'value="c077"' in answer.text


async def test_behind_the_last_customer_there_is_a_way_back(many: Any) -> None:
    async with many as web:
        behind = (await web.http.get("/customers?page=9", headers=HTML)).text
        none = (await web.http.get("/customers?page=9&q=nobody", headers=HTML)).text

    assert "There are no more." in behind
    assert '<a href="/customers">The first</a>' in behind
    assert "No customer is defined" not in behind
    assert "No customer matches" in none
