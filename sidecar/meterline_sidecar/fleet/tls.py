"""Both sides' end of the wire between two sidecars."""

import logging
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from meterline_sidecar.config.centre import CentreConfig, Role
from meterline_sidecar.errors import ConfigError
from meterline_sidecar.small_file import read_small_file

log = logging.getLogger(__name__)

TOKEN_BYTES_MAX: Final = 4 << 10


def centre_tls(config: CentreConfig) -> ssl.SSLContext:
    """Return how a centre speaks TLS; files that are renewed are read again by itself.

    Raises:
        ConfigError: its certificate, its key or its edges' CA cannot be read.
    """
    context = _of_centre(config)
    context.sni_callback = _Renewal(config)
    return context


class _Renewal:
    """Gives each connection the certificate that the files hold by then.

    They are renewed while a centre runs, and it may run for longer than one is valid.
    OpenSSL calls this where a connection begins, whether or not it names a server.
    """

    def __init__(self, config: CentreConfig) -> None:
        self._config = config
        self._read = self._look()
        self._renewed: ssl.SSLContext | None = None

    def __call__(
        self,
        connection: ssl.SSLObject | ssl.SSLSocket,
        _name: str | None,
        _context: ssl.SSLContext,
    ) -> None:
        if (found := self._look()) != self._read:
            self._read = found
            try:
                self._renewed = _of_centre(self._config)
                log.info(
                    "the certificate was renewed: %s", self._config.tls_certificate
                )
            except ConfigError as error:
                # Of two files one comes first.
                log.warning("the certificate of before is shown on: %s", error)
        if self._renewed is not None:
            connection.context = self._renewed

    def _look(self) -> list[tuple[int, int, int] | None]:
        config = self._config
        paths = (config.tls_certificate, config.tls_key, config.client_ca)
        return [_mark(path) for path in paths if path is not None]


def _mark(path: Path) -> tuple[int, int, int] | None:
    try:
        at = path.stat()
    except OSError:
        return None
    return at.st_ino, at.st_mtime_ns, at.st_size


def _of_centre(config: CentreConfig) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _show(context, config)
    if config.client_ca is not None:
        _trust(context, config, "client_ca")
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def edge_tls(config: CentreConfig) -> ssl.SSLContext:
    """Return how an edge speaks TLS.

    Raises:
        ConfigError: its CA, its certificate or its key cannot be read.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # checks the centre's name
    if config.ca_file is not None:
        _trust(context, config, "ca_file")
    else:
        context.load_default_certs()
    if config.tls_certificate is not None:
        _show(context, config)
    return context


def name_in(certificate: dict[str, Any] | None) -> str | None:
    """Return the common name of the certificate that a peer has shown."""
    for part in (certificate or {}).get("subject", ()):
        for key, value in part:
            if key == "commonName":
                return str(value)
    return None


def _show(context: ssl.SSLContext, config: CentreConfig) -> None:
    assert config.tls_certificate is not None, "checked where the file is read"
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(config.tls_certificate, config.tls_key)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"centre.tls_certificate: {config.tls_certificate} with"
            f" {config.tls_key}: {_said(error)}"
        ) from error


def _trust(context: ssl.SSLContext, config: CentreConfig, key: str) -> None:
    path = getattr(config, key)
    try:
        context.load_verify_locations(path)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"centre.{key}: {path}: {_said(error)}") from error


def _said(error: OSError) -> str:
    return error.strerror or str(error) or "cannot be read"


def token_of(config: CentreConfig) -> str:
    """Return the token that this edge shows; empty where it shows a certificate.

    Raises:
        ConfigError: its file cannot be read, or is empty.
    """
    if config.token_file is None:
        return ""
    try:
        text = read_small_file(config.token_file, bytes_max=TOKEN_BYTES_MAX).decode()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "no text"
        raise ConfigError(
            f"centre.token_file: {config.token_file}: {reason}"
        ) from error
    if not (token := text.strip()):
        raise ConfigError(
            f"centre.token_file: {config.token_file} is empty: write a token into it"
            " that `meterline token create NAME --scope edge` makes at the centre"
        )
    return token[:256]


def unreadable(config: CentreConfig, role: Role) -> Iterator[str]:
    """Yield, in words, what is wrong with the files that a side of this wire needs.

    A secret that is not there is left to ``config.advice``, which names it.
    """
    needed: tuple[tuple[Callable[[CentreConfig], object], Path | None], ...] = ()
    if role == "edge":
        needed = ((edge_tls, config.tls_key), (token_of, config.token_file))
    elif role == "centre":
        needed = ((centre_tls, config.tls_key),)
    for read, secret in needed:
        if secret is None or secret.exists():
            try:
                read(config)
            except ConfigError as error:
                yield str(error)
