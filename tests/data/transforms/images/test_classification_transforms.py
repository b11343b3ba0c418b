"""How images of a classification task are trained and tested."""

import numpy as np
import pytest
import torch

from x2vlm.data.batch import Sample
from x2vlm.data.collate.mixup_collate import MixCollate
from x2vlm.data.tokenizer import bert_vocab
from x2vlm.data.transforms.images.classification_transforms import CenterCrop, RandomErasing, TimmAugment

TOKENIZER = bert_vocab(["a"])


def images(*labels):
    return [Sample(f"i{n}", [], torch.full((3, 8, 8), float(n)), labels=[label]) for n, label in enumerate(labels)]


def test_mixed_images_have_the_mixed_weights_of_their_classes(seed):
    batch = MixCollate(TOKENIZER, num_classes=4, cutmix=0.0, smoothing=0.0)(images(0, 3))
    share = batch.label_weights[0, 0]
    assert 0 < share < 1
    torch.testing.assert_close(batch.label_weights[0], torch.tensor([share, 0, 0, 1 - share]))
    torch.testing.assert_close(batch.pixels[0, 0, 0, 0], 1 - share)  # image 0 is black, image 1 is all ones
    assert batch.labels is None


def test_cutmix_takes_a_rectangle_and_weighs_by_its_area(seed):
    batch = MixCollate(TOKENIZER, num_classes=2, mixup=0.0, smoothing=0.0)(images(0, 1))
    area = (batch.pixels[0, 0] == 1).float().mean()
    torch.testing.assert_close(batch.label_weights[0, 1], area)


def test_labels_are_smoothed_and_every_row_sums_to_one(seed):
    batch = MixCollate(TOKENIZER, num_classes=10, smoothing=0.1)(images(0, 1, 2))
    torch.testing.assert_close(batch.label_weights.sum(dim=1), torch.ones(3))
    assert batch.label_weights[2].tolist() == pytest.approx([0.01] * 2 + [0.91] + [0.01] * 7)
    assert (batch.pixels[2] == 2).all()  # the odd one stays as it is


def test_a_class_beyond_the_last_one_is_told():
    with pytest.raises(ValueError, match="class 4 is not below num_classes=4"):
        MixCollate(TOKENIZER, num_classes=4)(images(0, 4))


def test_the_middle_of_the_shorter_side_is_tested():
    frame = np.zeros((256, 512, 3), np.uint8)
    frame[:, 256:] = 200
    made = CenterCrop(224).transform({"where": "a", "frames": [frame]})["frames"][0]
    assert made.shape == (224, 224, 3)
    assert (made[:, :100] == 0).all()
    assert (made[:, 124:] == 200).all()


def test_erasing_fills_a_rectangle_of_a_finished_sample(seed):
    sample = Sample("a", [], torch.ones(3, 32, 32))
    erased = RandomErasing(prob=1.0).transform(sample).pixels
    assert 0 < (erased != 1).float().mean() < 0.5
    with pytest.raises(ValueError, match="put it after PackSample"):
        RandomErasing().transform({"where": "a"})


def test_a_policy_of_timm_changes_images_and_keeps_their_size(seed):
    frame = np.random.randint(0, 255, (16, 16, 3), dtype=np.uint8)
    augment = TimmAugment("rand-m9-mstd0.5-inc1", size=16)
    made = [augment.transform({"where": "a", "frames": [frame]})["frames"][0] for _ in range(8)]
    assert {one.shape for one in made} == {frame.shape}
    assert any(not np.array_equal(one, frame) for one in made)
