from copy import deepcopy

import pytest
import torch
from timm.layers import drop_path
from timm.models import beit

from x2vlm.models.vision.beit2_blocks import RelativeBlock, add_dropped

IMAGES, RATE = 3, 0.5


def blocks():
    """timm's, and ours with the same weights; what begins as zeros does not."""
    torch.manual_seed(0)
    theirs = beit.Block(8, num_heads=2, qkv_bias=True, drop_path=RATE, init_values=0.5, window_size=(2, 2))
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    ours = RelativeBlock(deepcopy(theirs), (2, 2), attention="auto")
    ours.load_state_dict(theirs.state_dict())
    return theirs, ours


def kept_of(seed):
    """How many images stochastic depth keeps, in either branch."""
    torch.manual_seed(seed)
    return [int(torch.empty(IMAGES, 1, 1).bernoulli_(1 - RATE).sum()) for _ in range(2)]


def found(block, seed):
    images = torch.randn(IMAGES, 5, 8, generator=torch.Generator().manual_seed(7)).requires_grad_()
    block.zero_grad()
    torch.manual_seed(seed)
    out = block(images)
    (out * torch.linspace(-1, 1, out.numel()).view_as(out)).sum().backward()
    zero = {name: torch.zeros_like(p) for name, p in block.named_parameters()}
    grads = {name: p.grad for name, p in block.named_parameters() if p.grad is not None}
    return {"out": out.detach(), "images": images.grad} | zero | grads


@pytest.mark.parametrize("training", [True, False])
def test_values_and_gradients_are_those_of_timm_with_the_same_random_numbers(training):
    theirs, ours = (block.train(training) for block in blocks())
    seeds = range(16) if training else [0]
    drawn = {count for seed in range(16) for count in kept_of(seed)}
    assert drawn == set(range(IMAGES + 1))  # none, some and all images are dropped
    for seed in seeds:
        wanted, given = found(theirs, seed), found(ours, seed)
        assert wanted.keys() == given.keys()
        for name in wanted:
            torch.testing.assert_close(
                given[name], wanted[name], atol=1e-5, rtol=1e-5, msg=lambda m, n=name: f"{n}: {m}"
            )


def test_of_dropped_images_nothing_is_computed():
    _, ours = blocks()
    rows = []
    mix = ours.attn.mix
    ours.attn.mix = lambda qkv: rows.append(len(qkv)) or mix(qkv)
    for seed in range(8):
        torch.manual_seed(seed)
        ours.train()(torch.ones(IMAGES, 5, 8))
    assert rows == [kept_of(seed)[0] for seed in range(8) if kept_of(seed)[0]]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_branch_dropped_on_a_gpu_is_what_timm_drops_with_the_same_random_numbers(dtype):
    generator = torch.Generator().manual_seed(0)
    x, branch = torch.randn(6, 5, 8, generator=generator), torch.randn(6, 5, 8, generator=generator)
    x, branch = x.requires_grad_(), branch.to(dtype).requires_grad_()
    results = []
    for add in (lambda: x + drop_path(branch, RATE, training=True), lambda: add_dropped(x, branch / (1 - RATE), RATE)):
        torch.manual_seed(3)
        out = add()
        results.append((out, *torch.autograd.grad(out.square().sum(), [x, branch])))
    assert 0 < (results[0][0] == x).all(dim=(1, 2)).sum() < 6
    for wanted, given in zip(*results, strict=True):
        torch.testing.assert_close(given, wanted, atol=1e-5, rtol=1e-5)
