"""Whose process is at the other end of a connection over the loopback.

The ledger's file is for its owner alone, and every user of a machine reaches its
loopback: so does an app that can be talked into fetching an address. Without a token,
those come in who could open the file: the sidecar's own user, and root.
"""

import asyncio
import ipaddress
import os
import struct
from pathlib import Path
from typing import Final

from starlette.types import Scope

TABLES: Final = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
UID_FIELD: Final = 7
"""``sl local remote state queues timer retransmits uid ...``"""
CONNECTION: Final = "connection"
"""In the state of a request: what is known of its connection, shared by all requests of it."""


class Neighbours:
    """Tells processes of our own user from others, as far as the kernel says."""

    def __init__(self, tables: tuple[Path, ...] = TABLES) -> None:
        self._tables = tables
        self._uids = frozenset({0, os.geteuid()})

    @property
    def can_tell(self) -> bool:
        """Whether this system says who connects."""
        return self._tables[0].exists()

    async def has_own(self, scope: Scope) -> bool:
        """Say whether a request's connection is of our own user, or of root.

        Asked once for a connection: it stays whose it was, while the number of its port
        may be another's next.
        """
        known: dict[str, bool] = scope.get("state", {}).get(CONNECTION, {})
        if not known.get("is_own"):
            # In a thread: the kernel lists every connection of this machine.
            known["is_own"] = await asyncio.to_thread(self.is_own, scope)
        return known["is_own"]

    def is_own(self, scope: Scope) -> bool:
        """Ask the kernel whether a request came from a process of our own user, or root's."""
        client, server = scope.get("client"), scope.get("server")
        if client is None or server is None:
            return False
        return self._uid(tuple(client), tuple(server)) in self._uids

    def _uid(self, client: tuple[str, int], server: tuple[str, int]) -> int | None:
        for table in self._tables:
            is_six = table.name.endswith("6")
            try:
                ends = (
                    f" {_end(*client, is_six=is_six)} {_end(*server, is_six=is_six)} "
                )
                rows = table.read_text(encoding="ascii")
            except (OSError, ValueError):
                continue
            at = rows.find(ends)
            if at >= 0:
                line = rows[rows.rfind("\n", 0, at) + 1 :].partition("\n")[0]
                return int(line.split()[UID_FIELD])
        return None


def _end(host: str, port: int, *, is_six: bool) -> str:
    """Return an address and a port as the kernel's tables have them."""
    address = ipaddress.ip_address(host)
    if is_six and address.version == 4:
        address = ipaddress.ip_address(f"::ffff:{host}")
    if not is_six and address.version == 6:
        raise ValueError("an IPv6 address is in the other table")
    packed = address.packed
    words = struct.unpack(f"={len(packed) // 4}I", packed)
    return "".join(f"{word:08X}" for word in words) + f":{port:04X}"
