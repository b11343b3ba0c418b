"""A tiny model, and batches of random images."""

from types import SimpleNamespace

import pytest
import torch

from x2vlm.data.batch import Batch

WORDS = 30


@pytest.fixture
def model(seed):
    from x2vlm.models import X2VLM

    vision = dict(
        type="TimmVisionEncoder",
        name="vit_tiny_patch16_224",
        image_size=8,
        options=dict(patch_size=4, embed_dim=8, depth=1, num_heads=2),
    )
    text = dict(
        model_type="bert",
        vocab_size=WORDS,
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=8,
    )
    net = X2VLM(
        vision_encoder=vision,
        text_encoder=dict(type="HFTextEncoder", config=text),
        fusion_encoder=dict(type="CrossAttentionFusion", depth=2, num_heads=2, mlp_width=8),
        objectives=dict(itc=dict(type="ITC"), itm=dict(type="ITM"), bbox=dict(type="BBox")),
        embed_dim=4,
        num_frames=2,
    )
    with torch.no_grad():  # BERT's initial weights are so small that all scores would be nearly equal
        for parameter in net.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return net.eval()


def make_batch(owner, ids, pixels=None, boxes=None, seed=0, first=0):
    """Pairs with different texts of two to five tokens; images are numbered from ``first``."""
    rng = torch.Generator().manual_seed(1000 * seed + first)
    owner, pairs = torch.tensor(owner), len(owner)
    lengths = torch.randint(2, 6, (pairs,), generator=rng)
    mask = torch.arange(int(lengths.max())) < lengths[:, None]
    if pixels is None:
        pixels = torch.randn(int(owner.max()) + 1, 3, 8, 8, generator=rng)
    whole = torch.tensor([[0.0, 0.0, 1.0, 1.0]]).repeat(pairs, 1)
    return Batch(
        text_ids=torch.randint(1, WORDS, mask.shape, generator=rng) * mask,
        text_mask=mask,
        pixels=pixels,
        owner=owner,
        boxes_xyxy=whole if boxes is None else torch.tensor(boxes),
        has_box=torch.full((pairs,), boxes is not None),
        ids=torch.tensor(ids),
        where=[f"data:{first + int(o)}" for o in owner],
        texts=[f"text {first + i}" for i in range(pairs)],
    )


def clips(count, seed=0):
    return torch.randn(count, 2, 3, 8, 8, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def make():
    """``make.batch(...)`` and ``make.clips(...)``."""
    return SimpleNamespace(batch=make_batch, clips=clips)


@pytest.fixture
def images(make):
    """Six images, two captions for each of the first two; the second caption of the last comes in a later batch."""
    return [
        make.batch([0, 0, 1, 1, 2], [10, 10, 11, 11, 12]),
        make.batch([0, 1, 2, 3], [13, 14, 15, 12], first=3),
    ]


@pytest.fixture
def regions(make):
    """Two images with three regions each; every region is a context of its own."""
    boxes = [[0.0, 0.0, 0.5, 0.5], [0.5, 0.0, 1.0, 1.0], [0.0, 0.5, 1.0, 1.0]] * 2
    return [make.batch([0, 0, 0, 1, 1, 1], [1, 2, 3, 4, 5, 6], boxes=boxes)]


@pytest.fixture
def videos(make):
    """Four clips of two frames."""
    return [make.batch([0, 1], [1, 2], make.clips(2)), make.batch([0, 1], [3, 4], make.clips(2, seed=1), first=2)]
