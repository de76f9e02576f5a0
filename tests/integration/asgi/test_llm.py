"""Answers of language models, by the real clients, in requests that are metered."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

import meterline.llm
from meterline import Meter, MeterMiddleware
from meterline.events import Flag, Kind
from meterline.usage_event import UsageEvent
from tests.asgi_driver import call
from tests.fake_sidecar import FakeSidecar
from tests.integration.asgi.conftest import Metered
from tests.llm_server import ANSWERS, PRIVATE, Provider, provider
from tests.patience import PATIENCE_S

if TYPE_CHECKING:
    # Fixtures import them: five seconds, for the one worker that runs these tests.
    import anthropic
    import openai

GPT = {"provider": "openai", "model": "gpt-5-mini-2025-08-07"}
CLAUDE = {"provider": "anthropic", "model": "claude-sonnet-5"}
ASK: Any = [{"role": "user", "content": f"{PRIVATE} question"}]
CHAT = {"tokens_in": 176, "tokens_cached": 1024, "tokens_out": 158}
CHAT_WHOLE = {**CHAT, "tokens_reasoning": 192}
MESSAGE = {
    "tokens_in": 176,
    "tokens_cached": 1024,
    "tokens_cache_write": 200,
    "tokens_cache_write_1h": 100,
    "tokens_out": 158,
    "tokens_reasoning": 192,
}
RESPONSE = {**CHAT_WHOLE, "tokens_in": 48, "tokens_cache_write": 128}


@pytest.fixture(scope="module")
def server() -> Iterator[Provider]:
    with provider() as running:
        yield running


@pytest.fixture
def gpt(server: Provider) -> "openai.OpenAI":
    import openai

    return openai.OpenAI(base_url=f"{server.url}/v1", api_key="x", max_retries=0)


@pytest.fixture
async def async_gpt(server: Provider) -> AsyncIterator["openai.AsyncOpenAI"]:
    import openai

    url = f"{server.url}/v1"
    async with openai.AsyncOpenAI(base_url=url, api_key="x", max_retries=0) as client:
        yield client


@pytest.fixture
def claude(server: Provider) -> "anthropic.Anthropic":
    import anthropic

    return anthropic.Anthropic(base_url=server.url, api_key="x", max_retries=0)


@pytest.fixture
async def async_claude(server: Provider) -> AsyncIterator["anthropic.AsyncAnthropic"]:
    import anthropic

    url = server.url
    async with anthropic.AsyncAnthropic(
        base_url=url, api_key="x", max_retries=0
    ) as client:
        yield client


Work = Callable[[], Awaitable[object]]
Serve = Callable[[Work], Awaitable[UsageEvent]]
ServeAll = Callable[[Work, int], Awaitable[list[UsageEvent]]]


@pytest.fixture
def serve_all(sidecar: FakeSidecar, metered: Metered) -> ServeAll:
    async def served(work: Work, n_events: int) -> list[UsageEvent]:
        async def endpoint(request: Request) -> Response:
            await work()
            return Response()

        await call(metered(Starlette(routes=[Route("/it", endpoint)])), "/it")
        return sidecar.wait_for_events(n_events)

    return served


@pytest.fixture
def serve(serve_all: ServeAll) -> Serve:
    async def served(work: Work) -> UsageEvent:
        (event,) = await serve_all(work, 1)
        return event

    return served


def by_property(event: UsageEvent) -> dict[str, dict[str, str]]:
    return {part.quantity: part.properties for part in event.parts or []}


def assert_is(event: UsageEvent, counts: dict[str, int], said: dict[str, str]) -> None:
    assert event.quantities == counts
    assert by_property(event) == dict.fromkeys(counts, said)
    assert event.flags == 0


async def test_whole_answers_of_both_clients_count_and_come_back(
    serve: Serve, async_gpt: "openai.AsyncOpenAI"
) -> None:
    async def work() -> None:
        answer = await async_gpt.chat.completions.create(model="chat", messages=ASK)
        assert meterline.llm.metered(answer) is answer

    assert_is(await serve(work), CHAT_WHOLE, GPT)


async def test_what_can_be_awaited_counts_when_it_is(
    serve: Serve, async_claude: "anthropic.AsyncAnthropic"
) -> None:
    async def work() -> None:
        asked = async_claude.messages.create(model="m", max_tokens=9, messages=ASK)
        message = await meterline.llm.metered(asked)
        assert message.usage.output_tokens == 350

    assert_is(await serve(work), MESSAGE, CLAUDE)


async def test_responses_and_embeddings_count(
    serve: Serve, gpt: "openai.OpenAI"
) -> None:
    async def work() -> None:
        meterline.llm.metered(gpt.responses.create(model="m", input="x"), tenant="eu")
        meterline.llm.metered(
            gpt.embeddings.create(model="m", input="x"), provider="azure"
        )

    event = await serve(work)

    assert event.quantities == {**RESPONSE, "tokens_in": 48 + 8}
    parts = {
        (part.quantity, part.properties["model"]): part for part in event.parts or []
    }
    assert parts["tokens_in", "gpt-5-mini-2025-08-07"].amount == 48
    assert parts["tokens_out", "gpt-5-mini-2025-08-07"].properties == GPT | {
        "tenant": "eu"
    }
    embedded = parts["tokens_in", "text-embedding-3-small"]
    assert (embedded.amount, embedded.properties["provider"]) == (8, "azure")


async def test_streams_of_chat_count_by_their_last_chunk(
    serve: Serve, async_gpt: "openai.AsyncOpenAI"
) -> None:
    async def work() -> None:
        stream = await async_gpt.chat.completions.create(
            model="chat",
            messages=ASK,
            stream=True,
            stream_options={"include_usage": True},
        )
        texts = [
            chunk.choices[0].delta.content
            async for chunk in meterline.llm.metered(stream)
            if chunk.choices
        ]
        assert texts[1:3] == [PRIVATE, "-ANSWER"]

    assert_is(await serve(work), CHAT_WHOLE, GPT)


async def test_sums_that_grow_and_what_was_thought_beside_count_once(
    serve: Serve, gpt: "openai.OpenAI"
) -> None:
    async def work() -> None:
        for _ in meterline.llm.metered(
            gpt.chat.completions.create(
                model="chat_growing", messages=ASK, stream=True
            ),
            provider="x-ai",
        ):
            pass

    counts = {"tokens_in": 32, "tokens_out": 9, "tokens_reasoning": 94}
    assert_is(await serve(work), counts, {**GPT, "provider": "x-ai"})


async def test_streams_of_responses_and_messages_count(
    serve: Serve, gpt: "openai.OpenAI", claude: "anthropic.Anthropic"
) -> None:
    async def work() -> None:
        with meterline.llm.metered(
            gpt.responses.create(model="m", input="x", stream=True)
        ) as events:
            assert [event.type for event in events][-1] == "response.completed"
        messages = claude.messages.create(
            model="m", max_tokens=9, messages=ASK, stream=True
        )
        assert [event.type for event in meterline.llm.metered(messages)][-1] == (
            "message_stop"
        )

    event = await serve(work)

    assert event.quantities == {
        name: RESPONSE.get(name, 0) + MESSAGE[name] for name in MESSAGE
    }
    assert event.flags == 0


async def test_the_helpers_of_both_clients_count(
    serve: Serve,
    gpt: "openai.OpenAI",
    async_claude: "anthropic.AsyncAnthropic",
) -> None:
    async def work() -> None:
        helper = async_claude.messages.stream(model="m", max_tokens=9, messages=ASK)
        async with meterline.llm.metered(helper) as stream:
            assert [text async for text in stream.text_stream] == [PRIVATE, "-ANSWER"]
        with meterline.llm.metered(
            gpt.responses.stream(model="gpt-5-mini", input="x")
        ) as events:
            assert events.get_final_response().usage
        with meterline.llm.metered(
            gpt.chat.completions.stream(
                model="chat", messages=ASK, stream_options={"include_usage": True}
            )
        ) as chunks:
            assert "chunk" in {chunk.type for chunk in chunks}

    event = await serve(work)

    assert event.quantities == {
        name: RESPONSE.get(name, 0) + MESSAGE[name] + CHAT_WHOLE.get(name, 0)
        for name in MESSAGE
    }
    assert event.flags == 0


def usage_of(event: UsageEvent) -> Any:
    """Return the usage object that an event of its own keeps."""
    said = event.properties or {}
    n_texts = sum(name.startswith("usage_") for name in said)
    return json.loads("".join(said[f"usage_{i}"] for i in range(1, n_texts + 1)))


async def test_the_usage_object_of_both_clients_is_kept_as_it_came(
    serve_all: ServeAll, gpt: "openai.OpenAI", claude: "anthropic.Anthropic"
) -> None:
    async def work() -> None:
        responses = gpt.responses.create(model="m", input="x", stream=True)
        list(meterline.llm.metered(responses, keep_usage=True))
        message = claude.messages.create(model="m", max_tokens=9, messages=ASK)
        meterline.llm.metered(message, keep_usage=True)

    *calls, request = await serve_all(work, 3)

    assert [usage_of(event) for event in calls] == [
        json.loads((ANSWERS / f"{name}.json").read_text())["usage"]
        for name in ("responses", "messages")
    ]
    assert {(e.quantities or {}).get("llm_calls") for e in calls} == {1}
    assert {(e.kind, e.route, e.status) for e in calls} == {(Kind.USE, "/it", 200)}
    assert {e.flags for e in calls} == {Flag.OF_REQUEST}
    assert request.flags == 0
    assert "llm_calls" not in (request.quantities or {})


async def test_the_usage_of_each_of_many_calls_is_kept_whole(
    serve_all: ServeAll,
) -> None:
    """Each is an event of its own, with room of its own, beside the app's properties."""
    usages = [
        {"prompt_tokens": i, "completion_tokens": 2, "more": "é" * 1_400}
        for i in range(1, 21)
    ]

    async def work() -> None:
        meterline.set_property("tenant", "eu")
        for usage in usages:
            answer = {"model": "m", "usage": usage}
            meterline.llm.metered(answer, keep_usage=True)

    *calls, request = await serve_all(work, len(usages) + 1)

    assert [usage_of(event) for event in calls] == usages
    assert {e.flags for e in calls} == {Flag.OF_REQUEST}
    assert {(e.properties or {})["tenant"] for e in calls} == {"eu"}
    assert request.flags == 0


