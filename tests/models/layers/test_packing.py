import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from x2vlm.models.layers.packing import layout_of_groups, layout_of_mask, positions_in_groups, to_device
from x2vlm.models.layers.shape_rounding import EXACT, ROUNDED

CPU = torch.device("cpu")
LADDERS = pytest.mark.parametrize("ladder", [EXACT, ROUNDED])

groups_of_tokens = st.lists(st.integers(0, 4), min_size=1, max_size=12)
masks = st.integers(1, 5).flatmap(
    lambda size: st.lists(st.lists(st.booleans(), min_size=size, max_size=size), min_size=1, max_size=5)
)


def tokens_of(count, seed=0):
    return torch.randn(count, 3, generator=torch.Generator().manual_seed(seed))


def layout_of(groups, count=6, ladder=EXACT):
    return layout_of_groups(np.array(groups, dtype=np.int64), count, ladder).to(CPU)


def filled_up(tokens, layout):
    """Tokens with as many behind them as the layout takes."""
    more = 0 if layout.slot is None else len(layout.slot) - len(tokens)
    return torch.cat([tokens, 9 * torch.ones(more, *tokens.shape[1:])])


@LADDERS
@given(groups=groups_of_tokens)
def test_packing_undoes_padding(groups, ladder):
    layout, tokens = layout_of(groups, ladder=ladder), tokens_of(len(groups))
    assert torch.equal(layout.pack(layout.pad(filled_up(tokens, layout)))[: len(tokens)], tokens)


@LADDERS
@given(rows=masks)
def test_padding_undoes_packing_but_for_what_stands_at_padding(rows, ladder):
    mask = torch.tensor(rows)
    layout = layout_of_mask(mask.numpy(), ladder).to(CPU)
    padded = tokens_of(layout.groups * layout.size).view(layout.groups, layout.size, 3)
    again = layout.pad(layout.pack(padded))[: len(mask), : mask.shape[1]]
    assert torch.equal(again[mask], padded[: len(mask), : mask.shape[1]][mask])


@given(masks)
def test_empty_slots_are_0_after_zero_padding(rows):
    mask = torch.tensor(rows)
    mask[:, 0] = True
    layout = layout_of_mask(mask.numpy()).to(CPU)
    padded = tokens_of(mask.numel()).view(*mask.shape, 3)
    assert torch.equal(layout.zero_padded(layout.pack(padded)), padded * mask[..., None])
    assert layout.is_full == bool(mask.all())
    assert layout.is_full or torch.equal(layout.filled, mask)


@LADDERS
@given(groups=groups_of_tokens)
def test_tokens_stand_in_their_group_in_the_order_in_which_they_come(groups, ladder):
    layout = layout_of(groups, ladder=ladder)
    padded = layout.pad(filled_up(torch.arange(1.0, len(groups) + 1)[:, None], layout))[..., 0]
    for number, row in enumerate(padded[:6]):
        wanted = [1 + place for place, one in enumerate(groups) if one == number]
        assert row[: len(wanted)].tolist() == wanted
        assert layout.filled is None or layout.filled[number].sum() == max(1, len(wanted))


@given(groups_of_tokens)
def test_places_count_from_0_in_every_group(groups):
    place, counts = positions_in_groups(np.array(groups), 6)
    assert place.tolist() == [groups[:number].count(one) for number, one in enumerate(groups)]
    assert counts.tolist() == [groups.count(one) for one in range(6)]


@LADDERS
@given(groups=groups_of_tokens)
def test_gradients_pass_through_padding_and_packing_as_they_are(groups, ladder):
    layout = layout_of(groups, ladder=ladder)
    tokens = tokens_of(len(groups)).requires_grad_()
    padded = layout.pad(filled_up(tokens, layout))
    weights = torch.randn(padded.shape, generator=torch.Generator().manual_seed(1))
    (padded * weights).sum().backward()
    assert torch.equal(tokens.grad, layout.pack(weights)[: len(tokens)])

    padded = padded.detach().requires_grad_()
    weights = tokens_of(len(groups), seed=2)
    (layout.pack(padded)[: len(groups)] * weights).sum().backward()
    expected = torch.zeros_like(padded).flatten(0, 1)
    slot = torch.arange(len(groups)) if layout.slot is None else layout.slot[: len(groups)]
    assert torch.equal(padded.grad.flatten(0, 1), expected.index_copy(0, slot, weights))


def test_groups_that_are_filled_in_order_need_no_tables():
    assert layout_of([0, 0, 1, 1], 2).is_full
    assert not layout_of([0, 1, 0, 1], 2).is_full
    assert not layout_of([0, 1, 1], 2).is_full


def test_sizes_are_rounded_up_and_what_fills_up_shares_an_empty_place():
    group = np.repeat(np.arange(9), 13)
    layout = layout_of_groups(group, 9, ROUNDED)
    assert (len(layout.slot), layout.groups, layout.size) == (120, 10, 16)
    behind = layout.slot[len(group) :]
    assert len(set(behind)) == 1 and behind[0] not in layout.slot[: len(group)]
    full = layout_of_groups(np.repeat(np.arange(8), 16 + 1), 8, ROUNDED)
    assert full.size == 24 and len(full.slot) == 136


def test_no_tokens_are_groups_of_padding():
    assert torch.equal(layout_of([], 2).pad(torch.zeros(0, 3)), torch.zeros(2, 1, 3))


def test_what_is_sent_arrives_in_one_copy_with_its_types_and_shapes():
    arrays = {"a": np.arange(6).reshape(2, 3), "b": np.array([True, False]), "c": np.zeros(0, np.int64)}
    for device in (CPU, torch.device("meta")):
        sent = to_device(arrays, device)
        assert {name: (tensor.shape, tensor.dtype) for name, tensor in sent.items()} == {
            "a": ((2, 3), torch.int64),
            "b": ((2,), torch.bool),
            "c": ((0,), torch.int64),
        }
    assert to_device(arrays, CPU)["b"].tolist() == [True, False]


def test_padding_keeps_no_tokens_and_does_not_break_what_is_compiled():
    layout, tokens = layout_of([0, 1, 1], 2), tokens_of(3).requires_grad_()
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x) or x, lambda x: x):
        padded = layout.pad(tokens * 1.0)
    assert [one.dtype for one in kept] == [torch.int64]
    compiled = torch.compile(lambda x: layout.pad(x), fullgraph=True, backend="eager")
    assert torch.equal(compiled(tokens), padded)
