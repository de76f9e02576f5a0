"""The reference of both files and the schema of ``meterline.toml``, for people and
editors: made of the tables by which the files are read."""

from typing import Any, Final

from meterline_pricing.toml.plan_shapes import ROOT as PRICING
from meterline_pricing.toml.reference import Section, markdown
from meterline_pricing.toml.reference import sections as sections_of
from meterline_pricing.toml.shape import json_schema_of
from meterline_sidecar.config.tables import ROOT

INTRO: Final = """\
# Configuration

`meterline.toml` says what the sidecar does; `pricing.toml` beside it says what things
cost. `meterline init` writes both, with comments; `meterline check` tells every mistake
in them at once.

A flag stands above the environment, the environment above the file, the file above the
default. Relative paths are relative to the file. An unknown key is an error. A number is
an integer, or a decimal in quotes such as `"0.50"`.

`STATE` is the directory that apps and sidecar share unless told otherwise:
`METERLINE_STATE_DIR`, or `/var/lib/meterline` where that exists, or
`~/.local/state/meterline`.

This page is made of the code by `make docs`.
"""
PRICING_INTRO: Final = """\
# The price list, key by key

`pricing.toml` says what things cost. [Pricing](pricing.md) explains it with examples;
this page names every key. `meterline check` tells every mistake in the file at once; an
unknown key is one.

A *number* is an integer, or a decimal in quotes such as `"0.001"`: a float is not exact,
and so it is refused.

This page is made of the code by `make docs`.
"""


def sections() -> tuple[Section, ...]:
    """Return the tables of ``meterline.toml``, in the order to read them in."""
    return sections_of(ROOT)


def reference() -> str:
    """Return the reference of ``meterline.toml`` as Markdown."""
    return markdown(INTRO, sections())


def price_reference() -> str:
    """Return the reference of ``pricing.toml`` as Markdown."""
    return markdown(PRICING_INTRO, sections_of(PRICING))


def schema() -> dict[str, Any]:
    """Return the JSON Schema of ``meterline.toml``, for editors."""
    return json_schema_of(ROOT, "meterline.toml")
