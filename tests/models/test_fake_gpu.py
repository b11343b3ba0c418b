"""Forward passes on tensors of a GPU that is not there: one that was made on the CPU by mistake fails."""

from contextlib import contextmanager
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from tests.models.conftest import VOCAB, image_batch, random_texts, region_batch, states_of, tiny_model
from x2vlm.data.batch import Batch
from x2vlm.data.tokenizer import bert_vocab
from x2vlm.evaluation.tasks.grounding import match_confidence
from x2vlm.gallery.reranking.rerank_key_values import matching_logits
from x2vlm.models.encode import TextIds, encode_text
from x2vlm.models.fusion import packed_texts
from x2vlm.models.generation.kv_cache import KVCache
from x2vlm.models.generation.rank_answers import AnswerReader
from x2vlm.models.layers import attention
from x2vlm.objectives.caption import CaptionReader

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
    monkeypatch.setattr(attention, "_cached_choice", lambda *_: "sdpa")
    monkeypatch.setattr(packed_texts, "fetch", lambda tensors: [np.zeros(len(one), np.int64) for one in tensors])

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


def test_texts_and_images_are_encoded_where_the_model_is(fake_gpu):
    batch, ids, mask = region_batch(), *(random_texts(3)[name] for name in ("text_ids", "text_mask"))
    host, host_mask, model = batch.on_host(), mask.numpy().copy(), tiny_model().eval()
    with fake_gpu() as device, torch.no_grad():
        model = model.to(device)
        text = encode_text(model, TextIds(ids.to(device), mask.to(device), None, host_mask, has_feature=True))
        context = model.encode_context(moved(batch, device, host))
    assert {text.feat.device, context.feat.device, context.tokens.device} == {torch.device("cuda", 0)}


def test_pairs_are_matched_where_the_model_is(fake_gpu):
    net = tiny_model().eval()
    with torch.no_grad():
        encoded = net.encode(region_batch())
    texts = replace(encoded.text, host_mask=encoded.text.mask.numpy().copy())
    which, index = np.arange(5).repeat(5), np.tile(np.arange(5), 5)
    with fake_gpu() as device, torch.no_grad():
        logits = matching_logits(net.to(device), encoded.context, which, texts, index, chunk=6)
    assert logits.shape == (25, 2) and logits.device.type == "cpu"


def test_boxes_classes_and_questions_are_read_where_the_model_is(fake_gpu):
    objectives = {name: OBJECTIVES[name] for name in ("bbox", "itm", "classification", "answer")}
    batch, model = region_batch(), tiny_model(objectives=objectives).eval()
    host = batch.on_host()
    with fake_gpu() as device, torch.no_grad():
        encoded = model.to(device).encode(moved(batch, device, host))
        boxes = model.objectives["bbox"].box(states_of(model, "bbox", encoded))
        confidence = match_confidence(model, encoded)
        objective = model.objectives["classification"]
        classes = objective.logits(encoded, model.read(objective.requests(encoded)))
        (questions,) = model.read(model.objectives["answer"].requests(encoded))
        decoder = model.objectives["answer"].decoder
        reader = AnswerReader(decoder, decoder.project(questions.states), questions.request.text.mask)
        start = torch.full((5, 1), 2, device=device)
        words = reader(start, torch.arange(5, device=device))
        words = reader(start.expand(-1, 2), torch.arange(5, device=device))
    assert {one.device.type for one in (boxes, confidence, classes, words)} == {"cuda"}


@pytest.mark.parametrize("cached", [True, False])
def test_captions_are_read_where_the_model_is(cached, fake_gpu):
    tokenizer = bert_vocab(["a", "picture", "of", *(f"word{i}" for i in range(VOCAB - 8))])
    objectives = dict(caption=dict(type="CaptionGeneration", tokenizer=tokenizer))
    batch = Batch(None, None, pixels=image_batch().pixels, owner=torch.arange(4))
    host, model = batch.on_host(), tiny_model(objectives=objectives).eval()
    with fake_gpu() as device, torch.no_grad():
        encoded = model.to(device).encode(moved(batch, device, host))
        head = model.objectives["caption"]
        reader = CaptionReader(head, model, encoded, KVCache() if cached else None)
        ids = torch.tensor([head.start_ids], device=device).expand(4, -1)
        first = reader(ids, torch.arange(4, device=device))
        rows = torch.arange(4, device=device)[:, None].expand(-1, 3).flatten()
        second = reader(torch.cat([ids[rows], ids[rows, :1]], dim=1), rows)
    assert (first.shape, second.shape) == ((4, VOCAB), (12, VOCAB))
    assert first.device.type == second.device.type == "cuda"


def test_a_batch_that_moves_keeps_in_main_memory_what_is_planned_with(fake_gpu):
    batch = region_batch()
    host = batch.on_host()
    assert {one.name for one in fields(Batch)} >= set(host._fields)
    assert np.array_equal(host.owner, batch.owner.numpy())
    with fake_gpu() as device:
        assert moved(batch, device, host).on_host() is host
