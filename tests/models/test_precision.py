"""bf16 autocast: the same losses and gradients, to the precision of bf16."""

import pytest
import torch

from tests.models.conftest import image_batch, region_batch, tiny_model


def text_batch():
    batch = image_batch()
    batch.pixels = batch.owner = None
    return batch


def parallel_batch():
    batch = text_batch()
    batch.context_ids, batch.context_text_mask = batch.text_ids, batch.text_mask
    batch.owner = torch.arange(len(batch.text_ids))
    return batch


def video_batch():
    batch = image_batch()
    batch.pixels = torch.randn(4, 3, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    return batch


WITHOUT_PICTURES = dict(vision_encoder=None, num_frames=0, objectives=dict(itc=dict(type="ITC"), mlm=dict(type="MLM")))
STREAMS = {
    "image": (image_batch, ("itc", "mlm")),
    "region": (region_batch, ("itc", "mlm", "bbox")),
    "video": (video_batch, ("itc", "mlm")),
    "text": (text_batch, ("mlm",)),
    "parallel": (parallel_batch, ("itc", "mlm")),
}


@pytest.mark.parametrize("stream", STREAMS)
def test_bf16_gives_the_losses_and_gradients_of_fp32_within_its_precision(stream):
    make, objectives = STREAMS[stream]
    results = []
    for enabled in (False, True):
        model = tiny_model(**(WITHOUT_PICTURES if stream == "parallel" else {}))
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            losses = model(make(), objectives=objectives)
        sum(losses.values()).backward()
        grads = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
        results.append((losses, grads))
    (exact, exact_grads), (half, half_grads) = results
    for name, loss in exact.items():
        torch.testing.assert_close(half[name].float(), loss, atol=2e-2, rtol=2e-2, msg=name)
    assert half_grads.shape == exact_grads.shape
    assert (half_grads - exact_grads).norm() < 0.05 * exact_grads.norm()
