"""Asks a running sidecar over HTTP, wherever it listens."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import httpx

from meterline_sidecar.cli.exits import Refused, Unreachable
from meterline_sidecar.config.read import read_config

TIMEOUT_S: Final = 30.0
PAGE: Final = 1_000
WORK_TIMEOUT_S: Final = 600.0  # what asks Stripe many questions takes its time
UNAUTHORIZED: Final = 401
TOKEN: Final = "METERLINE_TOKEN"  # noqa: S105 - the variable's name


class Client:
    """A connection to the sidecar's HTTP API.

    Args:
        url: where it answers: ``http://HOST:PORT`` or ``unix:PATH``.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        path = url.removeprefix("unix:")
        is_unix = path != url
        token = os.environ.get(TOKEN)
        self._http = httpx.Client(
            base_url="http://localhost" if is_unix else url,
            transport=httpx.HTTPTransport(uds=path if is_unix else None),
            headers={} if token is None else {"Authorization": f"Bearer {token}"},
            timeout=TIMEOUT_S,
        )

    @classmethod
    def find(cls, url: str | None, config_path: Path | None) -> Self:
        """Return a client for ``url``; without one, as the configuration says.

        Raises:
            ConfigError: the configuration is wrong.
        """
        if url is None:
            http = read_config(config_path).sidecar.http
            url = http if http.startswith("unix:") else f"http://{http}"
        return cls(url)

    def __enter__(self) -> Self:
        """Return this client."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Hang up."""
        self._http.close()

    def get(self, path: str, **params: str | int | None) -> Any:
        """Return what the sidecar answers, decoded; ``None`` params are not sent.

        Raises:
            Unreachable: nobody answers.
            Refused: the answer is an error; the text is the sidecar's.
        """
        return self._ask("GET", path, params, timeout_s=TIMEOUT_S)

    def post(self, path: str, **params: str | int | None) -> Any:
        """Let the sidecar do something, and return what it answers; see ``get``.

        Raises:
            Unreachable: nobody answers.
            Refused: the answer is an error; the text is the sidecar's.
        """
        return self._ask("POST", path, params, timeout_s=WORK_TIMEOUT_S)

    def _ask(
        self,
        method: str,
        path: str,
        params: Mapping[str, str | int | None],
        *,
        timeout_s: float,
    ) -> Any:
        sent = {name: value for name, value in params.items() if value is not None}
        try:
            response = self._http.request(method, path, params=sent, timeout=timeout_s)
        except (httpx.TransportError, httpx.InvalidURL) as error:
            raise Unreachable(
                f"no sidecar answers at {self.url} ({error}); start it with `meterline"
                " run`, or say where it is with --config FILE or --url URL"
            ) from error
        return self._content(response)

    def all(
        self, path: str, key: str, **params: str | int | None
    ) -> Iterator[dict[str, Any]]:
        """Yield everything of a list that comes in pages.

        Args:
            key: what the list is called in each page.

        Raises:
            Unreachable: nobody answers.
            Refused: the answer is an error.
        """
        after = None
        while True:
            page = self.get(path, limit=PAGE, after=after, **params)
            yield from page[key]
            after = page["next_after"]
            if after is None:
                return

    def _content(self, response: httpx.Response) -> Any:
        try:
            content = response.json()
        except ValueError as error:
            raise Unreachable(
                f"what answers at {self.url} is no Meterline sidecar; say where it is"
                " with --config FILE or --url URL"
            ) from error
        if response.status_code == UNAUTHORIZED:
            raise Refused(f"{content['detail']}; set {TOKEN} to a token")
        if response.is_error:
            raise Refused(content["detail"])
        return content
