from collections import Counter

import pytest
import torch
import torch.nn.functional as F
from torch._subclasses.fake_tensor import DynamicOutputShapeException, FakeTensorMode

from x2vlm.benchmark.timing.operator_counts import OperatorCounts, operator_counts

NUMBERS = torch.tensor([3.0, 0.0, 3.0, 1.0])
MASK = NUMBERS > 1
TWICE = torch.tensor([1, 2, 0, 1])


def overwrite():
    NUMBERS.clone()[MASK] = torch.tensor([1.0, 2.0])


WAITS = {
    "item": (lambda: NUMBERS[0].item(), "_local_scalar_dense"),
    "bool": (lambda: bool(MASK.all()), "_local_scalar_dense"),
    "nonzero": (lambda: MASK.nonzero(), "nonzero"),
    "where": (lambda: torch.where(MASK), "nonzero"),
    "read by a mask": (lambda: NUMBERS[MASK], "boolean_index"),
    "write by a mask": (overwrite, "boolean_index"),
    "unique": (lambda: torch.unique(NUMBERS, return_inverse=True), "unique"),
    "unique rows": (lambda: torch.unique(NUMBERS[:, None], dim=0), "unique"),
    "unique neighbours": (lambda: torch.unique_consecutive(NUMBERS), "unique"),
    "equal": (lambda: torch.equal(NUMBERS, NUMBERS + 1), "equal"),
    "masked_select": (lambda: NUMBERS.masked_select(MASK), "masked_select"),
    "repeat_interleave": (lambda: NUMBERS.repeat_interleave(TWICE), "repeat_interleave"),
}
FREE = {
    "index": lambda: NUMBERS[TWICE],
    "write": lambda: NUMBERS.clone().index_put_((TWICE,), torch.tensor([1.0])),
    "fill by a mask": lambda: NUMBERS.clone().index_put_((MASK,), torch.tensor(0.0)),
    "masked_fill": lambda: NUMBERS.masked_fill(MASK, 0.0),
    "where of two": lambda: torch.where(MASK, NUMBERS, 0.0),
    "repeat_interleave with a size": lambda: NUMBERS.repeat_interleave(TWICE, output_size=4),
    "repeat_interleave by a number": lambda: NUMBERS.repeat_interleave(2),
    "another type": lambda: NUMBERS.to(torch.float64),
}


@pytest.mark.parametrize("inference", [False, True])
@pytest.mark.parametrize("kind", WAITS)
def test_a_read_that_a_gpu_would_be_waited_for_is_counted_once_under_its_name(kind, inference):
    run, name = WAITS[kind]
    with torch.inference_mode(inference):
        assert operator_counts(run).waits == {name: 1}


@pytest.mark.parametrize("inference", [False, True])
@pytest.mark.parametrize("kind", FREE)
def test_what_needs_no_reading_back_counts_as_no_wait(kind, inference):
    with torch.inference_mode(inference):
        counts = operator_counts(FREE[kind])
    assert counts.waits == {}
    assert counts.total > 0


def test_operators_are_counted_by_name_and_the_backward_pass_with_them():
    x, w = torch.randn(2, 3, requires_grad=True), torch.randn(3, 5, requires_grad=True)
    with OperatorCounts() as counts:
        out = (x @ w).sum()
    assert counts.by_name == Counter({"aten::mm": 1, "aten::sum": 1})
    with counts:  # goes on counting
        out.backward()
    assert counts.by_name["aten::mm"] == 3
    assert counts.product_shapes == {((2, 3), (3, 5)), ((2, 5), (5, 3)), ((3, 2), (2, 5))}
    assert counts.total == counts.by_name.total()


def test_nothing_is_counted_outside():
    counts = operator_counts(lambda: None)
    torch.ones(2) @ torch.ones(2)
    assert (counts.total, counts.waits, counts.product_shapes) == (0, {}, set())


@pytest.mark.parametrize("inference", [False, True])
def test_shapes_of_products_are_those_of_both_factors_in_every_way_to_write_them(inference):
    x, layer, stack = torch.randn(4, 3), torch.nn.Linear(3, 5), torch.randn(2, 4, 3)
    with torch.inference_mode(inference), OperatorCounts() as counts:
        layer(x)
        stack @ stack.transpose(1, 2)
        torch.baddbmm(torch.zeros(2, 4, 4), stack, stack.transpose(1, 2))
    assert counts.product_shapes == {((4, 3), (3, 5)), ((2, 4, 3), (2, 3, 4))}


@pytest.mark.parametrize("inference", [False, True])
def test_shapes_of_attention_are_those_of_queries_and_keys_forward_only(inference):
    query, key = (torch.randn(2, 3, n, 8, requires_grad=not inference) for n in (5, 7))
    with torch.inference_mode(inference), OperatorCounts() as counts:
        for _ in range(2):
            out = F.scaled_dot_product_attention(query, key, key)
            if not inference:
                out.sum().backward()
        F.scaled_dot_product_attention(query, query, query)
    assert counts.attention_shapes == {((2, 3, 5, 8), (2, 3, 7, 8)), ((2, 3, 5, 8), (2, 3, 5, 8))}


def test_copies_from_a_device_wait_and_those_to_it_do_not():
    with FakeTensorMode(), OperatorCounts() as counts:
        there = torch.ones(3, device="cuda")
        there.cpu()
        torch.ones(3).copy_(there)
        assert counts.waits == {"to_cpu": 2}
        there.to("cpu", non_blocking=True)
        there.to(torch.float64)
        torch.ones(3).to("cuda")
    assert counts.waits == {"to_cpu": 2}


def test_a_wait_of_a_fake_tensor_is_counted_though_it_has_no_numbers():
    with FakeTensorMode(), OperatorCounts() as counts:
        there = torch.ones(3, device="cuda")
        with pytest.raises(DynamicOutputShapeException):
            there.nonzero()
    assert counts.waits == {"nonzero": 1}
