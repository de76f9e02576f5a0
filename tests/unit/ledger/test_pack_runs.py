"""Ids are divided into runs of which none cuts a pack, and that stay once they are packed."""

from hypothesis import example, given
from hypothesis import strategies as st

from meterline_sidecar.ledger.packing import Run, runs_behind
from meterline_sidecar.store.packs import IDS_MAX

Packs = list[tuple[int, int, int]]


def packs_of(reached: int, sizes: list[tuple[int, int]]) -> Packs:
    """Return packs by how many ids lie before each, and in it."""
    packs: Packs = []
    for n_before, n_in in sizes:
        begins = (packs[-1][1] if packs else reached) + 1 + n_before
        packs.append((begins, begins + n_in - 1, n_in))
    return packs


GAPS = st.sampled_from([0, 0, 1, 255, 256, 300, 20_000, 40_000])
SIZES = st.sampled_from([1, 300, 1_900, 5_000, 9_000, IDS_MAX - 1, IDS_MAX])


@example(reached=9, sizes=[(0, 9_846), (300, 300), (1, 1)], apart=10_000)
@given(
    reached=st.integers(0, 9),
    sizes=st.lists(st.tuples(GAPS, SIZES), max_size=20),
    apart=st.sampled_from([0, 0, 0, 10_000]),
)
def test_runs_follow_one_another_cut_no_pack_and_are_one_pack_once_they_are_packed(
    reached: int, sizes: list[tuple[int, int]], apart: int
) -> None:
    packs = packs_of(reached, sizes)

    *runs, behind = runs_behind(reached, packs, apart=apart)

    first = reached + 1
    for run in (*runs, behind):
        assert run.first == first
        assert 1 <= run.last + 1 - first <= IDS_MAX
        inside = [of for of in packs if first <= of[1] and of[0] <= run.last]
        assert run is behind or all(
            first <= of[0] and of[1] <= run.last for of in inside
        )
        assert run.n_packs == len(inside)
        n_ids = run.last + 1 - first
        assert run.n_rows == n_ids - sum(of[1] + 1 - of[0] for of in inside)
        assert run.n_packs <= 1 or all(of[0] > apart for of in inside)
        first = run.last + 1
    if apart:
        return
    stays = [of for of in packs if of[0] >= behind.first]
    packed = [one for run in runs for one in _once_packed(run, packs)] + stays
    again = list(runs_behind(reached, packed, apart=0))[:-1]
    assert all(run.is_one_pack for run in again if run.last < behind.first)


def _once_packed(run: Run, packs: Packs) -> Packs:
    inside = [of for of in packs if run.first <= of[0] and of[1] <= run.last]
    n_ids = run.last + 1 - run.first
    return inside if run.is_one_pack else [(run.first, run.last, n_ids)]
