"""What a count that is waited for says of whom it waits for."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from meterline_sidecar.cli.client import Client
from meterline_sidecar.cli.commands import meters


class Centre:
    """A client of a centre whose edge is away, comes back, and has counted."""

    def __init__(self) -> None:
        self._looks = iter(
            [(99, "silent"), (99, "silent"), (99, "connected"), (None, "")]
        )
        self._state = ""

    def get(self, path: str, _form: object) -> Any:
        if path == "/status":
            percent, self._state = next(self._looks)
            return SimpleNamespace(
                aggregation=SimpleNamespace(recounting_percent=percent)
            )
        states = {"one": self._state, "ready": "connected", "gone": "retired"}
        return SimpleNamespace(
            edges=[
                SimpleNamespace(name=name, state=state, counts_again=name != "ready")
                for name, state in states.items()
            ]
        )


def test_whom_a_count_waits_for_is_named_once(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(meters, "LOOK_S", 0)

    meters.wait_until_read(cast(Client, Centre()), is_json=True)

    told = capsys.readouterr()
    assert told.out == ""
    assert [line.split(";")[0] for line in told.err.splitlines()] == [
        "waits for edges that also count again: one (silent)",
        "waits for edges that also count again: one (connected)",
    ]
