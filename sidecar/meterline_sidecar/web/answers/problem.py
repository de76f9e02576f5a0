"""How the API says no: a problem document of RFC 9457."""

import msgspec


class Problem(msgspec.Struct, frozen=True):
    """Why a request was not answered."""

    title: str
    status: int
    detail: str
    """What was wrong, and what would be right."""
