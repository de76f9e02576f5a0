"""Who connects is known on each system that has Unix sockets."""

import os
import socket
import struct
from typing import cast

import pytest

from meterline_sidecar.ingest.credentials import Credentials, of_peer


def test_the_process_at_the_other_end_is_known() -> None:
    ours, theirs = socket.socketpair()

    found = of_peer(ours)

    assert found == Credentials(os.getpid(), os.getuid())
    ours.close()
    theirs.close()


class Mac:
    """A socket as macOS has it: another level, another struct, the pid apart."""

    def getsockopt(self, level: int, option: int, size: int) -> bytes:
        assert level == 0
        if option == 1:
            return struct.pack("IIh", 0, 501, 1).ljust(size, b"\0")
        assert (option, size) == (2, 4)
        return struct.pack("i", 4242)


def test_it_is_known_on_a_mac(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(socket, "SO_PEERCRED")

    assert of_peer(cast("socket.socket", Mac())) == Credentials(4242, 501)
