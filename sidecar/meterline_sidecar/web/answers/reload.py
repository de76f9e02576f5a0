"""What the API answers to a reload of the files."""

import msgspec

from meterline_sidecar.web.answers.money import MoneyChange


class Reloaded(msgspec.Struct, frozen=True, kw_only=True):
    """What reading the files again has changed, or would change."""

    changes: tuple[str, ...]
    """Each in words: ``from 2026-12-01 acme: plan basic -> pro``."""
    needs_restart: tuple[str, ...]
    """The keys that say something else now, and hold only from the next start on."""
    money: MoneyChange
    """By how much it changes what periods come to."""
