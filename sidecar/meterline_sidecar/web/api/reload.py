"""Reads the files again, while everything goes on."""

from typing import Annotated

import msgspec
from msgspec import Meta

from meterline_sidecar.errors import ConfigError
from meterline_sidecar.web.answers.reload import Reloaded
from meterline_sidecar.web.operations import Operation
from meterline_sidecar.web.parts import Parts
from meterline_sidecar.web.problems import BadRequest

REASON_CHARS_MAX = 500


class ReloadQuery(msgspec.Struct, frozen=True, kw_only=True):
    """How."""

    into_final: Annotated[
        str,
        Meta(
            max_length=REASON_CHARS_MAX,
            description="Why changes may reach into periods that are final; without"
            " it they are refused.",
        ),
    ] = ""
    dry_run: Annotated[
        bool, Meta(description="Say what would change, and change nothing.")
    ] = False


async def reload_files(parts: Parts, query: ReloadQuery, *, author: str) -> Reloaded:
    """Read the files again; mistakes in them change nothing."""
    try:
        if query.dry_run:
            return await parts.files.preview(reason=query.into_final)
        return await parts.files.reload(author=author, reason=query.into_final)
    except ConfigError as error:
        raise BadRequest(str(error)) from error


OPERATIONS = (Operation("/v1/reload", reload_files, method="POST"),)
