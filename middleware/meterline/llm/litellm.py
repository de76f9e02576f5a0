"""A callback for LiteLLM, of its library and of its proxy.

    from meterline.llm.litellm import LiteLLMCallback

    litellm.callbacks = [LiteLLMCallback(Meter(app_name="gateway"))]

LiteLLM calls it in threads and tasks of its own, where no request can be found: what is
recorded is a use of whoever ``subject`` names. In a handler, ``meterline.llm.metered``
around what ``litellm.completion`` returns needs no callback.
"""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from meterline import Meter
from meterline.complaints import troubles
from meterline.llm.calls import UNREADABLE, Call
from meterline.llm.fields import field, text

_OF_USERS = (
    "user_api_key_end_user_id",
    "user_api_key_user_id",
    "user_api_key_team_id",
)

Said = Mapping[str, Any]


def _base() -> Any:
    """Return LiteLLM's class of callbacks, where there is one: it takes no others."""
    try:
        return import_module("litellm.integrations.custom_logger").CustomLogger
    except ImportError:
        return object


def user_of(said: Said) -> str | None:
    """Return who made a call: its ``user``, or whom the proxy knows by their key."""
    metadata = field(field(said, "litellm_params"), "metadata")
    return text(said, "user") or text(metadata, *_OF_USERS) or None


_Base: Any = _base()


class LiteLLMCallback(_Base):  # type: ignore[misc]  # it depends on what is installed
    """Records the tokens of every call that succeeds.

    Args:
        meter: where it is recorded.
        subject: says who used it, by what LiteLLM says of the call.
        keep_usage: as in ``meterline.llm.metered``.
    """

    def __init__(
        self,
        meter: Meter,
        *,
        subject: Callable[[Said], str | None] = user_of,
        keep_usage: bool = False,
    ) -> None:
        _Base.__init__(self)
        self._meter = meter
        self._subject = subject
        self._keeps_usage = keep_usage

    def log_success_event(
        self, kwargs: Said, response_obj: object, start_time: object, end_time: object
    ) -> None:
        """Record one call; LiteLLM gives a stream as the answer that it came to."""
        try:
            given: dict[str, object] = {}
            if (subject := self._subject(kwargs)) is not None:
                given["subject"] = subject
            of_call = field(kwargs, "litellm_params")
            if provider := text(of_call, "custom_llm_provider"):
                given["provider"] = provider
            call = Call(self._meter, given, keep_usage=self._keeps_usage)
            call.answer(response_obj)
            call.end()
        except Exception:  # noqa: BLE001 - edge: the app must not see our errors
            troubles.add(UNREADABLE)

    async def async_log_success_event(
        self, kwargs: Said, response_obj: object, start_time: object, end_time: object
    ) -> None:
        """Record one call, in an event loop."""
        self.log_success_event(kwargs, response_obj, start_time, end_time)