async def test_a_usage_object_that_is_not_kept_whole_is_flagged(
    serve_all: ServeAll,
) -> None:
    def usage(n_chars: int) -> dict[str, object]:
        return {
            "usage": {"prompt_tokens": 3, "completion_tokens": 2, "x": "x" * n_chars}
        }

    async def work() -> None:
        meterline.llm.metered(usage(1_500), keep_usage=True)
        for i in range(6):
            meterline.set_property(f"own_{i}", "eu")
        meterline.llm.metered(usage(1_300), keep_usage=True, tenant="eu")

    long, crowded, request = await serve_all(work, 3)

    flagged = Flag.OF_REQUEST | Flag.BAD_PROPERTY
    assert (long.flags, crowded.flags, request.flags) == (flagged, flagged, 0)
    said = crowded.properties or {}
    assert (said["tenant"], len(said)) == ("eu", 16)
    assert "usage_1" in said
    assert "usage_1" not in str(long.properties)
    assert request.quantities == {"tokens_in": 6, "tokens_out": 4}


async def test_a_stream_without_usage_is_a_call_of_which_nothing_is_known(
    serve: Serve, async_gpt: "openai.AsyncOpenAI"
) -> None:
    async def work() -> None:
        asked = async_gpt.chat.completions.create(
            model="chat_without_usage", messages=ASK, stream=True
        )
        async for _ in await meterline.llm.metered(asked):
            pass

    event = await serve(work)

    assert event.quantities == {"llm_calls_unknown": 1}
    assert by_property(event) == {"llm_calls_unknown": GPT}
    assert event.flags == Flag.BAD_QUANTITY


