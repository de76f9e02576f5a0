"""What can go wrong, sorted by what the caller should do about it."""

from collections.abc import Iterable

from meterline_pricing import Problem


class MeterlineError(Exception):
    """Something a person must read: what happened, where, and what to do."""


class ConfigError(MeterlineError):
    """The configuration is wrong; the text holds every problem, a line each."""

    def __init__(self, problems: str | Iterable[Problem]) -> None:
        if isinstance(problems, str):
            problems = (Problem(problems),)
        self.problems = tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))


class AlreadyRunning(MeterlineError):
    """Another process holds the database or the socket; the text names it."""


class RetryLater(MeterlineError):
    """The world is passing through something: the same call may succeed later."""

    def __init__(self, message: str, *, after_s: float) -> None:
        super().__init__(message)
        self.after_s = after_s


class AnsweredWithFailure(RetryLater):
    """Stripe itself failed, and may keep that answer under the key for a day."""


class DiskFull(RetryLater):
    """There was no room to commit. Nothing of the transaction was kept."""

    def __init__(self, message: str) -> None:
        super().__init__(message, after_s=1.0)


class DatabaseGone(RetryLater):
    """The database's server is away, or busy. Nothing of the transaction was kept."""

    def __init__(self, message: str) -> None:
        super().__init__(message, after_s=1.0)


class LeaseLost(RetryLater):
    """Another process was elected meanwhile. Nothing of the transaction was kept."""

    def __init__(self, message: str) -> None:
        super().__init__(message, after_s=1.0)


class NotTheLeader(MeterlineError):
    """Only the elected one of several does this; the text says who that is."""


class DiskFailed(MeterlineError):
    """The disk answered with an error: what is on it is unknown until a clean reopen."""


class PlaceGone(DiskFailed):
    """A path does not lead to the file any more that this process has open."""


class LedgerGone(PlaceGone):
    """That of the ledger: what is stored from now on, nobody would find."""


class DatabaseCorrupt(MeterlineError):
    """The database file is not what was written to it."""


class LedgerWentBack(MeterlineError):
    """What was committed is not in the ledger any more; the process must end."""


class NotInstalled(MeterlineError):
    """It needs what is not installed here; the text says what to install."""


def installing(extra: str) -> str:
    """Return the command that installs what an extra of this package brings."""
    return f"pip install 'meterline[sidecar,{extra}]'"


class BeingCorrected(MeterlineError):
    """Usage is in the middle of a correction, which is written in parts."""


class EventsArchived(MeterlineError):
    """What is asked for needs events that left the ledger; the text says which."""


class ArchiveFailed(MeterlineError):
    """A file of the archive cannot be written or read, or is not what was written."""


class ForeignDatabase(MeterlineError):
    """The file is no Meterline database, or one of a newer Meterline."""


class NoLedger(ForeignDatabase):
    """The file is no Meterline database, or an empty one."""


class SequenceGap(MeterlineError):
    """A producer sent numbers that do not follow on what is on disk."""

    def __init__(self, message: str, *, resume_seq: int) -> None:
        super().__init__(message)
        self.resume_seq = resume_seq


class StripeRefused(MeterlineError):
    """Stripe said no; the text is its own, without secrets."""

    def __init__(self, message: str, *, status: int, code: str | None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
