from dataclasses import fields

import pytest
import torch

from x2vlm.benchmark.workloads import training_workloads
from x2vlm.benchmark.workloads.model_sizes import MASK_ID, MASKS, OBJECTIVES, SIZES, make_model
from x2vlm.benchmark.workloads.varied_batches import CAPTIONS, PHRASES, on_device, varied_batches
from x2vlm.benchmark.workloads.workload import Scale
from x2vlm.objectives import itm
from x2vlm.reference.reference_model import ReferenceModel

TINY = SIZES["tiny"]


def tensors(batch):
    return {f.name: getattr(batch, f.name) for f in fields(batch) if isinstance(getattr(batch, f.name), torch.Tensor)}


@pytest.fixture(scope="module")
def batches():
    return varied_batches(TINY, 40, 30)


def test_the_same_seed_gives_the_same_batches_and_another_one_others(batches):
    again, other = varied_batches(TINY, 40, 30), varied_batches(TINY, 40, 30, seed=1)
    for ours, same, different in zip(batches, again, other, strict=True):
        for name in ours:
            assert all(torch.equal(t, tensors(same[name][0])[key]) for key, t in tensors(ours[name][0]).items())
            assert not torch.equal(ours[name][0].text_mask.sum(1), different[name][0].text_mask.sum(1))


@pytest.mark.parametrize(("stream", "lengths"), [("image", CAPTIONS), ("region", PHRASES)])
def test_texts_have_the_lengths_of_real_ones(batches, stream, lengths):
    tokens = torch.cat([streams[stream][0].text_mask.sum(dim=1) for streams in batches]).float()
    assert (tokens.min() >= lengths.least) and (tokens.max() <= lengths.greatest)
    assert tokens.mean() == pytest.approx(lengths.mean, abs=0.3)
    assert tokens.std() == pytest.approx(lengths.deviation, abs=0.4)


def test_texts_begin_and_end_and_a_share_of_their_words_is_guessed(batches):
    for streams in batches:
        for batch, _ in streams.values():
            lengths, guesses = batch.text_mask.sum(dim=1), batch.mlm_labels != -100
            assert (batch.text_ids[:, 0] == 2).all()
            assert (batch.text_ids.gather(1, lengths[:, None] - 1) == 3).all()
            assert not batch.text_ids[~batch.text_mask].any()
            assert torch.equal(guesses.sum(dim=1), (batch.masked_ids == MASK_ID).sum(dim=1))
            assert (guesses.sum(dim=1) >= 1).all()
            assert guesses.shape[1] <= MASKS
            rows = guesses.nonzero()[:, 0]
            positions = batch.mlm_positions[guesses]
            assert (batch.masked_ids[rows, positions] == MASK_ID).all()
            assert torch.equal(batch.text_ids[rows, positions], batch.mlm_labels[guesses])
            assert ((positions > 0) & (positions < lengths[rows] - 1)).all()
    words = torch.cat([streams["image"][0].text_mask.sum(dim=1) - 2 for streams in batches]).sum()
    guessed = sum(int((streams["image"][0].mlm_labels != -100).sum()) for streams in batches)
    assert 0.17 < guessed / words < 0.23


def test_regions_lie_on_a_number_of_images_that_varies_at_least_one_on_each(batches):
    counts = set()
    for streams in batches:
        batch, _ = streams["region"]
        assert torch.equal(batch.owner.unique(), torch.arange(len(batch.pixels)))
        counts.add(len(batch.pixels))
    assert min(counts) >= 8
    assert max(counts) <= 20
    assert len(counts) > 5


def test_batches_share_their_pixels_on_a_device_too(batches):
    for name in ("image", "region"):
        moved = on_device(batches, "cpu")
        assert len({streams[name][0].pixels.data_ptr() for streams in moved}) == 1
        assert all(
            torch.equal(ours[name][0].pixels, theirs[name][0].pixels)
            for ours, theirs in zip(batches, moved, strict=True)
        )


def test_both_sides_have_the_same_losses_and_gradients_in_every_shape(monkeypatch):
    monkeypatch.setattr(itm, "draw", lambda weights: torch.arange(len(weights)).roll(1))
    monkeypatch.setattr(
        ReferenceModel, "draw", lambda self, *feats: (torch.arange(len(feats[0])).roll(1).tolist(),) * 2
    )
    model = make_model(TINY, TINY.image, dropout=0.0).train()
    reference = ReferenceModel(model, 40, MASKS)
    for streams in varied_batches(TINY, 6, 3):
        found = []
        for losses, computed_by in (
            (training_workloads.library_losses, model),
            (training_workloads.reference_losses, reference),
        ):
            model.zero_grad()
            total = losses(computed_by, streams, list(OBJECTIVES))
            total.backward()
            found.append((total.detach(), [p.grad.clone() for p in model.parameters() if p.grad is not None]))
        (ours, our_grads), (theirs, their_grads) = found
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(our_grads, their_grads, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("side", ["library", "reference"])
def test_a_pass_updates_the_weights_in_every_step(side, monkeypatch):
    updates = []
    monkeypatch.setattr(torch.optim.AdamW, "step", lambda self, *args, **kwargs: updates.append(self))
    (workload,) = training_workloads.training(Scale(TINY, pairs=4, batches=3))
    losses = getattr(workload, side)()
    assert len(losses) == len(workload.steps) == len(updates) == 3
    assert torch.stack(losses).isfinite().all()
