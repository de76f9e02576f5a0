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

`meterline.toml` configures the sidecar, and `pricing.toml` next to it holds the prices.
`meterline init` writes both, with comments; `meterline check` reports every mistake in
both files in one run.

Flags override the environment, the environment overrides the file, and the file overrides the
defaults. Relative paths are relative to the file. An unknown key is an error. A number is
an integer, or a decimal in quotes such as `"0.50"`.

`STATE` is the directory that apps and the sidecar share by default:
`METERLINE_STATE_DIR` if set, else `/var/lib/meterline` if that exists, else
`~/.local/state/meterline`.

This page is generated from the code by `make docs`.
"""
PRICING_INTRO: Final = """\
# The price list, key by key

`pricing.toml` says what things cost. [Pricing](pricing.md) explains it with examples;
this page lists every key. `meterline check` reports every mistake in the file at once,
including unknown keys.

A *number* is an integer, or a decimal in quotes such as `"0.001"`. Floats are refused,
because they are not exact.

This page is generated from the code by `make docs`.
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
