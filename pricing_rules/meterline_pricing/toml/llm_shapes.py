"""The shape of ``[plan.llm]``: what tokens of language models cost, by a catalogue.

What a catalogue says is not known here. Whoever knows one makes prices of such a table
before the price list is read, with ``prepare`` of ``load``.
"""

import re
from decimal import Decimal
from typing import Final

from msgspec import Struct

from meterline_pricing.money import ZERO
from meterline_pricing.toml.shape import Key, Many, One, Plain
from meterline_pricing.toml.source import TEXT, Kind, Unfit

_PERCENT: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?%", re.ASCII)
_MODEL: Final = re.compile(r"([^/\s]+)/(\S+)")


class Model(Struct, frozen=True):
    """A model as events name it."""

    provider: str
    name: str


class ByCatalogue(Struct, frozen=True, kw_only=True):
    """Tokens of language models at the prices of a catalogue, with a markup.

    It stands for a `matrix` price of each meter, by the properties `provider` and
    `model`, and `context` where a model costs more above some length of input.
    """

    models: tuple[Model, ...]
    meters: tuple[str, ...]
    markup: Decimal = ZERO


def _check_markup(value: object) -> Decimal:
    match = _PERCENT.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise Unfit
    return Decimal(match[1])


def _check_model(value: object) -> Model:
    match = _MODEL.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise Unfit
    return Model(*match.groups())


MARKUP: Final = Kind(
    'a percentage such as "20%"', _check_markup, ZERO, {"type": "string"}
)
MODEL: Final = Kind(
    'a provider and a model such as "openai/gpt-5-mini"',
    _check_model,
    Model("", ""),
    {"type": "string"},
)
BY_CATALOGUE: Final = Plain(
    "llm",
    (
        Key(
            "models",
            Many(MODEL),
            "The models that are sold, named as in events: `provider/model`.",
            is_required=True,
        ),
        Key(
            "meters",
            Many(TEXT),
            "The meters that count their tokens, each with the name of its quantity:"
            " `tokens_in`, `tokens_out` and so on.",
            is_required=True,
        ),
        Key(
            "markup",
            One(MARKUP),
            "A percentage added to the catalogue's prices.",
            default='`"0%"`',
        ),
    ),
    ByCatalogue,
)
