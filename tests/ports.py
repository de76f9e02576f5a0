"""A TCP port for a process that is told of it before it listens there."""

import os
import socket


class Port:
    """A port of the loopback that nobody else gets before it is closed.

    It stays bound here, without listening: nobody can connect, no other test and no
    outgoing connection is given it, and a server that sets SO_REUSEADDR, as all do,
    may listen there, again and again.

    Args:
        number: the port; by default one that is free.
    """

    def __init__(self, number: int = 0) -> None:
        with socket.socket() as bound:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind(("127.0.0.1", number))
            self.number = int(bound.getsockname()[1])
            # Not a socket object: who fails before the end closes nothing.
            self._descriptor = bound.detach()

    def is_listening(self) -> bool:
        """Tell whether somebody can connect now."""
        with socket.socket() as attempt:
            return attempt.connect_ex(("127.0.0.1", self.number)) == 0

    def close(self) -> None:
        """Leave it to others."""
        os.close(self._descriptor)
