from datetime import date
from decimal import Decimal
from textwrap import dedent

import pytest

from meterline_pricing import PricingError, Problem
from meterline_pricing.toml.lines import line_index
from meterline_pricing.toml.source import (
    BOOLEAN,
    DATE,
    DECIMAL,
    TEXT,
    Kind,
    Source,
    integer,
    one_of,
)

EVERY_SHAPE = """\
top = 1 # a comment with = and [
"quoted key" . 'other' = "a # no comment"
[plain.nested]
text = \"\"\"
three
lines \\\"\"\" quote\"\"\"\"\"
raw = '''
[not.a.table] = 1
'''
after = 2
array = [ # comment ]
  1,
  [ "]", '}' ],
  { a = 1, b.c = { d = 2 } },
]
[[list]]
x = 1
[list.sub]
y = 2
[[list.inner]]
z = 3
[[list]]
x = 4
[[list.inner]]
z = 5
[list.inner.deep]
w = 2026-01-01T00:00:00Z
"""


def test_every_key_has_its_line_in_every_shape_of_toml() -> None:
    lines = line_index(EVERY_SHAPE)

    expected: dict[tuple[str | int, ...], int] = {
        ("top",): 1,
        ("quoted key",): 2,
        ("quoted key", "other"): 2,
        ("plain",): 3,
        ("plain", "nested"): 3,
        ("plain", "nested", "text"): 4,
        ("plain", "nested", "raw"): 7,
        ("plain", "nested", "after"): 10,
        ("plain", "nested", "array"): 11,
        ("plain", "nested", "array", 0): 12,
        ("plain", "nested", "array", 1): 13,
        ("plain", "nested", "array", 1, 0): 13,
        ("plain", "nested", "array", 1, 1): 13,
        ("plain", "nested", "array", 2): 14,
        ("plain", "nested", "array", 2, "a"): 14,
        ("plain", "nested", "array", 2, "b"): 14,
        ("plain", "nested", "array", 2, "b", "c"): 14,
        ("plain", "nested", "array", 2, "b", "c", "d"): 14,
        ("list",): 16,
        ("list", 0): 16,
        ("list", 0, "x"): 17,
        ("list", 0, "sub"): 18,
        ("list", 0, "sub", "y"): 19,
        ("list", 0, "inner"): 20,
        ("list", 0, "inner", 0): 20,
        ("list", 0, "inner", 0, "z"): 21,
        ("list", 1): 22,
        ("list", 1, "x"): 23,
        ("list", 1, "inner"): 24,
        ("list", 1, "inner", 0): 24,
        ("list", 1, "inner", 0, "z"): 25,
        ("list", 1, "inner", 0, "deep"): 26,
        ("list", 1, "inner", 0, "deep", "w"): 27,
    }
    assert lines == expected


def problems(text: str) -> list[str]:
    """Read a made-up file of one table and return what is wrong with it."""
    source = Source(dedent(text), file="some.toml")
    table = source.root.table("server")
    table.need("name", TEXT)
    table.take("port", integer(minimum=1, maximum=65535), 80)
    table.take("is_open", BOOLEAN, False)
    table.take("since", DATE, None)
    table.take("price", DECIMAL, Decimal(0))
    table.take("mode", one_of("mode", ("dry_run", "send")), "dry_run")
    table.items("tags", TEXT)
    table.mapping("limits", DECIMAL)
    for row in table.tables("row"):
        row.need("id", TEXT)
        row.close()
    table.close()
    source.root.close()
    try:
        source.check()
    except PricingError as error:
        return str(error).splitlines()
    return []


def test_a_right_file_has_no_problems() -> None:
    found = problems(
        """
        [server]
        name = "a"
        port = 8080
        is_open = true
        since = 2026-01-31
        price = "0.001"
        mode = "send"
        tags = ["x", "y"]
        limits.requests = 5
        row = [{ id = "1" }]
        """
    )

    assert found == []


