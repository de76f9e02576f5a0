"""What may be left out, and what cannot be meant."""

from http import HTTPMethod, HTTPStatus

import pytest

from meterline import NOISE, MeterMiddleware
from meterline.asgi_types import Receive, Scope, Send
from meterline.exclude import Exclusion, exclusion


async def _app(scope: Scope, receive: Receive, send: Send) -> None:
    """Never called."""


@pytest.mark.parametrize(
    ("entry", "covered", "other"),
    [
        ("/healthz", "/healthz", "/healthz/"),
        ("/healthz", "/healthz", "/healthz2"),
        ("/internal/*", "/internal/a/b", "/internal"),
        ("/internal*", "/internal", "/interna"),
        ("/", "/", "/a"),
        ("/a%20b", "/a%20b", "/a b"),
    ],
)
def test_a_path_is_left_out_exactly_or_from_its_beginning(
    entry: str, covered: str, other: str
) -> None:
    left_out = Exclusion([entry])

    assert left_out.covers(covered, "GET")
    assert not left_out.covers(other, "GET")


def test_methods_and_statuses_are_left_out_whatever_their_class() -> None:
    left_out = Exclusion(
        [HTTPMethod.OPTIONS, HTTPStatus.NOT_FOUND, 304, "5xx", "400-402"]
    )

    assert left_out.covers("/", "OPTIONS")
    assert not left_out.covers("/", "GET")
    answers = [status for status in range(600) if left_out.covers_answer("/", status)]
    assert answers == [304, 400, 401, 402, 404, *range(500, 600)]


@pytest.mark.parametrize(
    ("entry", "covered", "other"),
    [
        ("/items/{id}", "/items/{id}", "/items/{id}/parts"),
        ("/items/{id:int}", "/items/{id}", "/items"),  # as Starlette records it
        ("/items/{id:int}", "/items/{id:int}", "/items"),  # as Litestar does
        ("/t/{tenant}/admin/*", "/t/{tenant}/admin/x", "/t/{tenant}"),
        ("/u/<int:pk>/", "/u/<int:pk>/", "/u/"),
        ("unmatched", None, "/unmatched"),
    ],
)
def test_a_route_is_left_out_by_its_template(
    entry: str, covered: str | None, other: str
) -> None:
    left_out = Exclusion([entry])

    assert left_out.covers_answer(covered, 200)
    assert not left_out.covers_answer(other, 200)
    assert not left_out.covers("/items/7", "GET")


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        ("healthz", "it must be a path"),
        ("", "it must be a path"),
        ("OPTION", "it must be a path"),
        ("options", 'methods are in capitals: "OPTIONS"'),
        ("6xx", "it must be a path"),
        ("500-400", "it must be a path"),
        (99, "it must be a path"),
        (600, "it must be a path"),
        (True, "it must be a path"),
        (None, "it must be a path"),
        (b"/healthz", "it must be a path"),
        (("/a", "/b"), "it must be a path"),
        ("/a/*/b", "`*` stands only at the end"),
        ("/**", "`*` stands only at the end"),
        ("/*", "use disabled=True"),
        ("/a?x=1", "a path has no query"),
        ("/items/{id", "a brace is not closed"),
    ],
)
def test_an_entry_that_cannot_be_meant_is_named(entry: object, why: str) -> None:
    with pytest.raises(ValueError, match="cannot be meant") as refused:
        MeterMiddleware(_app, exclude=["/healthz", entry])  # type: ignore[list-item]  # as by mistake

    assert f"exclude: {entry!r} cannot be meant" in str(refused.value)
    assert why in str(refused.value)


@pytest.mark.parametrize("given", ["/healthz", b"/docs", 404, object()])
def test_one_text_is_no_list_of_entries(given: object) -> None:
    with pytest.raises(ValueError, match="exclude must be a list of entries"):
        exclusion(given)


def test_there_is_a_bound_of_entries() -> None:
    assert exclusion([f"/{i}" for i in range(1000)]) is not None
    with pytest.raises(ValueError, match="exclude has 1001 entries; at most 1000"):
        exclusion([f"/{i}" for i in range(1001)])


def test_the_variable_says_the_same_and_the_argument_is_stronger(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("METERLINE_EXCLUDE", " NOISE, /internal/*\n404 ")
    left_out = exclusion(None)

    assert left_out is not None
    assert all(left_out.covers(path, "GET") for path in NOISE if path[0] == "/")
    assert left_out.covers("/", "OPTIONS")
    assert left_out.covers("/internal/x", "GET")
    assert left_out.covers_answer(None, 404)
    assert not left_out.covers("/v1/items", "GET")
    assert exclusion([]) is None
    monkeypatch.setenv("METERLINE_EXCLUDE", "/a, nonsense")
    with pytest.raises(ValueError, match="'nonsense' cannot be meant"):
        exclusion(None)
    monkeypatch.setenv("METERLINE_EXCLUDE", "")
    assert exclusion(None) is None
