"""Brings a file of events to the sidecar, in chunks that it has or has not yet."""

import time
from collections.abc import Callable, Iterable
from functools import partial
from itertools import chain
from typing import Final
from urllib.parse import quote

import click

from meterline_sidecar.cli.client import Client
from meterline_sidecar.cli.exits import NotNow, Refused
from meterline_sidecar.cli.output import Steps
from meterline_sidecar.ingest.event_files import (
    BadFile,
    Chunk,
    EventFile,
    chunks_of,
    name_of,
)
from meterline_sidecar.web.answers.imports import LinesTaken, ShownImport

WAIT_S: Final = 600.0
"""How long to try again while the sidecar has no room."""
LOOK_S: Final = 0.2

OVER: Final = ("committed", "discarded")


class Importer:
    """One file on its way into the ledger.

    Args:
        name: of the import; without, it is made of the file's, and of how it begins.
        source: of events that name none.
    """

    def __init__(
        self,
        client: Client,
        file: EventFile,
        *,
        name: str | None,
        source: str | None,
        reason: str,
        is_quiet: bool,
    ) -> None:
        self._client = client
        self._file = file
        self._name = name
        self._source = source
        self._reason = reason
        self._steps = Steps(quiet=is_quiet)

    def load(self) -> ShownImport:
        """Put the whole file aside, as far as it is not yet.

        What an earlier try left of another file is thrown away: nothing was shown of
        it, and nothing counts.

        Raises:
            BadFile: it is no file of events.
            Refused: another file of this name is staged.
        """
        chunks = chunks_of(self._file.lines())
        first = next(chunks, None)
        if first is None:
            raise BadFile(f"{self._file.name} is empty; nothing was imported")
        name = self._name or name_of(self._file.name, first)
        begun = self._begin(name)
        try:
            self._put_all(name, chain([first], chunks))
        except Refused as error:
            if isinstance(error, NotNow) or begun.state != "loading":
                raise
            is_left = begun.lines > 0
            if is_left and self._file.is_stdin:
                raise
            self._client.post(f"{path_of(name)}/discard", ShownImport)
            if not is_left:  # nothing waits for the rest of what is refused
                raise
            self._begin(name)
            self._put_all(name, chunks_of(self._file.lines()))
        return self._client.get(path_of(name), ShownImport)

    def _begin(self, name: str) -> ShownImport:
        body = {"name": name, "file": self._file.name[-200:], "reason": self._reason}
        return self._client.send("POST", "/v1/imports", ShownImport, body)

    def _put_all(self, name: str, chunks: Iterable[Chunk]) -> None:
        label = f"bytes of {self._file.name} read"
        for chunk in chunks:
            put = partial(
                self._client.put_text,
                f"{path_of(name)}/lines",
                LinesTaken,
                chunk.text,
                first_line=chunk.first_line,
                source=self._source,
            )
            patiently(put)
            if self._file.n_bytes:
                self._steps.show(label, self._file.read_bytes, self._file.n_bytes)

    def wait(self, name: str) -> ShownImport:
        """Wait until a committed import is counted."""
        return wait_for(self._client, name, self._steps)


def wait_for(client: Client, name: str, steps: Steps) -> ShownImport:
    """Wait until an import that is committed is counted, and show how far it is."""
    told = None
    while True:
        found = client.get(path_of(name), ShownImport)
        done = found.accepted + found.duplicates + found.conflicts
        steps.show(f"events of {name} counted", done, max(found.events, 1))
        if found.state in OVER:
            return found
        if found.trouble not in (None, told):
            told = found.trouble
            click.secho(f"! it is stuck: {told}", fg="yellow", err=True)
        time.sleep(LOOK_S)


def patiently(ask: Callable[[], LinesTaken]) -> LinesTaken:
    """Return an answer, asked for again while there is no room.

    Raises:
        NotNow: there was none for minutes.
    """
    until_s = time.monotonic() + WAIT_S
    while True:
        try:
            return ask()
        except NotNow as error:
            if time.monotonic() + error.after_s > until_s:
                raise
            click.secho(f"! waiting: {error}", fg="yellow", err=True)
            time.sleep(error.after_s)


def path_of(name: str) -> str:
    """Return where an import is in the API."""
    return f"/v1/imports/{quote(name, safe='')}"
