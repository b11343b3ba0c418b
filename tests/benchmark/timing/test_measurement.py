import time

import pytest
import torch

from x2vlm.benchmark.timing.measurement import flops_of, interleaved, matmul_rate, slope, summary
from x2vlm.models.layers.attention import attend


def test_runs_take_turns_and_the_warm_up_is_not_counted():
    order = []
    seconds = interleaved([lambda: order.append("a"), lambda: order.append("b")], repeats=2)
    assert order == ["a", "b", "b", "a", "a", "b"]
    assert [len(one) for one in seconds] == [2, 2]


def test_nothing_repeated_is_refused():
    with pytest.raises(ValueError, match="expected 1 or more"):
        interleaved([time.monotonic], repeats=0)


def test_a_summary_has_median_and_spread():
    assert summary([2.0, 1.0, 4.0]) == {"median": 2.0, "least": 1.0, "greatest": 4.0, "spread": 1.5}


@pytest.mark.parametrize("backend", ["eager", "sdpa"])
def test_operations_of_products_and_attention_are_counted_alike_in_every_backend(backend):
    x, w = torch.randn(6, 8, requires_grad=True), torch.randn(8, 4, requires_grad=True)
    assert flops_of(lambda: (x @ w).sum().backward()) == 3 * 2 * 6 * 8 * 4
    q, k = (torch.randn(2, 3, n, 8, requires_grad=True) for n in (5, 7))
    attend(q, k, k, backend=backend)  # the first call of a backend also tries whether it runs
    forward = 2 * (2 * 2 * 3 * 5 * 7 * 8)
    assert flops_of(lambda: attend(q, k, k, backend=backend)) == forward
    assert flops_of(lambda: attend(q, k, k, backend=backend).sum().backward()) == 3 * forward


def test_a_matrix_product_has_a_rate():
    assert matmul_rate(32, repeats=1) > 0
    assert matmul_rate(32, torch.bfloat16, repeats=1) > 0


def test_a_slope_is_the_power_on_log_log_axes_and_needs_two_points():
    assert slope([(n, 3 * n**1.5) for n in (1, 10, 70)]) == pytest.approx(1.5)
    with pytest.raises(ValueError, match="two points or more; given 1"):
        slope([(2, 1.0)])
