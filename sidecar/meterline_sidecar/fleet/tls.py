"""Both sides' end of the wire between two sidecars."""

import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from meterline_sidecar.config.centre import CentreConfig, Role
from meterline_sidecar.errors import ConfigError
from meterline_sidecar.small_file import read_small_file

TOKEN_BYTES_MAX: Final = 4 << 10


def centre_tls(config: CentreConfig) -> ssl.SSLContext:
    """Return how a centre speaks TLS.

    Raises:
        ConfigError: its certificate, its key or its edges' CA cannot be read.
    """
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
