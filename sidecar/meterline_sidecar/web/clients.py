"""Who sent a request, and how much of us each of them may take."""

import ipaddress
from collections import Counter, OrderedDict
from collections.abc import Iterable
from typing import Final

from starlette.datastructures import Headers
from starlette.types import Scope

CLIENTS_MAX: Final = 10_000  # whose rate is remembered; the longest idle one goes first
HOPS_MAX: Final = 20  # of proxies; the rest of the header is a client's own invention
UNIX: Final = "unix"
"""The address of everybody who comes over a Unix socket."""


class Clients:
    """Tells clients apart by their address.

    What a request says of where it came from is believed of proxies that the
    configuration names, and of nobody else: anybody can write such a header.

    Args:
        trusted: addresses and networks of proxies, or ``unix``.
    """

    def __init__(self, trusted: Iterable[str] = ()) -> None:
        names = frozenset(trusted)
        self._trusts_unix = UNIX in names
        self._networks = tuple(
            ipaddress.ip_network(name, strict=False) for name in names - {UNIX}
        )

    def trusts(self, address: str) -> bool:
        """Say whether a proxy that is believed has this address."""
        if address == UNIX:
            return self._trusts_unix
        if not self._networks:
            return False
        try:
            found = ipaddress.ip_address(address)
        except ValueError:
            return False
        return any(found in network for network in self._networks)

    def address_of(self, scope: Scope, headers: Headers) -> str:
        """Return the address that a request came from, through proxies or not."""
        address = peer_of(scope)
        if not self.trusts(address):
            return address
        hops = ",".join(headers.getlist("x-forwarded-for")).rsplit(",", HOPS_MAX)
        for hop in reversed(hops):
            found = hop.strip()
            if not is_address(found):
                return address
            address = found
            if not self.trusts(address):
                return address
        return address

    def is_https(self, scope: Scope, headers: Headers) -> bool:
        """Say whether the client speaks HTTPS, to us or to a proxy that is believed."""
        if self.trusts(peer_of(scope)):
            return headers.get("x-forwarded-proto", "").strip().lower() == "https"
        return bool(scope.get("scheme") == "https")


def peer_of(scope: Scope) -> str:
    """Return the address at the other end of the connection."""
    return scope["client"][0] if scope.get("client") else UNIX


def is_address(name: str) -> bool:
    """Say whether a name is an IP address."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


class Rates:
    """How much each client has left: a bucket that fills at a steady pace."""

    def __init__(self, per_s: float, burst: int) -> None:
        self._per_s = per_s
        self._burst = burst
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait_s(self, client: str, now_s: float) -> float:
        """Take one and return 0, or how long until there is one."""
        left = self._left(client, now_s)
        taken = min(1.0, left) if left >= 1 else 0.0
        self._buckets[client] = (left - taken, now_s)
        self._buckets.move_to_end(client)
        if len(self._buckets) > CLIENTS_MAX:
            self._buckets.popitem(last=False)
        return 0.0 if taken else (1 - left) / self._per_s

    def _left(self, client: str, now_s: float) -> float:
        left, at_s = self._buckets.get(client, (float(self._burst), now_s))
        return min(self._burst, left + (now_s - at_s) * self._per_s)


class OpenRequests:
    """How many requests are being answered, and for whom.

    Args:
        all_max: for all clients together.
        client_max: for one of them.
    """

    def __init__(self, *, all_max: int, client_max: int) -> None:
        self._all_max = all_max
        self._client_max = client_max
        self._open: Counter[str] = Counter()

    def enter(self, client: str) -> bool:
        """Begin a request, unless there are too many; say whether it may."""
        if (
            self._open.total() >= self._all_max
            or self._open[client] >= self._client_max
        ):
            return False
        self._open[client] += 1
        return True

    def leave(self, client: str) -> None:
        """End a request that was begun."""
        self._open[client] -= 1
        if not self._open[client]:
            del self._open[client]
