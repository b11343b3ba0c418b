"""Blocks of hidden patches: how many, how large, of what shape."""

import random

import numpy as np
import pytest
import torch

from x2vlm.data.batch import Sample
from x2vlm.data.collate.pair_collate import PairCollate
from x2vlm.data.tokenizer import bert_vocab
from x2vlm.data.transforms.images.patch_masking import MaskPatches, block_mask
from x2vlm.data.transforms.pack_sample import PackSample


def test_exactly_as_many_patches_are_hidden_as_requested(seed):
    for _ in range(50):
        masked = MaskPatches()({"where": "a"})["masked_patches"]
        assert masked.shape == (196,)
        assert masked.sum() == 75


@pytest.mark.parametrize("num_masked", [0, 1, 10, 24])
def test_small_grids_and_every_number_work(num_masked):
    for start in range(20):
        assert block_mask((4, 6), num_masked, 4, (0.3, 3.3), random.Random(start)).sum() == num_masked


def test_patches_are_hidden_in_blocks():
    """Neighbours of a hidden patch are hidden far more often than by chance (75 / 196)."""
    rng, near = random.Random(0), []
    for _ in range(30):
        masked = block_mask((14, 14), 75, 16, (0.3, 1 / 0.3), rng)
        near.append((masked[1:] & masked[:-1]).sum() / masked[:-1].sum())
    assert np.mean(near) > 0.65


def blocks(monkeypatch, **changes):
    """Height and width of every block that was taken."""
    from x2vlm.data.transforms.images import patch_masking

    taken, choose = [], patch_masking._fitting_block

    def noting(*args):
        block = choose(*args)
        if block is not None:
            taken.append(tuple(part.stop - part.start for part in block))
        return block

    monkeypatch.setattr(patch_masking, "_fitting_block", noting)
    for start in range(40):
        block_mask((14, 14), 75, 16, (0.3, 1 / 0.3), random.Random(start))
    return np.array(taken)


def test_blocks_have_the_size_and_shape_that_was_requested(monkeypatch):
    sizes = blocks(monkeypatch)
    assert len(sizes) > 80
    assert sizes.prod(1).min() >= 12  # 16 before sides are rounded to whole patches
    ratios = sizes[:, 0] / sizes[:, 1]
    assert 0.2 < ratios.min() < 0.5 < 2 < ratios.max() < 5
    assert np.log(ratios).mean() == pytest.approx(0, abs=0.15)  # neither tall nor wide on average


def test_hidden_patches_reach_the_batch():
    samples = []
    for number in range(3):
        record = {"where": f"{number}", "frames": [np.zeros((28, 28, 3), np.uint8)], "texts": ["a"], "ids": ["a"]}
        record |= {"has_box": [False], "boxes_xyxy_px": np.zeros((1, 4), np.float32)}
        samples.append(PackSample()(MaskPatches(grid=2, num_masked=1, min_block=1)(record)))
    assert isinstance(samples[0], Sample)
    batch = PairCollate(bert_vocab(["a"]), masking=None)(samples)
    assert batch.masked_patches.shape == (3, 4)
    assert batch.masked_patches.dtype == torch.bool
    assert batch.masked_patches.sum(1).tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(num_masked=197), "num_masked is 197; expected 0 to all patches"),
        (dict(min_block=0), "min_block is 0"),
        (dict(aspect=(2.0, 1.0)), r"aspect is \(2.0, 1.0\)"),
    ],
)
def test_numbers_without_meaning_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        MaskPatches(**options)
