"""Answers of language models in every form: how many tokens of which kind they tell."""

import asyncio
import gc
import json
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import meterline.llm
from meterline.complaints import troubles
from meterline.llm import calls, kept, lines
from meterline.llm.litellm import LiteLLMCallback
from meterline.llm.metered import MeteredStream
from meterline.llm.tokens import tokens_of

ANSWERS = Path(__file__).parents[2] / "llm_answers"
CHAT = {
    "tokens_in": 176,
    "tokens_cached": 1024,
    "tokens_out": 158,
    "tokens_reasoning": 192,
}
UNKNOWN = {calls.UNKNOWN: 1}


class Recorded:
    """Stands for a handle, or a meter: sums up what is recorded."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.said: list[dict[str, Any]] = []

    def record(self, name: str, quantity: Any, /, **properties: Any) -> None:
        if isinstance(quantity, calls.UnknownTokens):
            return
        self.counts[name] = self.counts.get(name, 0) + quantity
        if properties not in self.said:
            self.said.append(properties)


def metered(answer: Any, to: Recorded, **properties: Any) -> Any:
    recorder: Any = to
    return meterline.llm.metered(answer, to=recorder, **properties)


def counted(answer: Any) -> dict[str, int]:
    recorded = Recorded()
    metered(answer, recorded)
    return recorded.counts


def as_object(text: bytes) -> Any:
    return json.loads(text, object_hook=lambda found: SimpleNamespace(**found))


@pytest.mark.parametrize("name", ["chat", "responses", "embeddings", "messages"])
def test_every_form_of_an_answer_counts_the_same(name: str) -> None:
    text = (ANSWERS / f"{name}.json").read_bytes()
    said = json.loads(text)
    expected = counted(said)

    assert sum(expected.values()) == {"embeddings": 8, "messages": 1850}.get(name, 1550)
    for form in (
        as_object(text),
        text,
        text.decode(),
        bytearray(text),
        memoryview(text),
    ):
        assert counted(form) == expected


@pytest.mark.parametrize("name", ["chat", "responses", "messages"])
@pytest.mark.parametrize("size", [1, 7, 1000, 1 << 20])
def test_bytes_of_a_stream_count_however_they_are_cut(name: str, size: int) -> None:
    data = (ANSWERS / f"{name}.sse").read_bytes()
    recorded = Recorded()

    pieces = (data[i : i + size] for i in range(0, len(data), size))
    passed = b"".join(metered(pieces, recorded))

    assert passed == data
    assert recorded.counts == counted((ANSWERS / f"{name}.json").read_bytes())


@pytest.mark.parametrize("name", ["chat", "responses", "messages"])
@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_lines_and_texts_count_as_bytes_do(name: str, end: str) -> None:
    text = (ANSWERS / f"{name}.sse").read_text()
    recorded = Recorded()

    list(metered((f"{line}{end}" for line in text.splitlines()), recorded))

    assert recorded.counts == counted((ANSWERS / f"{name}.json").read_bytes())
    assert counted(text) == recorded.counts


def test_an_answer_that_comes_in_pieces_and_is_no_stream_counts() -> None:
    data = (ANSWERS / "chat.json").read_bytes()
    recorded = Recorded()

    list(metered((data[i : i + 9] for i in range(0, len(data), 9)), recorded))

    assert recorded.counts == CHAT


def test_chunks_may_be_dicts_and_come_from_any_generator() -> None:
    def stream() -> Iterator[Any]:
        for line in (ANSWERS / "messages.sse").read_text().splitlines():
            if line.startswith("data: "):
                yield json.loads(line[6:])

    async def asynchronous() -> AsyncIterator[Any]:
        for chunk in stream():
            yield chunk

    async def go_through(recorded: Recorded) -> None:
        async for _ in metered(asynchronous(), recorded):
            pass

    first, second = Recorded(), Recorded()
    list(metered(stream(), first))
    asyncio.run(go_through(second))

    assert first.counts == second.counts
    assert first.counts == counted((ANSWERS / "messages.json").read_bytes())
    assert first.said == [{"provider": "anthropic", "model": "claude-sonnet-5"}]


USAGES = [
    # What providers that speak like OpenAI send, each with what it comes to.
    ({"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}, [5, 0, 7, 0]),
    # Thought beside the output: named, or only in the total.
    (
        {
            "prompt_tokens": 32,
            "completion_tokens": 9,
            "total_tokens": 135,
            "completion_tokens_details": {"reasoning_tokens": 94},
        },
        [32, 0, 9, 94],
    ),
    ({"prompt_tokens": 8, "completion_tokens": 3, "total_tokens": 61}, [8, 0, 3, 50]),
    # The cache, as DeepSeek and Moonshot say it.
    (
        {
            "prompt_tokens": 100,
            "completion_tokens": 1,
            "prompt_cache_hit_tokens": 64,
            "prompt_cache_miss_tokens": 36,
        },
        [36, 64, 1, 0],
    ),
    ({"prompt_tokens": 9, "completion_tokens": 1, "cached_tokens": 4}, [5, 4, 1, 0]),
    (
        {
            "prompt_tokens": 9,
            "completion_tokens": 1,
            "prompt_tokens_details": None,
            "completion_tokens_details": {"reasoning_tokens": None},
        },
        [9, 0, 1, 0],
    ),
    ({"prompt_tokens": 5.0, "completion_tokens": 7.0}, [5, 0, 7, 0]),
    # Realtime, which writes it without an s.
    (
        {
            "total_tokens": 253,
            "input_tokens": 132,
            "output_tokens": 121,
            "input_token_details": {"text_tokens": 132, "cached_tokens": 64},
            "output_token_details": {"text_tokens": 121},
        },
        [68, 64, 121, 0],
    ),
    # The cache beside the input.
    (
        {"input_tokens": 3, "output_tokens": 5, "cache_read_input_tokens": 900},
        [3, 900, 5, 0],
    ),
    (
        {
            "input_tokens": 900,
            "input_tokens_details": {"cached_tokens": 800},
            "output_tokens": 5,
            "output_tokens_details": {"reasoning_tokens": 5},
            "total_tokens": 905,
        },
        [100, 800, 0, 5],
    ),
]


@pytest.mark.parametrize(("usage", "expected"), USAGES)
def test_kinds_never_overlap(usage: dict[str, Any], expected: list[int]) -> None:
    tokens = tokens_of(usage)

    assert tokens is not None
    kinds = ("tokens_in", "tokens_cached", "tokens_out", "tokens_reasoning")
    assert [tokens.counts.get(kind, 0) for kind in kinds] == expected
    assert sum(tokens.counts.values()) == sum(expected)
    assert tokens.is_clear


def test_what_is_written_into_a_cache_and_sounds_are_kinds_of_their_own() -> None:
    anthropic = tokens_of(
        {
            "input_tokens": 1,
            "output_tokens": 2,
            "cache_creation": {
                "ephemeral_5m_input_tokens": 30,
                "ephemeral_1h_input_tokens": 40,
            },
        }
    )
    openai = tokens_of(
        {
            "prompt_tokens": 100,
            "prompt_tokens_details": {"audio_tokens": 60, "cache_write_tokens": 10},
            "completion_tokens": 50,
            "completion_tokens_details": {"audio_tokens": 45},
            "total_tokens": 150,
        }
    )

    assert anthropic is not None
    assert anthropic.counts == {
        "tokens_in": 1,
        "tokens_cache_write": 30,
        "tokens_cache_write_1h": 40,
        "tokens_out": 2,
    }
    assert openai is not None
    assert openai.counts == {
        "tokens_in": 30,
        "tokens_audio_in": 60,
        "tokens_cache_write": 10,
        "tokens_out": 5,
        "tokens_audio_out": 45,
    }


@pytest.mark.parametrize(
    "answer",
    [
        None,
        {},
        {"usage": None},
        {"usage": {}},
        {"usage": {"prompt_tokens": "many"}},
        {"usage": {"prompt_tokens": -1, "completion_tokens": 1}},
        {"usage": {"prompt_tokens": True}},
        {"usage": {"prompt_tokens": 1.5}},
        {"usage": {"prompt_tokens": float("nan")}},
        {"usage": {"prompt_tokens": "5"}},
        b"not json",
        "",
        b"\xff",
        "data: [DONE]\n\n",
        17,
        object(),
        [1, 2],
        "[" * 100_000,
    ],
)
def test_an_answer_that_tells_nothing_is_a_call_of_which_nothing_is_known(
    answer: Any,
) -> None:
    assert counted(answer) == UNKNOWN


def test_parts_that_do_not_fit_into_their_total_leave_it_as_one() -> None:
    usage = {
        "prompt_tokens": 10,
        "prompt_tokens_details": {"cached_tokens": 11},
        "completion_tokens": 5,
    }

    assert counted({"usage": usage}) == {"tokens_in": 10, "tokens_out": 5, **UNKNOWN}


def test_what_turns_out_to_be_of_another_kind_is_no_more_in_sum_and_is_told() -> None:
    def usage(n_out: int, n_thought: int) -> Any:
        details = {"reasoning_tokens": n_thought}
        return {
            "object": "chat.completion.chunk",
            "usage": {
                "prompt_tokens": 3,
                "completion_tokens": n_out,
                "completion_tokens_details": details,
            },
        }

    recorded = Recorded()
    list(metered(iter([usage(10, 0), usage(20, 15)]), recorded))

    assert recorded.counts == {
        "tokens_in": 3,
        "tokens_out": 10,
        "tokens_reasoning": 10,
        **UNKNOWN,
    }


USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
COUNTED = {"tokens_in": 3, "tokens_out": 2}
LAST: list[tuple[dict[str, Any], dict[str, int]]] = [
    ({"choices": [], "usage": USAGE}, COUNTED),
    # Others tell it with the last word, or with each of them.
    ({"choices": [{"finish_reason": "stop"}], "usage": USAGE}, COUNTED),
    ({"choices": [{"finish_reason": None}], "usage": USAGE}, COUNTED | UNKNOWN),
    ({"choices": [{"finish_reason": "stop"}], "usage": None}, UNKNOWN),
    (
        {"choices": [{"finish_reason": "stop"}], "x_groq": {"usage": USAGE}},
        COUNTED,
    ),
    ({"object": "text_completion", "choices": [], "usage": USAGE}, COUNTED),
    ({"type": "transcript.text.done", "text": "x", "usage": USAGE}, COUNTED),
    (
        {
            "type": "response.done",
            "response": {"usage": {**USAGE, "input_tokens": 3, "output_tokens": 2}},
        },
        COUNTED,
    ),
    ({"type": "response.created", "response": {"usage": None}}, UNKNOWN),
    ({"type": "ping"}, UNKNOWN),
]


@pytest.mark.parametrize(("chunk", "expected"), LAST)
def test_an_app_that_stops_after_the_last_of_it_knows_it_all(
    chunk: dict[str, Any], expected: dict[str, int]
) -> None:
    recorded = Recorded()
    stream = metered(iter([chunk, {"type": "more"}]), recorded)
    next(stream)
    stream = None

    assert recorded.counts == expected


def test_an_http_response_that_is_no_stream_of_ours_is_not_silent() -> None:
    class Response:
        """As that of requests: it can be entered and gone through."""

        def __enter__(self) -> Any: ...
        def __exit__(self, *error: object) -> None: ...
        def __iter__(self) -> Iterator[bytes]:
            return iter([(ANSWERS / "chat.json").read_bytes()])

    dropped, read = Recorded(), Recorded()
    metered(Response(), dropped)
    list(metered(Response(), read))

    assert (dropped.counts, read.counts) == (UNKNOWN, CHAT)


def test_long_inputs_say_so() -> None:
    recorded = Recorded()
    for n_in in (32_000, 200_001):
        metered({"usage": {"input_tokens": n_in, "output_tokens": 1}}, recorded)

    assert [said.get("context") for said in recorded.said] == [None, "over_200000"]


def test_the_app_has_the_last_word_on_properties() -> None:
    recorded = Recorded()
    metered((ANSWERS / "chat.json").read_bytes(), recorded, model="house", tenant="eu")

    assert recorded.said == [{"provider": "openai", "model": "house", "tenant": "eu"}]


@pytest.mark.parametrize("form", ["chat", "messages"])
def test_the_usage_object_is_kept_as_it_came_where_that_is_asked_for(form: str) -> None:
    whole = json.loads((ANSWERS / f"{form}.json").read_bytes())
    streamed, once = Recorded(), Recorded()

    list(metered(iter(map(json.loads, _chunks(form))), streamed, keep_usage=True))
    metered(whole, once, keep_usage=True)

    for recorded in (streamed, once):
        texts = [said for said in recorded.said if "usage_1" in said]
        assert recorded.counts[calls.CALLS] == len(texts) == 1
        parts = [texts[0][f"usage_{i}"] for i in range(1, len(texts[0]) - 1)]
        assert json.loads("".join(parts)) == whole["usage"]
        assert max(map(len, parts)) <= 128


def test_a_usage_object_beyond_the_bound_is_counted_and_told_as_not_kept() -> None:
    recorded = Recorded()
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "more": "x" * kept.CHARS_MAX}

    metered({"usage": usage}, recorded, keep_usage=True)

    assert recorded.counts == {"tokens_in": 3, "tokens_out": 2, calls.CALLS: 1}
    (said,) = [said for said in recorded.said if "usage_1" in said]
    assert isinstance(said["usage_1"], kept.UsageTooLong)


def test_a_stream_that_is_dropped_or_fails_is_told_once() -> None:
    chunks = [json.loads(text) for text in _chunks("messages")]

    def failing() -> Iterator[Any]:
        yield chunks[0]
        raise ConnectionResetError

    dropped, failed, closed = Recorded(), Recorded(), Recorded()
    stream = metered(iter(chunks), dropped)
    next(stream)
    del stream
    gc.collect()
    with pytest.raises(ConnectionResetError):
        list(metered(failing(), failed))
    generator = metered((chunk for chunk in chunks), closed)
    next(generator)
    generator.close()
    generator.close()

    assert dropped.counts == failed.counts == closed.counts
    assert dropped.counts[calls.UNKNOWN] == 1
    assert dropped.counts["tokens_out"] == 4


def test_a_stream_is_otherwise_the_one_inside() -> None:
    stream: Any = MeteredStream(SimpleNamespace(response="r"), _call())

    assert stream.response == "r"
    assert not hasattr(stream, "nothing")


def test_a_helper_that_is_never_entered_has_asked_nothing() -> None:
    class Helper:
        def __enter__(self) -> Any:
            raise ConnectionRefusedError

        def __exit__(self, *error: object) -> None: ...

    recorded = Recorded()
    with pytest.raises(ConnectionRefusedError), metered(Helper(), recorded):
        pass

    assert recorded.counts == {}


def test_a_line_beyond_all_bounds_takes_no_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lines, "BYTES_MAX", 1000)
    last = (ANSWERS / "chat.sse").read_bytes()
    recorded = Recorded()

    list(metered(iter([b"data: ", *[b"x" * 100] * 30, b"\n", last]), recorded))
    whole = Recorded()
    list(metered(iter([b"{", *[b" " * 100] * 30]), whole))

    assert recorded.counts == CHAT
    assert whole.counts == UNKNOWN


@pytest.mark.parametrize("begin", [b"data: ", b"{"])
def test_what_came_before_is_not_searched_again_for_each_piece(begin: bytes) -> None:
    searched: list[str] = []

    def note(_frame: Any, event: str, called: Any) -> None:
        if event == "c_call" and called.__name__ in ("split", "lstrip"):
            searched.append(called.__name__)

    pieces = metered(iter([begin, *[b"x" * 100] * 200]), Recorded())
    sys.setprofile(note)
    try:
        list(pieces)
    finally:
        sys.setprofile(None)

    # Else a line of 8 MB takes 20 s in pieces of 4 KiB, while an event loop waits.
    assert len(searched) < 10, searched


def test_whatever_raises_inside_is_counted_and_not_the_apps() -> None:
    class Odd:
        @property
        def usage(self) -> Any:
            raise RuntimeError

    before = troubles.counts[calls.UNREADABLE]

    assert counted(Odd()) == UNKNOWN
    assert list(metered(iter([Odd()]), Recorded()))
    assert troubles.counts[calls.UNREADABLE] == before + 2


def test_the_callback_of_litellm_records_for_who_made_the_call() -> None:
    recorded = Recorded()
    recorder: Any = recorded
    callback = LiteLLMCallback(recorder)
    # As LiteLLM gives them: Anthropic's usage in the words of OpenAI.
    answer = {
        "model": "claude-sonnet-5",
        "object": "chat.completion",
        "usage": {
            "prompt_tokens": 1500,
            "completion_tokens": 350,
            "total_tokens": 1850,
            "prompt_tokens_details": {
                "cached_tokens": 1024,
                "cache_creation_tokens": 300,
                "cache_creation_token_details": {
                    "ephemeral_5m_input_tokens": 200,
                    "ephemeral_1h_input_tokens": 100,
                },
            },
            "cache_creation_input_tokens": 300,
            "cache_read_input_tokens": 1024,
        },
    }
    said = {
        "user": "acct_42",
        "litellm_params": {
            "custom_llm_provider": "anthropic",
            "metadata": {"user_api_key_team_id": "team_1"},
        },
    }

    callback.log_success_event(said, answer, None, None)
    asyncio.run(callback.async_log_success_event({**said, "user": None}, answer, 0, 0))

    assert recorded.counts == {
        "tokens_in": 2 * 176,
        "tokens_cached": 2 * 1024,
        "tokens_cache_write": 2 * 200,
        "tokens_cache_write_1h": 2 * 100,
        "tokens_out": 2 * 350,
    }
    anthropic = {"provider": "anthropic", "model": "claude-sonnet-5"}
    assert recorded.said == [
        {**anthropic, "subject": "acct_42"},
        {**anthropic, "subject": "team_1"},
    ]


def _call() -> calls.Call:
    return calls.Call(Recorded(), {})


def _chunks(name: str) -> list[str]:
    text = (ANSWERS / f"{name}.sse").read_text()
    return [line[6:] for line in text.splitlines() if line.startswith("data: {")]
