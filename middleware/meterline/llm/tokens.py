"""How many tokens of which kind a provider's usage object tells, each of them once.

Providers count differently. OpenAI's input has what was read from a cache in it, and
its output what the model thought; Anthropic's has the cache beside it. Others that
speak like OpenAI leave what was thought out of the output, and only the total has it.
Here the kinds never overlap: their sum is all that was used.
"""

from typing import Final, NamedTuple

from meterline.llm.fields import field, number

IN: Final = "tokens_in"
"""Read at the full price: neither from a cache nor into one, and no audio."""
CACHED: Final = "tokens_cached"
"""Read from a cache."""
CACHE_WRITE: Final = "tokens_cache_write"
"""Read, and written into a cache: for five minutes, where there are several times."""
CACHE_WRITE_1H: Final = "tokens_cache_write_1h"
"""The same, for an hour."""
AUDIO_IN: Final = "tokens_audio_in"
OUT: Final = "tokens_out"
"""Written, without what was only thought, and no audio."""
REASONING: Final = "tokens_reasoning"
"""Thought, where the provider tells it apart from the rest."""
AUDIO_OUT: Final = "tokens_audio_out"

PIECES: Final = (
    "input_tokens",
    "output_tokens",
    "cache_read_input_tokens",
    "cache_creation_input_tokens",
    "cache_creation",
    "output_tokens_details",
)
"""Of Anthropic's usage object, what counts tokens."""
_HOUR: Final = "ephemeral_1h_input_tokens"


CONTEXTS: Final = (
    32_000,
    100_000,
    128_000,
    200_000,
    256_000,
    272_000,
    512_000,
    524_288,
)
"""Numbers of input tokens above which some model costs more, all of its tokens."""


class Tokens(NamedTuple):
    """What a usage object says."""

    n_in: int
    """All input, from wherever."""
    counts: dict[str, int]
    """By kind; none is 0."""
    is_clear: bool
    """Whether its parts fit into their total; else the total stands for them."""


def tokens_of(usage: object) -> Tokens | None:
    """Return what a usage object says; ``None``: it does not say how many."""
    if number(usage, "prompt_tokens") is not None:
        return _of_openai(usage, came="prompt", went="completion")
    if number(usage, "input_tokens") is None:
        return None
    if field(usage, "input_tokens_details", "total_tokens") is not None:
        return _of_openai(usage, came="input", went="output")
    return _of_anthropic(usage)


def context_of(n_in: int) -> str:
    """Return the highest of ``CONTEXTS`` that this input is above; empty: of none."""
    passed = [bound for bound in CONTEXTS if n_in > bound]
    return f"over_{passed[-1]}" if passed else ""


def _of_openai(usage: object, *, came: str, went: str) -> Tokens:
    """Return what stands in a usage object of Chat Completions or Responses.

    Args:
        came: how it calls the input; ``went``: how it calls the output.
    """
    n_in = number(usage, f"{came}_tokens") or 0
    n_out = number(usage, f"{went}_tokens") or 0
    of_in = field(usage, f"{came}_tokens_details", f"{came}_token_details")
    of_out = field(usage, f"{went}_tokens_details", f"{went}_token_details")
    read = number(of_in, "cached_tokens")
    if read is None:
        read = number(usage, "prompt_cache_hit_tokens", "cached_tokens") or 0
    written = number(of_in, "cache_write_tokens", "cache_creation_tokens") or 0
    hour = number(field(of_in, "cache_creation_token_details"), _HOUR) or 0
    thought = number(of_out, "reasoning_tokens") or 0
    beside = (number(usage, "total_tokens") or 0) - n_in - n_out
    if beside > 0:
        n_out += beside
        thought = max(thought, beside)
    inside = {
        CACHED: read,
        CACHE_WRITE: written - hour,
        CACHE_WRITE_1H: hour,
        AUDIO_IN: number(of_in, "audio_tokens") or 0,
    }
    written_out = {REASONING: thought, AUDIO_OUT: number(of_out, "audio_tokens") or 0}
    counts_in, is_in_clear = _shared(IN, n_in, inside)
    counts_out, is_out_clear = _shared(OUT, n_out, written_out)
    return Tokens(n_in, counts_in | counts_out, is_in_clear and is_out_clear)


def _of_anthropic(usage: object) -> Tokens:
    """Return what stands in a usage object of Messages, where the cache is beside."""
    n_in = number(usage, "input_tokens") or 0
    n_out = number(usage, "output_tokens") or 0
    read = number(usage, "cache_read_input_tokens") or 0
    by_time = field(usage, "cache_creation")
    hour = number(by_time, _HOUR) or 0
    written = number(usage, "cache_creation_input_tokens")
    if written is None:
        written = hour + (number(by_time, "ephemeral_5m_input_tokens") or 0)
    cache = {CACHE_WRITE: written - hour, CACHE_WRITE_1H: hour, CACHED: read}
    n_in += read + written
    counts, is_clear = _shared(IN, n_in, cache)
    thought = number(field(usage, "output_tokens_details"), "thinking_tokens") or 0
    counts_out, is_out_clear = _shared(OUT, n_out, {REASONING: thought})
    return Tokens(n_in, counts | counts_out, is_clear and is_out_clear)


def _shared(
    rest: str, total: int, parts: dict[str, int]
) -> tuple[dict[str, int], bool]:
    """Return a total by its parts, with what is left as ``rest``.

    Where they do not fit into it, it is all ``rest``, and the answer is no.
    """
    left = total - sum(parts.values())
    if left < 0 or min(parts.values()) < 0:
        return ({rest: total} if total else {}), False
    return {name: n for name, n in {rest: left, **parts}.items() if n}, True
