"""Requests that a client sends again: the header that tells them."""

import os
import re
from typing import Final

from meterline.quantities import exact_text

VARIABLE: Final = "METERLINE_IDEMPOTENCY_HEADER"
_NAME: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}"


def retry_header(given: str | None) -> str | None:
    """Return the name of the header that has a client's key, in small letters.

    Args:
        given: by the app; else what ``METERLINE_IDEMPOTENCY_HEADER`` says. Without
            either, or empty: none has.

    Raises:
        ValueError: no header can be called so.
    """
    option = VARIABLE if given is None else "idempotency_header"
    value = os.environ.get(VARIABLE) if given is None else given
    if not value:
        return None
    name = exact_text(value)
    if name is None or not re.fullmatch(_NAME, name):
        raise ValueError(f"{option}: no header can be called {value!r:.60}")
    return name.lower()
