"""What of usage a person should look at: what meters could not tell apart, or take."""

from collections.abc import Iterable, Sequence

from meterline_sidecar.meters import Meter
from meterline_sidecar.problems.catalogue import found
from meterline_sidecar.problems.problem import Found, n_of
from meterline_sidecar.properties import OTHER
from meterline_sidecar.store.port import Tx
from meterline_sidecar.usage.counted import counted
from meterline_sidecar.usage.misfits import Misfits, read_misfits
from meterline_sidecar.usage.values import together


async def odd_usage(tx: Tx, meters: Sequence[Meter]) -> list[Found]:
    """Return what is odd about the usage of meters as they are now."""
    values = await together(tx, meters)
    misfits = await read_misfits(tx, (await counted(tx)).generation)
    return [*_together(values), *_misfits(meters, misfits)]


def _together(values: dict[str, int]) -> Iterable[Found]:
    for name, n_values in values.items():
        yield found(
            "values_together",
            f"property {name} has more values than the {n_values:,} that are kept"
            f" apart: the others are added up as {OTHER}",
        )


def _misfits(meters: Sequence[Meter], noted: dict[str, Misfits]) -> Iterable[Found]:
    for meter in meters:
        misfits = noted.get(meter.name, Misfits())
        if misfits.left_out:
            yield found(
                "fraction_not_counted",
                f"{n_of(misfits.left_out, 'value')} of meter {meter.name}"
                f" {'is' if misfits.left_out == 1 else 'are'} not whole and not"
                " counted",
            )
        if misfits.rounded:
            yield found(
                "fraction_rounded",
                f"{n_of(misfits.rounded, 'value')} of meter {meter.name}"
                f" {'was' if misfits.rounded == 1 else 'were'} rounded to its scale,"
                f" which is {meter.scale} by now",
            )
