"""Asks a running sidecar over HTTP, wherever it listens."""

import os
import re
import ssl
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Final, Literal, Protocol, Self, TypeVar

import click
import httpx
import msgspec

import meterline
from meterline_sidecar.cli.exits import (
    Interrupted,
    NoSidecar,
    NotFound,
    NotNow,
    OtherVersion,
    Refused,
)
from meterline_sidecar.config.read import read_settings
from meterline_sidecar.config.shape import Config
from meterline_sidecar.errors import ConfigError
from meterline_sidecar.web.answers.problem import Problem
from meterline_sidecar.web.misfits import misfit

TIMEOUT_S: Final = 30.0
PAGE: Final = 1_000
WORK_TIMEOUT_S: Final = 600.0  # what asks Stripe many questions takes its time
UNAUTHORIZED: Final = 401
NOT_FOUND: Final = 404
NOT_NOW: Final = (429, 503)
VERSION_TIMEOUT_S: Final = 5.0
SAME_VERSION: Final = "install the same version of Meterline on both sides"
UNHEARD_OF: Final = re.compile(
    "^unknown parameter|is an unknown field|^nothing is at this path"
    "|^this path does not take that method|^this takes no body"
)
"""What a sidecar of another version says of what only this one knows."""
CUT_SHORT: Final = b"Internal Server Error"
"""What uvicorn says where an answer was cancelled, as by a sidecar that is stopped."""
TOKEN: Final = "METERLINE_TOKEN"  # noqa: S105 - the variable's name
TOKEN_FORM: Final = re.compile("[!-~]*")


class Page(Protocol):
    """An answer that is one page of a list."""

    @property
    def next_after(self) -> str | int | None:
        """What to give as ``after`` for the next page; ``None`` on the last one."""
        ...


class Versioned(msgspec.Struct, frozen=True):
    """What every version says on ``/status``."""

    version: str


A = TypeVar("A")
P = TypeVar("P", bound=Page)


def _is_kept_out(error: BaseException | None) -> bool:
    """Say whether it is a socket's permissions that stand before the sidecar."""
    while error is not None:
        if isinstance(error, PermissionError):
            return True
        error = error.__cause__ or error.__context__
    return False


def _token() -> str:
    """Return the token of the environment; empty where there is none.

    Raises:
        ConfigError: it cannot be one; it is not shown, as it may be one but for a letter.
    """
    token = os.environ.get(TOKEN, "").strip()
    if not TOKEN_FORM.fullmatch(token):
        raise ConfigError(
            f"{TOKEN}: there is a letter in it that no token has, or a space; copy it"
            " again, or create one with `meterline token create`"
        )
    return token


