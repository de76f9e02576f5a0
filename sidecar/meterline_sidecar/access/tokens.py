"""Who may ask: access tokens, of which only digests are kept.

They stand in a file of their own beside the database, so that one can be made before
the first start, and revoked while the sidecar runs, without a second writer to the
ledger. The running sidecar reads the file again when it has changed. Centres that share
a ledger have a file each, and tell each other (``fleet.shared_tokens``).
"""

import fcntl
import os
import secrets
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Final, Literal, NamedTuple, get_args

import msgspec
from msgspec.structs import replace

from meterline_sidecar.errors import ConfigError
from meterline_sidecar.files import lock_of, replace_file
from meterline_sidecar.small_file import read_small_file

Scope = Literal["status", "read", "write", "ingest", "edge"]
SCOPES: Final[tuple[Scope, ...]] = get_args(Scope)
"""Each one includes those before it, but for ``ingest`` and ``edge``, which include
nothing and are included in nothing: programs have them that send events, and edges."""
ALONE: Final = ("ingest", "edge")
PREFIX: Final = "mtl_"  # lets secret scanners, and people, see what they have found
TOKENS_MAX: Final = 1_000
NAME_CHARS_MAX: Final = 100
SOURCE_CHARS_MAX: Final = 256
REVOKED_MAX: Final = 1_000  # known as revoked by centres that share a ledger
FILE_BYTES_MAX: Final = 8 << 20  # as many of both, with the longest names and sources


class Token(msgspec.Struct, frozen=True, kw_only=True):
    """One access token, as it is kept: nobody can use what stands here."""

    id: str
    name: str
    scope: Scope
    digest: str
    """SHA-256 of the token in hex. The token has 256 random bits: no salt needed."""
    created_ms: int
    source: str | None = None
    """The only source that it may send events of; ``None`` for any."""
    revoked_ms: int | None = None
    """Since when nobody is let in with it: kept where others have to be told."""

    def allows(self, scope: Scope) -> bool:
        """Say whether this token may do what ``scope`` names."""
        if scope in ALONE or self.scope in ALONE:
            return scope == self.scope
        return SCOPES.index(self.scope) >= SCOPES.index(scope)


class NewToken(NamedTuple):
    """A token that was just made; its text is shown once and never kept."""

    token: Token
    text: str


class TokenFile:
    """The tokens of one sidecar.

    Args:
        is_shared: others have them, too: what was revoked is kept, and says so.
    """

    def __init__(self, path: Path, *, is_shared: bool = False) -> None:
        self.path = path
        self.is_shared = is_shared
        self._stamp: tuple[int, int, int] | None = None
        self._by_digest: dict[str, Token] = {}

    def find(self, text: str) -> Token | None:
        """Return the token with this text, unless it was revoked."""
        self._refresh()
        return self._by_digest.get(_digest(text))

    def current(self) -> list[Token]:
        """Return every token; the file is read only where it has changed.

        Raises:
            ConfigError: the file cannot be read, or is damaged.
        """
        self._refresh()
        return list(self._by_digest.values())

    def all(self) -> list[Token]:
        """Return every token, the oldest first.

        Raises:
            ConfigError: the file cannot be read, or is damaged.
        """
        return [token for token in self._written() if token.revoked_ms is None]

    def merge(self, others: Iterable[Token], *, forgotten_ms: int = 0) -> list[Token]:
        """Take in what others know; return all that is known now, also what was revoked.

        Of a token that one has revoked and another has not, it is revoked.

        Args:
            others: what they know.
            forgotten_ms: up to when revoked ones may be forgotten among that. Whatever is
                older, and unknown to them, may be one of these: it does not hold.

        Raises:
            ConfigError: the file cannot be read, or is damaged.
        """
        others = list(others)
        written = self._written()
        if written == (merged := _merged(written, others, forgotten_ms)):
            return written
        with self._locked():
            merged = _merged(self._written(), others, forgotten_ms)
            self._write(merged)
        return merged

    def _written(self) -> list[Token]:
        try:
            written = read_small_file(self.path, bytes_max=FILE_BYTES_MAX)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise ConfigError(f"{self.path}: {error.strerror}") from error
        try:
            return msgspec.json.decode(written, type=list[Token])
        except (ValueError, RecursionError) as error:
            raise ConfigError(
                f"{self.path}: {error}; restore it, or delete it and create new tokens"
            ) from error

    def create(
        self, name: str, scope: Scope, *, now_ms: int, source: str | None = None
    ) -> NewToken:
        """Add a token and return it with its text.

        Args:
            source: with the scope ``ingest``: the only source that it may send of.

        Raises:
            ConfigError: there are too many, the name is too long, or it cannot have
                a source.
        """
        if source is not None and scope != "ingest":
            raise ConfigError("only a token with the scope ingest has a source")
        if source is not None and not 0 < len(source) <= SOURCE_CHARS_MAX:
            raise ConfigError(f"a source has 1 to {SOURCE_CHARS_MAX} characters")
        if not 0 < len(name) <= NAME_CHARS_MAX:
            raise ConfigError(f"a token's name has 1 to {NAME_CHARS_MAX} characters")
        text = PREFIX + secrets.token_urlsafe(32)
        token = Token(
            id=secrets.token_hex(4),
            name=name,
            scope=scope,
            digest=_digest(text),
            created_ms=now_ms,
            source=source,
        )
        with self._locked():
            if len(self.all()) >= TOKENS_MAX:
                raise ConfigError(f"there are {TOKENS_MAX} tokens: revoke some first")
            self._write([*self._written(), token])
        return NewToken(token, text)

    def revoke(self, token_id: str, *, now_ms: int) -> Token | None:
        """Remove a token, which is refused from the next request on; return it."""
        with self._locked():
            found = next((one for one in self.all() if one.id == token_id), None)
            if found is not None:
                left = [one for one in self._written() if one.id != token_id]
                gone = [replace(found, revoked_ms=now_ms)] if self.is_shared else []
                self._write([*left, *gone])
        return found

    def _refresh(self) -> None:
        try:
            stat = self.path.stat()
        except FileNotFoundError:
            self._stamp, self._by_digest = None, {}
            return
        stamp = (stat.st_mtime_ns, stat.st_ino, stat.st_size)
        if stamp != self._stamp:
            self._by_digest = {token.digest: token for token in self.all()}
            self._stamp = stamp

    def _write(self, tokens: list[Token]) -> None:
        written = msgspec.json.format(msgspec.json.encode(tokens)) + b"\n"
        replace_file(self.path, written, durably=True)

    @contextmanager
    def _locked(self) -> Generator[None]:
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
        lock = os.open(lock_of(self.path), os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)


def _merged(
    ours: Iterable[Token], theirs: Sequence[Token], forgotten_ms: int
) -> list[Token]:
    """Return each token once, the oldest first; who was revoked anywhere is."""
    known_there = {token.id for token in theirs}
    found = {
        token.id: token
        for token in ours
        if token.id in known_there
        or (token.revoked_ms or token.created_ms) > forgotten_ms
    }
    for token in theirs:
        known = found.get(token.id)
        if known is None or (known.revoked_ms is None and token.revoked_ms is not None):
            found[token.id] = token
    return sorted(found.values(), key=lambda token: (token.created_ms, token.id))


def _digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()
