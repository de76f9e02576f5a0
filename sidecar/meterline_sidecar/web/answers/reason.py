"""Why somebody decides something, as it is sent."""

from typing import Annotated

from msgspec import Meta

Reason = Annotated[
    str,
    # A blank says as little as nothing does.
    Meta(min_length=1, max_length=500, pattern=r"\S", description="Why; it is kept."),
]