class Client:
    """A connection to the sidecar's HTTP API.

    Args:
        url: where it answers: ``http://HOST:PORT``, ``HOST:PORT`` or ``unix:PATH``.
    """

    def __init__(self, url: str) -> None:
        path = url.removeprefix("unix:")
        is_unix = path != url
        if not is_unix and "://" not in url:
            url = f"http://{url}"
        self.url = url
        # Loading whom to trust takes longer than the answer: a socket has no TLS.
        trust = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) if is_unix else True
        token = _token()
        try:
            self._http = httpx.Client(
                base_url="http://localhost" if is_unix else url,
                transport=httpx.HTTPTransport(
                    verify=trust, uds=path if is_unix else None
                ),
                headers={"Authorization": f"Bearer {token}"} if token else {},
                timeout=TIMEOUT_S,
            )
        except httpx.InvalidURL as error:
            raise self._nobody(error) from error

    @classmethod
    def find(cls, url: str | None, config_path: Path | None) -> Self:
        """Return a client for ``url``; without one, as the configuration says.

        Raises:
            ConfigError: the configuration is wrong.
        """
        return cls.of(read_settings(config_path)) if url is None else cls(url)

    @classmethod
    def of(cls, config: Config) -> Self:
        """Return a client for the sidecar that a configuration is of."""
        http = config.sidecar.http
        return cls(http if http.startswith("unix:") else f"http://{http}")

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

    def get(self, path: str, kind: type[A], /, **params: str | int | None) -> A:
        """Return what the sidecar answers; parameters that are ``None`` are not sent.

        Args:
            kind: the struct of ``web/answers`` that this path answers with; by place,
                since the API has a parameter of that name.

        Raises:
            NoSidecar: nobody answers, or somebody else.
            Refused: the answer is an error; the text is the sidecar's.
            OtherVersion: the answer is none of that kind.
        """
        return self._ask("GET", path, kind, params, timeout_s=TIMEOUT_S)

    def download(self, path: str, /, **params: str | None) -> bytes:
        """Return the file that a path answers with; as ``get``."""
        sent = {name: value for name, value in params.items() if value is not None}
        response = self._request("GET", path, sent, timeout_s=WORK_TIMEOUT_S)
        return response.content

    def get_work(self, path: str, kind: type[A], /, **params: str | int | None) -> A:
        """Return what the sidecar answers after work that takes its time; as ``get``."""
        return self._ask("GET", path, kind, params, timeout_s=WORK_TIMEOUT_S)

    def post(self, path: str, kind: type[A], /, **params: str | int | None) -> A:
        """Let the sidecar do something, and return what it answers.

        Raises:
            NoSidecar, Refused, OtherVersion: as ``get``.
        """
        return self._ask("POST", path, kind, params, timeout_s=WORK_TIMEOUT_S)

    def send(
        self,
        method: Literal["POST", "PUT"],
        path: str,
        kind: type[A],
        body: object,
        /,
        *,
        is_work: bool = False,
        **params: str | int | None,
    ) -> A:
        """Let the sidecar take something in, and return what it answers.

        Args:
            is_work: it takes its time.

        Raises:
            NoSidecar, Refused, OtherVersion: as ``get``.
        """
        content = msgspec.json.encode(body)
        timeout_s = WORK_TIMEOUT_S if is_work else TIMEOUT_S
        return self._ask(method, path, kind, params, timeout_s=timeout_s, body=content)

    def put_text(
        self, path: str, kind: type[A], text: bytes, /, **params: str | int | None
    ) -> A:
        """Let the sidecar take lines of text in, and return what it answers.

        Raises:
            NotNow: it cannot take more at the moment.
            NoSidecar, Refused, OtherVersion: as ``get``.
        """
        return self._ask("PUT", path, kind, params, timeout_s=TIMEOUT_S, body=text)

    def pages(
        self, path: str, kind: type[P], /, **params: str | int | None
    ) -> Iterator[P]:
        """Yield every page of a list, to its end.

        Raises:
            NoSidecar, Refused, OtherVersion: as ``get``.
        """
        after: str | int | None = None
        while True:
            page = self.get(path, kind, limit=PAGE, after=after, **params)
            yield page
            after = page.next_after
            if after is None:
                return

    def _ask(
        self,
        method: str,
        path: str,
        kind: type[A],
        params: Mapping[str, str | int | None],
        *,
        timeout_s: float,
        body: bytes | None = None,
    ) -> A:
        sent = {name: value for name, value in params.items() if value is not None}
        response = self._request(method, path, sent, timeout_s=timeout_s, body=body)
        try:
            return msgspec.json.decode(response.content, type=kind)
        except msgspec.ValidationError as error:
            found = misfit(msgspec.json.decode(response.content), kind, said=error)
            raise OtherVersion(
                f"{path} at {self.url} answers in a form that this command cannot read"
                f" ({found.told('it')}); {self._versions() or SAME_VERSION}"
            ) from error
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise self._stranger() from error

    def _request(
        self,
        method: str,
        path: str,
        sent: Mapping[str, str | int],
        *,
        timeout_s: float,
        body: bytes | None = None,
    ) -> httpx.Response:
        if "//" in path or path.endswith("/"):  # of a script's variable that is not set
            raise click.UsageError("a name or a number is empty")
        try:
            response = self._http.request(
                method, path, params=sent, content=body, timeout=timeout_s
            )
        except KeyboardInterrupt as error:
            if method == "GET":
                raise
            raise Interrupted(
                f"interrupted; the sidecar at {self.url} may still do what it was asked:"
                " look (`meterline status`, `meterline audit`) before you ask again"
            ) from error
        except (httpx.ReadTimeout, httpx.WriteTimeout) as error:
            raise NoSidecar(
                f"the sidecar at {self.url} has not answered for {timeout_s:.0f} s, and"
                " may still do what it was asked: look (`meterline status`, `meterline"
                " audit`) before you ask again"
            ) from error
        except (httpx.TransportError, httpx.InvalidURL) as error:
            if _is_kept_out(error):
                raise NoSidecar(
                    f"this user may not ask the sidecar at {self.url} (permission"
                    " denied); run this as the user that it runs as, or as one of its"
                    " group"
                ) from error
            raise self._nobody(error) from error
        if response.is_error:
            raise self._refusal(response)
        return response

    def _refusal(self, response: httpx.Response) -> Refused:
        """Return what the sidecar says about why not, and what a token would help."""
        if response.content == CUT_SHORT:
            raise NoSidecar(
                f"the sidecar at {self.url} was stopped before it had answered, or its"
                " log says what failed; run the same command again once it is ready"
            )
        try:
            detail = msgspec.json.decode(response.content, type=Problem).detail
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise self._stranger() from error
        if UNHEARD_OF.search(detail) and (differ := self._versions()):
            return Refused(f"{detail}; {differ}")
        if response.status_code == UNAUTHORIZED:
            detail += f"; set {TOKEN} to a token"
        if response.status_code in NOT_NOW:
            after = response.headers.get("Retry-After", "")
            return NotNow(detail, after_s=int(after) if after.isdigit() else 1)
        kind = NotFound if response.status_code == NOT_FOUND else Refused
        return kind(detail)

    def _versions(self) -> str:
        """Return which versions talk to each other and what to do, if they differ."""
        try:
            response = self._http.get("/status", timeout=VERSION_TIMEOUT_S)
            theirs = msgspec.json.decode(response.content, type=Versioned).version
        except (httpx.HTTPError, msgspec.DecodeError, UnicodeDecodeError):
            return ""
        if theirs == meterline.__version__:
            return ""
        return (
            f"the sidecar is Meterline {theirs:.40}, and this command is of"
            f" {meterline.__version__}: {SAME_VERSION}"
        )

    def _nobody(self, error: Exception) -> NoSidecar:
        return NoSidecar(
            f"no sidecar answers at {self.url} ({error}); start it with `meterline run`,"
            " or name another one with --config FILE or --url URL"
        )

    def _stranger(self) -> NoSidecar:
        return NoSidecar(
            f"the program at {self.url} is not a Meterline sidecar; name the right one"
            " with --config FILE or --url URL"
        )
