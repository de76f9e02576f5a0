"""One call of a language model: what is recorded of it, and what of it is not known."""

from collections.abc import Mapping
from typing import Any, Final, Protocol

from meterline import Handle
from meterline.complaints import troubles
from meterline.llm.fields import field, text
from meterline.llm.kept import as_dict, kept
from meterline.llm.tokens import OUT, PIECES, context_of, tokens_of

CALLS: Final = "llm_calls"
"""The quantity that counts calls whose usage object is kept, by what that says."""
UNKNOWN: Final = "llm_calls_unknown"
"""The quantity that counts calls of which not all tokens are known."""
UNREADABLE: Final = "could not read what a language model answered"

_LAST_OF_RESPONSES: Final = frozenset(
    {"response.completed", "response.incomplete", "response.failed", "response.done"}
)


class UnknownTokens:
    """Recorded in place of a number that no provider has told.

    It is no quantity, and so it is left out, flagged and counted like any other that
    cannot be taken; its name is what the complaint says.
    """


class Recorder(Protocol):
    """Whatever records: a handle, or a meter."""

    @property
    def record(self) -> Any:
        """What takes a name, a quantity and properties."""
        ...


class Call:
    """One call, from the first that is known of it to its end.

    Nothing here raises: an app must not fail because of what is only counted.

    Args:
        to: where it is recorded.
        given: what the app says of it; that goes over what the answer says.
        keep_usage: record the provider's usage object, too.
    """

    def __init__(
        self, to: Recorder, given: Mapping[str, object], *, keep_usage: bool = False
    ) -> None:
        self._to = to
        self._keeps_usage = keep_usage
        self._usage: Mapping[str, object] = {}
        """The last usage object, where it is kept."""
        self._given = given
        self._said: dict[str, str] = {}
        """The properties that the answer tells."""
        self._pieces: dict[str, object] = {}
        """Anthropic's usage, which comes piece by piece; a later one goes over it."""
        self._recorded: dict[str, int] = {}
        self._is_right = True
        """Whether what was recorded is what the provider has told."""
        self._is_complete = False
        """Whether the last that is to come of its usage has come."""
        self._is_over = False

    def answer(self, thing: object) -> None:
        """Record a whole answer."""
        try:
            is_message = text(thing, "type") == "message"
            self._name(thing, "anthropic" if is_message else "openai")
            self._count(field(thing, "usage"))
        except Exception:  # noqa: BLE001 - edge: whatever it is, the app gets it
            troubles.add(UNREADABLE)

    def chunk(self, thing: object) -> None:
        """Record what one part of a stream tells."""
        try:
            self._chunk(thing)
        except Exception:  # noqa: BLE001 - edge: whatever it is, the app gets it
            troubles.add(UNREADABLE)

    def end(self, *, is_exhausted: bool = True) -> None:
        """Record, once, that nothing more is coming.

        Args:
            is_exhausted: the stream came to its own end: what it told last is all.
        """
        if self._is_over:
            return
        self._is_over = True
        try:
            if is_exhausted and self._recorded and not self._pieces:
                self._is_complete = True
            if not (self._is_complete and self._is_right):
                self._record(UNKNOWN, 1)
                self._record(OUT, UnknownTokens())
            if self._usage:
                self._record_apart(kept(self._usage))
        except Exception:  # noqa: BLE001 - edge: the app must not see our errors
            troubles.add(UNREADABLE)

    def _chunk(self, thing: object) -> None:
        kind = text(thing, "type")
        if kind == "message_start":
            message = field(thing, "message")
            self._name(message, "anthropic")
            self._add_piece(field(message, "usage"))
            self._is_complete = False
        elif kind == "message_delta":
            self._add_piece(field(thing, "usage"))
            self._is_complete = bool(text(field(thing, "delta"), "stop_reason"))
        elif kind.startswith("response."):
            answer = field(thing, "response")
            self._name(answer, "openai")
            self._count(field(answer, "usage"))
            self._is_complete &= kind in _LAST_OF_RESPONSES
        else:
            # The helpers of OpenAI's library wrap each.
            self._chunk_of_chat(field(thing, "chunk") if kind == "chunk" else thing)

    def _chunk_of_chat(self, chunk: object) -> None:
        choices: Any = field(chunk, "choices")
        usage = field(chunk, "usage")
        if usage is None:
            usage = field(field(chunk, "x_groq"), "usage")
        if choices is None and usage is None:
            return
        self._name(chunk, "openai")
        self._count(usage)
        # Some tell it with each chunk. It is all once there are no more words.
        self._is_complete &= all(text(one, "finish_reason") for one in choices or ())

    def _name(self, thing: object, provider: str) -> None:
        self._said["provider"] = provider
        if model := text(thing, "model"):
            self._said["model"] = model

    def _add_piece(self, usage: object) -> None:
        told = {name: field(usage, name) for name in PIECES}
        self._pieces |= {name: n for name, n in told.items() if n is not None}
        before = self._usage
        self._keep(usage)
        self._usage = {**before, **self._usage}
        self._count_up(self._pieces)

    def _keep(self, usage: object) -> None:
        if self._keeps_usage:
            self._usage = as_dict(usage)

    def _count(self, usage: object) -> None:
        if usage is not None:
            self._keep(usage)
            self._count_up(usage)

    def _count_up(self, usage: object) -> None:
        """Record by how much what a usage object tells has grown."""
        tokens = tokens_of(usage)
        self._is_complete = self._is_right = tokens is not None and tokens.is_clear
        if tokens is None:
            return
        if context := context_of(tokens.n_in):
            self._said["context"] = context
        grown = {
            name: tokens.counts.get(name, 0) - self._recorded.get(name, 0)
            for name in {**self._recorded, **tokens.counts}
        }
        # What is recorded cannot be taken back. Where a provider says later that it
        # was of another kind, the sum stays right, and the call is told as unknown.
        too_many = -sum(n for n in grown.values() if n < 0)
        if too_many:
            self._is_right = False
        for name, n in grown.items():
            if n > 0:
                n_of_others = min(n, too_many)
                too_many -= n_of_others
                self._add(name, n - n_of_others)

    def _add(self, name: str, n_tokens: int) -> None:
        if n_tokens:
            self._recorded[name] = self._recorded.get(name, 0) + n_tokens
            self._record(name, n_tokens)

    def _record(self, name: str, quantity: object) -> None:
        self._to.record(name, quantity, **{**self._said, **self._given})

    def _record_apart(self, usage: Mapping[str, object]) -> None:
        """Record the call as an event of its own, where there is room for its usage."""
        # That goes last: where properties are too many, it is its end that is left out.
        told = {**self._said, **self._given, **usage}
        if isinstance(self._to, Handle):
            self._to.add(CALLS, 1, told, is_apart=True)
        else:
            self._to.record(CALLS, 1, **told)
