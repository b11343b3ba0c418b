import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from x2vlm.models.layers.shape_rounding import EXACT, ROUNDED, ladder_of, round_up


@given(st.integers(0, 10_000), st.sampled_from([1, 2, 4, 8, 16]))
def test_a_rung_is_not_below_the_size_and_wastes_less_than_a_share_of_it(size, rungs):
    rung = round_up(size, rungs)
    assert size <= rung <= size * (1 + 1 / rungs)
    assert round_up(rung, rungs) == rung


@pytest.mark.parametrize("rungs", [1, 2, 4, 16])
def test_a_doubling_has_so_many_rungs(rungs):
    assert len({round_up(size, rungs) for size in range(65, 129)}) == rungs


def test_without_rungs_sizes_stay():
    assert [round_up(size, 0) for size in (0, 7, 1001)] == [0, 7, 1001]


def test_shapes_are_rounded_on_a_gpu_and_stay_on_a_cpu_unless_one_says_otherwise():
    cpu, gpu = torch.device("cpu"), torch.device("cuda", 0)
    assert (ladder_of("auto", cpu), ladder_of("auto", gpu)) == (EXACT, ROUNDED)
    assert (ladder_of("rounded", cpu), ladder_of("exact", gpu)) == (ROUNDED, EXACT)
    with pytest.raises(
        ValueError, match=r"shapes is 'round'\. Did you mean 'rounded'\? Accepted: auto, exact, rounded"
    ):
        ladder_of("round", cpu)
