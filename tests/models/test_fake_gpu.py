"""Forward passes on tensors of a GPU that is not there: one that was made on the CPU by mistake fails."""

from contextlib import contextmanager
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from tests.models.conftest import VOCAB, image_batch, random_texts, region_batch, tiny_model
from x2vlm.data.batch import Batch
from x2vlm.models.fusion import tokens
from x2vlm.models.layers import attention

OBJECTIVES = {
    "itc": dict(type="ITC", positives="ids_and_texts"),
    "itm": dict(type="ITM"),
    "mlm": dict(type="MLM"),
    "text_mlm": dict(type="TextMLM"),
    "bbox": dict(type="BBox"),
    "mim": dict(type="MIM"),
    "answer": dict(type="AnswerGeneration", decoder=dict(depth=1, num_heads=2, mlp_width=16, max_positions=16)),
    "classification": dict(type="Classification", num_classes=3),
}


@pytest.fixture
def fake_gpu(monkeypatch):
    """Inside, ``cuda:0`` is there, without numbers; what is drawn on it is always the first."""
    monkeypatch.setattr(attention, "_chosen", lambda *_: "sdpa")
    monkeypatch.setattr(tokens, "fetch", lambda tensors: [np.zeros(len(one), np.int64) for one in tensors])

    @contextmanager
    def mode():
        with FakeTensorMode(allow_non_fake_inputs=True):
            yield torch.device("cuda", 0)

    return mode


def moved(batch, device, host):
    return replace(batch.to(device), host=host)


def clips():
    batch = image_batch()
    batch.pixels = batch.pixels[:, None].repeat(1, 3, 1, 1, 1)
    return batch


def answered():
    batch = image_batch()
    ids = torch.randint(5, VOCAB, (5, 4))
    batch.answer_ids, batch.answer_mask = ids, torch.ones_like(ids, dtype=torch.bool)
    batch.answer_owner, batch.answer_weights = torch.tensor([0, 0, 1, 2, 3]), torch.ones(5)
    return batch


def labelled():
    batch = image_batch()
    batch.labels = torch.tensor([0, 1, 2, -100])
    return batch


def hidden():
    batch = image_batch()
    batch.masked_patches = torch.tensor([[True, False, True, False]]).expand(4, 4)
    return batch


def sentences():
    texts, others = random_texts(4), random_texts(3, seed=3)
    batch = Batch(**texts, owner=torch.tensor([0, 1, 1, 2]), ids=torch.arange(4))
    batch.context_ids, batch.context_text_mask = others["text_ids"], others["text_mask"]
    batch.masked_ids = batch.context_ids[batch.owner]
    return batch


STREAMS = {
    "image": (image_batch, ["itc", "itm", "mlm", "text_mlm"]),
    "region": (region_batch, ["itc", "itm", "mlm", "bbox"]),
    "video": (clips, ["itc", "itm", "mlm"]),
    "text": (lambda: Batch(**random_texts(4)), ["mlm"]),
    "parallel": (sentences, ["itc", "itm", "mlm"]),
    "answers": (answered, ["answer"]),
    "classes": (labelled, ["classification"]),
    "hidden patches": (hidden, ["mim"]),
}
MODELS = {
    "BEiT2": dict(type="BEiT2", image_size=16, patch_size=8, width=16, depth=2, num_heads=2, mask_token=True),
    "CLIPViT": dict(type="CLIPViT", image_size=16, patch_size=8, width=16, depth=3, num_heads=2, local_attn_depth=1),
}


@pytest.mark.parametrize("shapes", ["exact", "auto"])
@pytest.mark.parametrize("vision", MODELS)
@pytest.mark.parametrize("stream", STREAMS)
def test_losses_of_every_objective_are_computed_where_the_batch_is(stream, vision, shapes, fake_gpu):
    make, objectives = STREAMS[stream]
    if vision == "CLIPViT" and stream != "region":
        pytest.skip("it is regions that CLIPViT reads in a way of its own")
    towers = dict(vision_encoder=MODELS[vision], objectives=OBJECTIVES, shapes=shapes)
    if stream == "parallel":
        towers |= dict(vision_encoder=None, num_frames=0)
    model, batch = tiny_model(**towers).train(), make()
    host = batch.on_host()
    with fake_gpu() as device:
        losses = model.to(device)(moved(batch, device, host), objectives=objectives)
    assert {value.device.type for value in losses.values()} == {"cuda"}
    assert len(losses) == len(objectives) + ("bbox" in objectives)


def test_streams_go_through_together(fake_gpu):
    model, streams = tiny_model().train(), {"image": image_batch(), "region": region_batch()}
    hosts = {name: batch.on_host() for name, batch in streams.items()}
    with fake_gpu() as device:
        batches = {name: moved(batch, device, hosts[name]) for name, batch in streams.items()}
        losses = model.to(device)(batches, objectives={"image": ["itc", "itm", "mlm"], "region": None})
    assert len(losses["image"]) == 3 and len(losses["region"]) == 5


def test_a_batch_that_moves_keeps_in_main_memory_what_is_planned_with(fake_gpu):
    batch = region_batch()
    host = batch.on_host()
    assert {one.name for one in fields(Batch)} >= set(host._fields)
    assert np.array_equal(host.owner, batch.owner.numpy())
    with fake_gpu() as device:
        assert moved(batch, device, host).on_host() is host
