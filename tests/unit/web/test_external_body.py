"""A body is read at once where nothing in it is strange, and to the same as one by one."""

import json
from typing import Any, Final

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from meterline_sidecar.ingest.external import NewEvent
from meterline_sidecar.web.api import external_body
from meterline_sidecar.web.api.external_body import (
    Read,
    read_at_once,
    read_events,
    read_one_by_one,
)
from meterline_sidecar.web.api.external_forms import Form, Sending, Unreadable
from meterline_sidecar.web.api.external_shapes import CloudEvent, PlainEvent
from tests.producer import NOON_MS
from tests.unit.web.test_external_forms import prepare
from tests.web.external import cloud, plain

PLAIN: Final = Form(PlainEvent, is_batch=None)
CLOUD: Final = Form(CloudEvent, is_batch=False)
BATCH: Final = Form(CloudEvent, is_batch=True)


def sending(form: Form) -> Sending:
    return Sending(form, NOON_MS, "jobs", prepare)


def one_by_one(body: bytes, form: Form) -> tuple[Read, bool] | None:
    try:
        return read_one_by_one(body, sending(form))
    except Unreadable:
        return None


# --- JSON as others may write it: seldom strange in any one place, as there are many


def seldom(
    strange: st.SearchStrategy[str], usual: st.SearchStrategy[str]
) -> st.SearchStrategy[str]:
    return st.integers(0, 39).flatmap(lambda n: strange if n == 7 else usual)


def either(*texts: str) -> st.SearchStrategy[str]:
    return st.sampled_from(texts)


def escaped(text: str) -> str:
    return '"' + "".join(f"\\u{ord(c) % 0x10000:04x}" for c in text) + '"'


