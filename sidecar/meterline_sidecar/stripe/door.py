"""The way to Stripe, whose SDK is loaded when it is first gone.

The SDK and its HTTP client are a quarter of a start and 15 MiB, and a sidecar that tells
Stripe nothing never asks for them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from meterline_sidecar.access.secret import Secret
from meterline_sidecar.later import later
from meterline_sidecar.stripe.calls import Accounts, Method
from meterline_sidecar.stripe.meter_events import MeterEvent, Outcome

if TYPE_CHECKING:
    from meterline_sidecar.stripe.api import StripeApi

_module = later("meterline_sidecar.stripe.api", needs="stripe")


class StripeDoor:
    """``StripeApi`` from its first use on; it takes what that takes."""

    def __init__(
        self,
        key: Callable[[], Secret | None],
        *,
        api_base: str | None = None,
        meter_events_base: str | None = None,
        accounts: Accounts | None = None,
    ) -> None:
        self._key = key
        self._accounts = accounts
        self._api_base = api_base
        self._meter_events_base = meter_events_base

    @cached_property
    def api(self) -> StripeApi:
        """What is behind it, loaded now if it was not."""
        api: StripeApi = _module().StripeApi(
            self._key,
            api_base=self._api_base,
            meter_events_base=self._meter_events_base,
            accounts=self._accounts,
        )
        return api

    async def close(self) -> None:
        """Close every connection."""
        if "api" in self.__dict__:
            await self.api.close()

    @property
    def is_live(self) -> bool | None:
        """Whether the key is of live mode; ``None`` while there is no key."""
        return self.api.is_live

    @property
    def hides_owner(self) -> bool:
        """Whether the key in use does not say whose it is."""
        return "api" in self.__dict__ and self.api.hides_owner

    @property
    def clock_ahead_s(self) -> int:
        """How far this machine's clock is ahead of Stripe's; 0 before any answer."""
        return self.api.clock_ahead_s if "api" in self.__dict__ else 0

    async def send(self, event: MeterEvent) -> Outcome:
        """Send one event, once, and say what is known about it then."""
        return await self.api.send(event)

    async def stream(self, events: Sequence[MeterEvent], *, key: str) -> Outcome:
        """Send up to 100 events at once, to be checked by Stripe later."""
        return await self.api.stream(events, key=key)

    async def call(
        self,
        method: Method,
        path: str,
        params: Mapping[str, object] | None = None,
        *,
        key: str | None = None,
    ) -> dict[str, Any]:
        """Return the answer of any other address; see ``StripeCalls``."""
        return await self.api.call(method, path, params, key=key)
