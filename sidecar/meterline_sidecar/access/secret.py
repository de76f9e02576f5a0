"""Secrets: where they come from, and how they stay out of every text."""

import os
from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import Final

from meterline_sidecar.errors import ConfigError
from meterline_sidecar.small_file import read_small_file

SECRET_BYTES_MAX: Final = 4_096
HIDDEN: Final = "[secret]"


class Secret:
    """A text that does not show itself in logs, errors and dumps."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """Return the text, for the one who sends it."""
        return self._text

    def hide_in(self, text: str) -> str:
        """Return ``text`` without the secret, which a peer may have echoed."""
        return text.replace(self._text, HIDDEN) if self._text else text

    def __repr__(self) -> str:
        return HIDDEN

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._text == other._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __reduce__(self) -> str:
        raise TypeError("a secret is not pickled")


class SecretSource:
    """Where one secret is looked up: a file, the environment, or systemd.

    First the file that the configuration names; then the environment variable, which
    is taken out of the environment so that no child process inherits it; then the
    file that systemd's ``LoadCredential=`` puts into ``$CREDENTIALS_DIRECTORY``.
    Files are read again on every call: a rotated key needs no restart.

    Args:
        setting: the key of the configuration that names the file.
    """

    def __init__(
        self,
        *,
        file: Path | None,
        setting: str,
        variable: str,
        credential: str,
        environ: MutableMapping[str, str] = os.environ,
    ) -> None:
        self._setting = setting if file else f"the credential {credential}"
        self._file = file or _credential_file(credential, environ)
        given = environ.pop(variable, None)
        self._given = Secret(given.strip()) if given and given.strip() else None
        if file is None and self._given is not None:
            self._file = None

    def read(self) -> Secret | None:
        """Return the secret, ``None`` where none was configured.

        Raises:
            ConfigError: the file cannot be read, or holds no single word.
        """
        if self._file is None:
            return self._given
        words = self._words(self._file)
        if len(words) != 1:
            raise ConfigError(
                f"{self._setting}: {self._file}: expected one key and nothing else"
            )
        return Secret(words[0])

    def read_each(self) -> tuple[Secret, ...]:
        """Return every secret that is given, where there may be several: one a line.

        Raises:
            ConfigError: the file cannot be read, or holds none.
        """
        if self._file is None:
            given = "" if self._given is None else self._given.reveal()
            return tuple(map(Secret, given.split()))
        words = self._words(self._file)
        if not words:
            raise ConfigError(
                f"{self._setting}: {self._file}: expected a key on each line"
            )
        return tuple(map(Secret, words))

    def _words(self, path: Path) -> list[str]:
        try:
            raw = read_small_file(path, bytes_max=SECRET_BYTES_MAX)
            return raw.decode("ascii").split()
        except OSError as error:
            raise ConfigError(
                f"{self._setting}: {path}: {error.strerror}; put the secret there, for"
                " this user to read"
            ) from error
        except UnicodeDecodeError:
            raise ConfigError(f"{self._setting}: {path}: not an ASCII text") from None


def _credential_file(name: str, environ: Mapping[str, str]) -> Path | None:
    folder = environ.get("CREDENTIALS_DIRECTORY")
    if not folder:
        return None
    path = Path(folder) / name
    return path if path.exists() else None