def quoted(texts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Write texts as JSON, now and then by the numbers of their characters."""
    return seldom(
        texts.map(escaped), texts.map(lambda text: json.dumps(text, ensure_ascii=False))
    )


spaces = seldom(either(" ", "\n\t", "\f"), st.just(""))
characters = st.sampled_from([*'ab:"\\<é-_. \n', "\U0001f600", "\ud800", "\x00"])
words = quoted(st.text(st.sampled_from("ab:é-"), min_size=1, max_size=3))
wild = st.one_of(
    quoted(st.text(characters, max_size=3)),
    st.text(characters, max_size=3).map(lambda text: f'"{text}"'),
    either(
        "null", "true", "-1", "1.5", "01", "NaN", "1e400", "{}", "[]", '"x', "9" * 30
    ),
)


@st.composite
def members(
    draw: st.DrawFn, pairs: dict[str, st.SearchStrategy[str]], *always: str
) -> str:
    """Write an object with some of these members, now and then one of them twice."""
    some = st.lists(st.sampled_from(list(pairs)), max_size=4, unique=True)
    names = [*dict.fromkeys([*always, *draw(some)])]
    if draw(st.integers(0, 9)) == 7:
        names.append(draw(st.sampled_from(list(pairs))))
    written = [
        f"{draw(quoted(st.just(name)))}{draw(spaces)}:{draw(spaces)}"
        f"{draw(seldom(wild, pairs[name]))}"
        for name in names
    ]
    return "{" + ",".join(written) + draw(spaces) + "}"


numbers = either("0", "5", "7", '"1.50"', "-0", "5.0", "5e2", '"5\\n"')
small = either("1", "200", "204", "0")
times = either("5", '"2026-11-22T08:00:00Z"', '"2026-11-31T08:00:00Z"')
DATA: Final = {
    "quantities": members(dict.fromkeys(("tokens", "a.b", "x:y", "é"), numbers)),
    "properties": members(
        dict.fromkeys(("model", "a_b", "subject"), either('"x"', '":"', "7", "false"))
    ),
    "kind": either('"request"', '"websocket"', '"use"'),
    "method": words,
    "route": words,
    "status": small,
    "duration_us": small,
}
ENVELOPE: Final = {
    "id": words,
    "source": st.just('"jobs"'),
    "time": times,
    "subject": words,
}
plain_events = members({**DATA, **ENVELOPE}, "id")
cloud_events = members(
    {
        **ENVELOPE,
        "specversion": st.just('"1.0"'),
        "type": words,
        "datacontenttype": either('"application/json"', '"text/xml"'),
        "data": members(DATA),
        "data_base64": words,
        "traceparent": words,
    },
    *("specversion", "id", "source", "type"),
)


@st.composite
def bodies(draw: st.DrawFn, events: st.SearchStrategy[str]) -> bytes:
    found = draw(st.lists(events, min_size=1, max_size=3))
    is_alone = len(found) == 1 and draw(st.booleans())
    text = found[0] if is_alone else "[" + ",".join(found) + "]"
    start = draw(seldom(either("\ufeff", " "), st.just("")))
    end = draw(seldom(either(",", "]", " ", "\x00"), st.just("")))
    return f"{start}{text}{end}".encode(errors="surrogatepass")


@given(bodies(plain_events))
@example(b'[{"id":"a","id":"b"}]')
@example(b'[{"id" :"a","id":"b"}]')
@example(b'[{"id":"\\u003a","subject":"a","subject":"b"}]')
@example(b'[{"id":"\\u003A","subject":"a","subject":"b"}]')
@example(b'[{"id":"a","quantities":{"t":1,"t":2}}]')
@example(b'[{"id":"a","properties":{"t":"x:y","t":"z"}}]')
def test_plain_events_read_at_once_are_those_read_one_by_one(body: bytes) -> None:
    assert read_at_once(body, sending(PLAIN)) in (None, one_by_one(body, PLAIN))


@pytest.mark.parametrize("form", [CLOUD, BATCH])
@given(body=bodies(cloud_events))
def test_cloudevents_read_at_once_are_those_read_one_by_one(
    body: bytes, form: Form
) -> None:
    assert read_at_once(body, sending(form)) in (None, one_by_one(body, form))


FULL: Final[dict[str, Any]] = {
    "quantities": {"tokens": 5, "a.b": "1.50"},
    "properties": {"model": "a:b", "n": 7, "is_new": True},
    "method": "GET",
    "route": "/v1/{name}",
    "status": 204,
    "duration_us": 1,
}


@pytest.mark.parametrize(
    ("content", "form"),
    [
        ([plain(1), plain(2, **FULL, kind="request")], PLAIN),
        (plain(), PLAIN),
        ([plain(subject='"é" \\ \U0001f600')], PLAIN),
        ([], PLAIN),
        (cloud(), CLOUD),
        (cloud(data={}), CLOUD),
        ([cloud(1), cloud(2, data=FULL, datacontenttype="application/json")], BATCH),
        ([], BATCH),
    ],
)
def test_a_body_in_which_nothing_is_strange_is_read_at_once(
    content: Any, form: Form
) -> None:
    body = json.dumps(content, indent=1).encode()
    read = read_at_once(body, sending(form))

    assert read == one_by_one(body, form)
    assert read is not None
    assert read[1] == isinstance(content, dict)
    assert all(isinstance(event, NewEvent) for event in read[0])


def test_a_body_is_read_in_either_way() -> None:
    good, twice = b'{"id":"a","source":"jobs"}', b'{"id":"a","id":"b"}'

    assert read_events(good, sending(PLAIN)) == one_by_one(good, PLAIN)
    assert read_events(twice, sending(PLAIN)) == one_by_one(twice, PLAIN)


def test_a_batch_is_not_read_at_once_where_it_is_too_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(external_body, "BATCH_EVENTS_MAX", 2)
    two, three = (json.dumps([plain(i) for i in range(n)]).encode() for n in (2, 3))

    assert read_at_once(two, sending(PLAIN)) is not None
    assert read_at_once(three, sending(PLAIN)) is None
    with pytest.raises(Unreadable, match="at most 2 events"):
        read_events(three, sending(PLAIN))