def test_every_problem_is_told_at_once_with_line_key_and_expectation() -> None:
    found = problems(
        """\
        [server]
        port = 0
        is_open = "yes"
        since = 2026-01-31T00:00:00
        price = 0.00100
        mode = "dry-run"
        tags = ["x", 5, ""]
        limits.requests = true
        limits.bytes = "1e3"
        row = [{ id = "1", nmae = "x" }, 7]
        prot = 1

        [serevr]
        """
    )

    assert found == [
        "some.toml:1: server.name: missing: expected a text",
        "some.toml:2: server.port: expected an integer from 1 to 65535, "
        "not the integer 0",
        'some.toml:3: server.is_open: expected true or false, not the text "yes"',
        "some.toml:4: server.since: expected a date such as 2026-01-31, "
        "not the datetime 2026-01-31 00:00:00",
        'some.toml:5: server.price: a float is not exact: write "0.00100" '
        "instead of 0.00100",
        "some.toml:6: server.mode: unknown mode `dry-run`; did you mean `dry_run`?",
        "some.toml:7: server.tags[1]: expected a text, not the integer 5",
        "some.toml:7: server.tags[2]: expected a text, not an empty text",
        "some.toml:8: server.limits.requests: expected an integer of 0 or more, "
        'or a quoted decimal such as "0.001", not true',
        "some.toml:9: server.limits.bytes: expected an integer of 0 or more, "
        'or a quoted decimal such as "0.001", not the text "1e3"',
        "some.toml:10: server.row[1]: expected a table, not the integer 7",
        "some.toml:10: server.row[0].nmae: unknown key `nmae`; known are: id",
        "some.toml:11: server.prot: unknown key `prot`; did you mean `port`?",
        "some.toml:13: serevr: unknown key `serevr`; did you mean `server`?",
    ]


def test_a_table_where_an_array_is_needed_and_the_other_way_round() -> None:
    assert problems("server = [1]\n") == [
        "some.toml:1: server: expected a table, not an array",
        "some.toml:1: server.name: missing: expected a text",
    ]
    assert problems('[server]\nname = "a"\ntags = {}\nrow = 5\n') == [
        "some.toml:3: server.tags: expected an array: a text, not a table",
        "some.toml:4: server.row: expected an array of tables [[row]], "
        "not the integer 5",
    ]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a = 1\nb = = 2\n", 2),
        ("a = 1\na = 2\n", 2),
        ("a = 1\n\nb = [1,\n", 4),
        ("a = 1\nb = 2026-02-31\n", None),
    ],
)
def test_a_syntax_error_is_a_problem_with_its_line(text: str, line: int | None) -> None:
    source = Source(text, file="some.toml")

    (problem,) = source.problems
    assert problem.message.startswith("not TOML: ")
    assert line is None or problem.line == line


def test_deep_nesting_and_huge_integers_are_problems_and_no_crash() -> None:
    for text in ("a = " + "[" * 100_000, "a = " + "9" * 5000):
        source = Source(text, file="some.toml")

        assert len(source.problems) == 1


@pytest.mark.parametrize(
    ("literal", "advice"),
    [
        ("0.001", '"0.001"'),
        ("1_000.5", '"1000.5"'),
        ("1e3", '"1000"'),
        ("2.5E-7", '"0.00000025"'),
        ("inf", "a number"),
        ("nan", "a number"),
        ("1e9999", "the number in full, in quotes,"),
    ],
)
def test_a_float_is_refused_with_what_to_write_instead(
    literal: str, advice: str
) -> None:
    source = Source(f"x = {literal}", file="some.toml")
    source.root.need("x", DECIMAL)

    message = f"a float is not exact: write {advice} instead of {literal}"
    assert source.problems == [Problem(message, "x", 1, "some.toml")]


def test_a_float_where_something_else_is_expected_is_called_a_float() -> None:
    source = Source("x = 0.5", file="some.toml")
    source.root.need("x", TEXT)

    assert source.problems[0].message == "expected a text, not the float 0.5"


def test_a_kind_may_read_any_type() -> None:
    pair = Kind("a pair", lambda value: (value[0], value[1]), (0, 0))
    source = Source("x = [1, 2]\nday = 2026-01-31", file="some.toml")

    assert source.root.need("x", pair) == (1, 2)
    assert source.root.need("day", DATE) == date(2026, 1, 31)
    assert "x" in source.root
