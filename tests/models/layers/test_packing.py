import torch
from hypothesis import given
from hypothesis import strategies as st

from x2vlm.models.layers.packing import Layout, places_in_groups

groups_of_tokens = st.lists(st.integers(0, 4), min_size=1, max_size=12)
masks = st.integers(1, 5).flatmap(
    lambda size: st.lists(st.lists(st.booleans(), min_size=size, max_size=size), min_size=1, max_size=5)
)


def tokens_of(count, seed=0):
    return torch.randn(count, 3, generator=torch.Generator().manual_seed(seed))


@given(groups_of_tokens)
def test_packing_undoes_padding(groups):
    layout, tokens = Layout.of(torch.tensor(groups), groups=6), tokens_of(len(groups))
    assert torch.equal(layout.pack(layout.pad(tokens)), tokens)


@given(masks)
def test_padding_undoes_packing_but_for_what_stands_at_padding(rows):
    mask = torch.tensor(rows)
    padded = tokens_of(mask.numel()).view(*mask.shape, 3)
    layout = Layout.of_mask(mask)
    assert torch.equal(layout.pad(layout.pack(padded)), padded * mask[..., None])
    assert torch.equal(layout.filled, mask)


@given(groups_of_tokens)
def test_tokens_stand_in_their_group_in_the_order_in_which_they_come(groups):
    group = torch.tensor(groups)
    padded = Layout.of(group, groups=6).pad(torch.arange(1, len(groups) + 1))
    for number, row in enumerate(padded):
        wanted = [1 + place for place, one in enumerate(groups) if one == number]
        assert row[: len(wanted)].tolist() == wanted
        assert not row[len(wanted) :].any()


@given(groups_of_tokens)
def test_places_count_from_0_in_every_group(groups):
    place, counts = places_in_groups(torch.tensor(groups), 6)
    assert place.tolist() == [groups[:number].count(one) for number, one in enumerate(groups)]
    assert counts.tolist() == [groups.count(one) for one in range(6)]


@given(groups_of_tokens)
def test_gradients_pass_through_padding_as_they_are(groups):
    tokens = tokens_of(len(groups)).requires_grad_()
    padded = Layout.of(torch.tensor(groups), groups=6).pad(tokens)
    weights = torch.randn(padded.shape, generator=torch.Generator().manual_seed(1))
    (padded * weights).sum().backward()
    assert torch.equal(tokens.grad, Layout.of(torch.tensor(groups), groups=6).pack(weights))


def test_empty_places_hold_what_is_asked_for():
    layout = Layout.of(torch.tensor([0, 1, 1]), groups=2)
    assert layout.pad(torch.tensor([5, 6, 7]), empty=1).tolist() == [[5, 1], [6, 7]]
    assert not layout.is_full
    assert Layout.of(torch.tensor([0, 0, 1, 1]), groups=2).is_full
    assert not Layout.of(torch.tensor([0, 1, 0, 1]), groups=2).is_full


def test_no_tokens_are_groups_of_padding():
    layout = Layout.of(torch.zeros(0, dtype=torch.long), groups=2)
    assert torch.equal(layout.pad(torch.zeros(0, 3)), torch.zeros(2, 1, 3))


def test_padding_keeps_no_tokens_and_does_not_break_what_is_compiled():
    layout, tokens = Layout.of(torch.tensor([0, 1, 1]), groups=2), tokens_of(3).requires_grad_()
    assert not layout.is_full  # found out before
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x) or x, lambda x: x):
        padded = layout.pad(tokens * 1.0)
    assert [one.dtype for one in kept] == [torch.int64]
    compiled = torch.compile(lambda x: layout.pad(x), fullgraph=True, backend="eager")
    assert torch.equal(compiled(tokens), padded)