async def test_a_client_that_leaves_pays_what_is_known_and_the_rest_is_counted(
    async_claude: "anthropic.AsyncAnthropic",
    server: Provider,
    sidecar: FakeSidecar,
    metered: Metered,
) -> None:
    server.go_on.clear()

    async def endpoint(request: Request) -> Response:
        stream = meterline.llm.metered(
            await async_claude.messages.create(
                model="slow:messages", max_tokens=9, messages=ASK, stream=True
            )
        )

        async def answer() -> AsyncIterator[str]:
            async for event in stream:
                if event.type == "content_block_delta":
                    yield f"{event.type}\n"

        return StreamingResponse(answer())

    app = metered(Starlette(routes=[Route("/it", endpoint)]))
    await leave_after(app, n_parts=2)
    server.go_on.set()
    app.meter.flush(timeout_s=PATIENCE_S)

    events = sidecar.events
    total: dict[str, int] = {}
    for event in events:
        for name, n in (event.quantities or {}).items():
            total[name] = total.get(name, 0) + int(n)
    assert total == {
        **{name: n for name, n in MESSAGE.items() if n != 192},
        "tokens_out": 4,
        "llm_calls_unknown": 1,
    }
    assert any(event.flags & Flag.BAD_QUANTITY for event in events)


async def leave_after(app: MeterMiddleware, *, n_parts: int) -> None:
    """Ask, and hang up after so many parts of the body."""
    left = asyncio.Event()
    n_seen = 0
    body = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive() -> Any:
        if body:
            return body.pop()
        await left.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        nonlocal n_seen
        if message["type"] == "http.response.body" and message["body"]:
            n_seen += 1
            if n_seen == n_parts:
                left.set()

    scope: dict[str, Any] = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "GET",
        "path": "/it",
        "raw_path": b"/it",
        "root_path": "",
        "query_string": b"",
        "scheme": "http",
        "headers": [],
        "server": ("x", 80),
        "client": ("y", 1),
    }
    await app(scope, receive, send)


async def test_outside_of_requests_a_meter_takes_them_for_a_subject(
    gpt: "openai.OpenAI", sidecar: FakeSidecar, metered: Metered
) -> None:
    with Meter(socket=sidecar.path, spool_dir=sidecar.path.parent / "spool") as meter:
        answer = gpt.chat.completions.create(model="chat", messages=ASK)
        meterline.llm.metered(answer, to=meter, subject="acct_42")

    events = sidecar.wait_for_events(len(CHAT_WHOLE))
    assert {event.subject for event in events} == {"acct_42"}
    assert {event.kind for event in events} == {Kind.USE}
    assert [event.properties for event in events] == [GPT] * len(CHAT_WHOLE)
    counted = {
        name: n for event in events for name, n in (event.quantities or {}).items()
    }
    assert counted == CHAT_WHOLE
