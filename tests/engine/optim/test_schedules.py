"""Warm-up and decay by iteration."""

import pytest
import torch
from torch import nn

from x2vlm.engine.optim.optim_wrapper import MixedOptimWrapper
from x2vlm.engine.optim.schedules import WarmupLinear, published_floor, warmup_cosine, warmup_linear


def wrapper(*rates: float, **options) -> MixedOptimWrapper:
    groups = [{"params": [nn.Parameter(torch.ones(1))], "lr": rate} for rate in rates]
    return MixedOptimWrapper(torch.optim.SGD(groups, lr=1.0), **options)


def walk(optimizer: MixedOptimWrapper, schedule: WarmupLinear, steps: int) -> list[float]:
    rates = []
    for _ in range(steps):
        rates.append(optimizer.optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return rates


def test_the_first_update_has_rate_0_and_the_rate_is_full_after_the_warm_up():
    optimizer = wrapper(1.0)
    assert walk(optimizer, WarmupLinear(optimizer, warmup=4, end=8), 8) == pytest.approx(
        [0, 0.25, 0.5, 0.75, 1, 0.75, 0.5, 0.25]
    )


def test_a_warm_up_can_be_a_share_of_the_run():
    optimizer = wrapper(1.0)
    assert WarmupLinear(optimizer, warmup=0.1, end=2000).warmup == 200


def test_the_rate_ends_at_the_floor_and_never_exceeds_1():
    factors = [warmup_linear(step, warmup=2, total=10, min_factor=0.1) for step in range(11)]
    assert max(factors) == factors[2] == 1
    assert factors[-1] == pytest.approx(0.1)


def test_the_published_floor_is_its_formula_and_exceeds_1_after_the_warm_up():
    warmup, total, m = 2, 10, 0.1
    factors = [published_floor(step, warmup, total, m) for step in range(total + 1)]
    assert factors[:2] == [0, 0.5]
    assert factors[2:] == pytest.approx([max(m, (total - (1 - m) * s) / (total - warmup)) for s in range(2, 11)])
    assert factors[2] == pytest.approx(1.025)
    optimizer = wrapper(2.0)
    schedule = WarmupLinear(optimizer, warmup=warmup, min_factor=m, decay="published", end=total)
    assert walk(optimizer, schedule, total) == pytest.approx([2 * factor for factor in factors[:-1]])


def test_half_a_cosine_falls_from_1_to_the_floor_and_is_halfway_in_the_middle():
    factors = [warmup_cosine(step, warmup=2, total=10, min_factor=0.2) for step in range(11)]
    assert factors[:3] == [0, 0.5, 1]
    assert factors[6] == pytest.approx(0.6)
    assert factors[10] == pytest.approx(0.2)
    assert factors[2:] == sorted(factors[2:], reverse=True)


def test_without_a_floor_both_lines_are_one():
    for step in range(11):
        assert published_floor(step, 2, 10) == pytest.approx(warmup_linear(step, 2, 10))


def test_with_accumulation_the_schedule_moves_once_an_update():
    """The rates of updates are those of a run with so many iterations; the last, shorter one counts as one."""
    plain, accumulated = wrapper(1.0), wrapper(1.0, accumulative_counts=3)
    of_updates = walk(plain, WarmupLinear(plain, warmup=2, end=7), 7)
    rates = walk(accumulated, WarmupLinear(accumulated, warmup=2, end=20), 20)
    assert rates == pytest.approx([rate for rate in of_updates for _ in range(3)][:20])


def test_every_group_keeps_its_own_rate():
    optimizer = wrapper(1.0, 3.0)
    walk(optimizer, WarmupLinear(optimizer, warmup=2, end=10), 1)
    assert [group["lr"] for group in optimizer.optimizer.param_groups] == [0.5, 1.5]


@pytest.mark.parametrize("done", [5, 10])
def test_a_longer_run_goes_on_along_its_own_line(done):
    optimizer = wrapper(1.0)
    short = WarmupLinear(optimizer, warmup=0, end=10)
    walk(optimizer, short, done)
    again = wrapper(1.0)
    longer = WarmupLinear(again, warmup=0, end=20)
    longer.load_state_dict(short.state_dict())
    assert walk(again, longer, 3) == pytest.approx([1 - (done + n) / 20 for n in range(3)])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(warmup=10, end=10), "a warm-up of 10 updates does not fit into a run of 10"),
        (dict(warmup=1.5, end=10), "a float is a share of all updates"),
        (dict(warmup=1, end=10, decay="steps"), "decay='steps' is not known. Accepted: straight, published, cosine"),
        (dict(warmup=1, end=10, by_epoch=True), "by_epoch must be False"),
    ],
)
def test_a_schedule_without_meaning_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        WarmupLinear(wrapper(1.0), **options)
