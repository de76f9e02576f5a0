"""Any call of Stripe's API but that of sending usage, and reading a whole list."""

from collections.abc import Mapping
from typing import Any, Final, Literal, Protocol, cast
from urllib.parse import quote

from meterline_sidecar.errors import RetryLater

PAGE: Final = 100
Method = Literal["get", "post", "delete"]


class StripeCalls(Protocol):
    """The way to Stripe of whoever reads there or provisions."""

    async def call(
        self,
        method: Method,
        path: str,
        params: Mapping[str, object] | None = None,
        *,
        key: str | None = None,
    ) -> dict[str, Any]:
        """Return the answer of an address; ``key`` is the Idempotency-Key of a POST.

        Raises:
            StripeRefused: Stripe said no.
            RetryLater: it may say yes later.
        """
        ...


class Accounts(Protocol):
    """Says which account a key may be of."""

    async def refusal(
        self, *, is_live: bool, account: str | None, is_telling: bool
    ) -> str | None:
        """Return why a key is not to be used; ``None``: it may be.

        Args:
            account: whose the key is; ``None``: that is not known.
            is_telling: whether something is to be told, and not only read.
        """
        ...


async def read_all(
    stripe: StripeCalls, path: str, params: Mapping[str, object] | None = None
) -> list[dict[str, Any]]:
    """Return every object of a list, page by page.

    Raises:
        StripeRefused: Stripe said no.
        RetryLater: it may say yes later, or answered something else than a list.
    """
    found: list[dict[str, Any]] = []
    query: dict[str, object] = {**(params or {}), "limit": PAGE}
    while True:
        page = await stripe.call("get", path, query)
        data: object = page.get("data")
        if not isinstance(data, list):
            raise RetryLater(f"{path}: the answer was no list", after_s=60.0)
        found += cast("list[dict[str, Any]]", data)
        if not (page.get("has_more") and data):
            return found
        query["starting_after"] = found[-1]["id"]


def in_path(name: str) -> str:
    """Return a name of ours as one part of an address, whatever is in it."""
    return quote(name, safe="")


def part_of(whole: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return an object within another one; empty where it has none of that name."""
    part: object = whole.get(name)
    return cast("Mapping[str, Any]", part) if isinstance(part, dict) else {}
