"""Keeps how far a verification of the chain came, so that the next one can go on.

The mark lies beside the ledger under the chain's key. It holds for a chain that still
has the same link there: then what lies before was verified once, and is not again.
"""

import hmac
import time
from pathlib import Path
from typing import Final

import msgspec

from meterline_sidecar.files import LedgerFiles, replace_file

WRITE_EVERY_S: Final = 5.0
HOURS_MAX: Final = 200_000  # 23 years; of more, nothing is kept

_json = msgspec.json.Encoder().encode


class Verified(msgspec.Struct, frozen=True, kw_only=True):
    """How far a verification came, and what it had found by then."""

    begins_behind: int
    """The last batch that had left the ledger."""
    has_archive: bool
    """Whether what had left was read, too."""
    batch_id: int
    mac: bytes
    """Of that batch, as it is stored."""
    follows: tuple[int, int]
    """With which event and loss the next batch begins."""
    batches: int
    events: int
    losses: int
    hours: dict[int, tuple[int, int]]
    """The span of ids of each hour, up to there."""
    findings: list[str]


class _Kept(msgspec.Struct, frozen=True):
    verified: msgspec.Raw
    mac: bytes


class ProgressMark:
    """The file that keeps how far the chain is verified.

    Args:
        key: of the chain; a mark that was made without it is none.
        resumes: whether to go on where an earlier run was interrupted.
    """

    def __init__(self, database: Path, key: bytes, *, resumes: bool) -> None:
        self._path = LedgerFiles(database).verified
        self._key = key
        self._resumes = resumes
        self._written_s = time.monotonic()
        self.problem: str | None = None
        """Why it could not be written, in words; nothing is verified less by that."""

    def read(self) -> Verified | None:
        """Return where to go on; ``None``: at the beginning."""
        if not self._resumes:
            return None
        try:
            kept = msgspec.json.decode(self._path.read_bytes(), type=_Kept)
            if not hmac.compare_digest(kept.mac, self._mac(bytes(kept.verified))):
                return None
            return msgspec.json.decode(kept.verified, type=Verified)
        except (FileNotFoundError, ValueError, RecursionError):
            return None

    def is_due(self) -> bool:
        """Say whether it is time to note how far it is."""
        return time.monotonic() - self._written_s >= WRITE_EVERY_S

    def write(self, verified: Verified) -> None:
        """Note how far it is; where that cannot be, ``problem`` says why."""
        self._written_s = time.monotonic()
        if self.problem is not None or len(verified.hours) > HOURS_MAX:
            return
        content = _json(verified)
        kept = _Kept(msgspec.Raw(content), self._mac(content))
        try:
            replace_file(self._path, _json(kept), durably=False)
        except OSError as error:
            self.problem = (
                f"{self._path} cannot be written ({error.strerror}): if this is"
                " interrupted, the next one begins again"
            )

    def clear(self) -> None:
        """Forget it: the chain was verified to its end."""
        try:
            self._path.unlink(missing_ok=True)
        except OSError as error:
            self.problem = f"{self._path} cannot be deleted: {error.strerror}"

    def _mac(self, content: bytes) -> bytes:
        return hmac.digest(self._key, b"verified" + content, "sha256")
