"""The shape of prices in ``pricing.toml``: every model, every key."""

from collections.abc import Mapping
from typing import Any, Final

from msgspec.structs import replace

from meterline_pricing.money import ZERO
from meterline_pricing.price import (
    Cell,
    Dynamic,
    GraduatedPercentage,
    Matrix,
    Percentage,
    PerGroup,
    Price,
)
from meterline_pricing.tiers import BlockTier, PercentTier, Step, Tier
from meterline_pricing.toml.shape import (
    Key,
    Many,
    Named,
    Nested,
    NestedMany,
    One,
    Plain,
    Shape,
    StandIn,
    Tagged,
    nothing,
)
from meterline_pricing.toml.source import BOOLEAN, DECIMAL, TEXT, Table, one_of
from meterline_pricing.unit_price import (
    BlockTiers,
    Capacity,
    Flat,
    Graduated,
    Package,
    PerUnit,
    Stairstep,
    Volume,
)

NUMBER: Final = One(DECIMAL)
WORD: Final = One(TEXT)
FLAG: Final = One(BOOLEAN)
NAMES: Final = Many(TEXT)


_BOUND: Final = replace(
    DECIMAL,
    expected="an integer or a quoted decimal, or no up_to in the last tier",
)
UP_TO: Final = Key(
    "up_to", One(_BOUND), "The last quantity in this tier; omitted in the last tier."
)
FLAT_AMOUNT: Final = Key("flat_amount", NUMBER, "Due once, when the tier is entered.")
FLAT_AT_ZERO: Final = Key(
    "flat_at_zero", FLAG, "Whether the first flat amount is due without any usage."
)


def needed(name: str, help: str = "", value: Any = NUMBER) -> Key:  # noqa: A002 - as in Key
    """Return a key that must be there."""
    return Key(name, value, help, is_required=True)


def _free_tier(table: Table, values: Mapping[str, Any]) -> Tier:
    return Tier()


def _tiers(name: str, make: type[Any], *keys: Key) -> Key:
    """Return the key ``tiers`` of a model."""
    shape = Plain(name, keys, make, _free_tier)
    return Key("tiers", NestedMany(lambda: shape), is_required=True)


TIERS: Final = _tiers(
    "tier",
    Tier,
    UP_TO,
    Key("unit_amount", NUMBER, "The price of each unit."),
    FLAT_AMOUNT,
    Key("maximum", NUMBER, "The most that this tier costs, `flat_amount` included."),
)


def _cell() -> Shape:
    return CELL


def _default() -> Shape:
    return DEFAULT


def _price() -> Shape:
    return PRICE


def _model(name: str, make: type[Any], *keys: Key) -> Plain:
    return Plain(name, keys, make, lambda table, values: Flat(ZERO))


MODELS: Final[Mapping[str, Plain]] = {
    model.name: model
    for model in (
        _model("flat", Flat, needed("amount", "The amount per period.")),
        _model("per_unit", PerUnit, needed("unit_amount", "The price of each unit.")),
        _model("graduated", Graduated, TIERS, FLAT_AT_ZERO),
        _model(
            "volume",
            Volume,
            TIERS,
            FLAT_AT_ZERO,
            Key(
                "tier_by",
                WORD,
                "The meter whose quantity selects the tier, if it is not the one that"
                " is charged.",
            ),
        ),
        _model(
            "package",
            Package,
            needed("size", "Units in a package."),
            needed("amount", "The price of a package."),
            Key(
                "round",
                One(one_of("rounding", ("up", "down"))),
                "Whether a package that was started is charged (`up`) or not (`down`).",
            ),
            Key("free_units", NUMBER, "Taken off before packages are counted."),
        ),
        _model(
            "stairstep",
            Stairstep,
            _tiers("step", Step, UP_TO, needed("amount", "Due for this step.")),
            Key(
                "on_exceed",
                One(one_of("on_exceed", ("last", "error"))),
                "What a quantity above the last step costs.",
            ),
            FLAT_AT_ZERO,
        ),
        _model(
            "block_tiers",
            BlockTiers,
            _tiers(
                "block_tier",
                BlockTier,
                needed("block_size", "Units in a block."),
                needed("amount", "The price of a block."),
                Key("max_blocks", NUMBER, "Blocks that this tier holds."),
            ),
            Key(
                "mode",
                One(one_of("mode", ("all", "top"))),
                "`all` fills one tier after the other; `top` charges all units in blocks"
                " of the tier that they reach.",
            ),
            Key(
                "on_exceed",
                One(one_of("on_exceed", ("last", "error", "free"))),
                "What happens above the last tier's `max_blocks`: `last` continues in"
                " that tier, `error` refuses, `free` charges nothing more.",
            ),
        ),
        _model(
            "capacity",
            Capacity,
            needed("included", "Units included in the amount."),
            needed("amount", "Due in any case."),
            needed("overage_unit_amount", "Of each unit above."),
        ),
        _model(
            "percentage",
            Percentage,
            needed("rate", "The percentage."),
            Key("fixed", NUMBER, "For each event."),
            Key("free_events", NUMBER, "How many events cost nothing."),
            Key("free_amount", NUMBER, "How much of the amount costs nothing."),
            Key(
                "free_rule",
                One(one_of("free_rule", ("smaller", "first_limit"))),
                "Whether the event that reaches `free_amount` to the cent pays its"
                " fixed amount: `smaller` charges it, `first_limit` does not.",
            ),
            Key("minimum", NUMBER, "For each event."),
            Key("maximum", NUMBER, "For each event."),
        ),
        _model(
            "graduated_percentage",
            GraduatedPercentage,
            _tiers(
                "percent_tier",
                PercentTier,
                UP_TO,
                Key("rate", NUMBER, "The percentage."),
                FLAT_AMOUNT,
            ),
            FLAT_AT_ZERO,
        ),
        _model(
            "dynamic", Dynamic, Key("multiplier", NUMBER, "A factor for the amount.")
        ),
        _model(
            "matrix",
            Matrix,
            needed("dimensions", "What prices depend on.", NAMES),
            Key("cells", NestedMany(_cell), is_required=True),
            Key(
                "default", Nested(_default), "The price of usage that no cell matches."
            ),
        ),
        _model(
            "per_group",
            PerGroup,
            Key("price", Nested(_price), "Of each group.", is_required=True),
            Key("by", NAMES, "The dimensions of a group; all without it."),
        ),
    )
}
"""How each model is written in ``pricing.toml``."""


def priced(
    name: str,
    make: Any,
    *shared: Key,
    stand_in: StandIn = nothing,
    default: str | None = None,
) -> Tagged:
    """Return the shape of a table that has a price's keys, and ``shared`` ones.

    ``make`` gets the price as ``price``, and what the shared keys say.
    """
    return Tagged(
        name,
        tag="model",
        variants=MODELS,
        shared=shared,
        field="price",
        make=make,
        stand_in=stand_in,
        default=default,
    )


def _only(price: Price) -> Price:
    return price


PRICE: Final = priced("price", _only)
DEFAULT: Final = priced("default_price", _only, default="per_unit")
CELL: Final = priced(
    "cell",
    Cell,
    needed("values", "Dimension to value.", Named(TEXT)),
    default="per_unit",
)
