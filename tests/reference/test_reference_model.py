from dataclasses import replace

import pytest
import torch

from tests.models.conftest import VOCAB, encoded_for, image_batch, random_texts, region_batch, tiny_model
from x2vlm.data.batch import Batch
from x2vlm.engine.step_plan import split_into_passes
from x2vlm.engine.total_loss import compute_losses
from x2vlm.objectives import itm
from x2vlm.reference.reference_model import ReferenceModel

OBJECTIVES = dict(
    itc=dict(type="ITC", positives="pairs"),
    itm=dict(type="ITM", positives="pairs"),
    mlm=dict(type="MLM"),
    bbox=dict(type="BBox"),
)
BERT = dict(model_type="bert", vocab_size=VOCAB, hidden_size=8, num_hidden_layers=2, num_attention_heads=2)
SIZES = dict(intermediate_size=16, max_position_embeddings=16)


def model_without_dropout(**changes):
    """Fresh, in training mode; nothing is dropped."""
    parts = dict(
        vision_encoder=dict(
            type="BEiT2", image_size=16, patch_size=8, width=16, depth=2, num_heads=2, drop_path=0.0, layer_scale=0.5
        ),
        text_encoder=dict(type="HFTextEncoder", config={**BERT, **SIZES}, dropout=0.0),
        fusion_encoder=dict(type="CrossAttentionFusion", depth=2, num_heads=2, init_std=0.3, dropout=0.0),
        objectives=OBJECTIVES,
    )
    model = tiny_model(**{**parts, **changes}).train()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():  # tables and biases that begin as zeros would hide mistakes
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
        model.temperature.fill_(0.1)
    return model


def sentence_model():
    return model_without_dropout(
        vision_encoder=None, num_frames=0, objectives={n: c for n, c in OBJECTIVES.items() if n != "bbox"}
    )


def sentence_batch():
    other = random_texts(4, seed=1)
    masked, mask = other["masked_ids"], other["text_mask"]
    return replace(
        Batch(**random_texts(4)),
        context_ids=other["text_ids"],
        context_text_mask=mask,
        owner=torch.arange(4),
        masked_ids=masked,
        mlm_labels=other["mlm_labels"],
    )


def video_batch():
    batch = image_batch(3)
    batch.pixels = torch.randn(3, 3, 3, 16, 16, generator=torch.Generator().manual_seed(2))
    return batch


def one_region():
    batch = region_batch()
    several = {n: v[:2] for n, v in vars(batch).items() if isinstance(v, torch.Tensor) and n != "pixels"}
    return replace(batch, **several | {"has_box": torch.tensor([True, False])})


def many_regions_of_one_image():
    batch = region_batch()
    return replace(batch, pixels=batch.pixels[:1], owner=torch.zeros(5, dtype=torch.long))


STREAMS = {
    "image": (image_batch, ["itc", "itm", "mlm"]),
    "region": (region_batch, ["itc", "itm", "mlm", "bbox"]),
    "one region": (one_region, ["itc", "itm", "mlm", "bbox"]),
    "many regions of one image": (many_regions_of_one_image, ["itc", "itm", "mlm", "bbox"]),
    "video": (video_batch, ["itc", "itm", "mlm"]),
    "text": (lambda: Batch(**random_texts(4)), ["mlm"]),
    "parallel": (sentence_batch, ["itc", "itm", "mlm"]),
}


def library_losses(model, batch, objectives, negatives):
    encoded, losses = encoded_for(model, batch), {}
    for name in objectives:
        objective = model.objectives[name]
        requests = [objective.request(encoded, *negatives)] if name == "itm" else objective.requests(encoded)
        losses |= objective.losses(encoded, model.read(requests))
    return losses


def gradients(model, losses):
    model.zero_grad()
    sum(losses.values()).backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("stream", STREAMS)
def test_losses_and_gradients_of_the_reference_path_are_those_of_the_library(stream):
    make, objectives = STREAMS[stream]
    batch = make()
    model = sentence_model() if stream == "parallel" else model_without_dropout()
    own = torch.arange(len(batch))
    negatives = own.roll(1), own.roll(-1)
    ours = library_losses(model, batch, objectives, negatives)
    reference = ReferenceModel(model, max_tokens=11, max_masks=3)
    theirs = reference.losses(batch, objectives, tuple(rows.tolist() for rows in negatives))
    assert ours.keys() == theirs.keys()
    for name in ours:
        torch.testing.assert_close(ours[name], theirs[name], atol=1e-5, rtol=1e-5)
    ours, theirs = gradients(model, ours), gradients(model, theirs)
    assert ours.keys() == theirs.keys()
    for name in ours:
        torch.testing.assert_close(
            ours[name], theirs[name], atol=1e-5, rtol=1e-5, msg=lambda m, name=name: f"{name}: {m}"
        )


def captions_of_one_image():
    """Two captions of one image, two of another, and an image without a text."""
    batch = image_batch(4, seed=3)
    return replace(batch, pixels=batch.pixels[:3], owner=torch.tensor([0, 0, 2, 2]))


def shorter(make, length, seed):
    """The same images with texts of another length."""
    batch = make()
    return replace(batch, **random_texts(len(batch), length=length, seed=seed))


def one_pair():
    batch = region_batch()
    alone = {n: v[:1] for n, v in vars(batch).items() if isinstance(v, torch.Tensor) and n != "pixels"}
    return replace(batch, **alone)


PAIRED = ["itc", "itm", "mlm"]
TOGETHER = {
    "all but videos": {
        "image": (image_batch, PAIRED),
        "region": (lambda: shorter(region_batch, 9, 4), [*PAIRED, "bbox"]),
        "text": (lambda: Batch(**random_texts(4, length=5, seed=5)), ["mlm"]),
        "parallel": (sentence_batch, PAIRED),
    },
    "with videos": {
        "video": (video_batch, PAIRED),
        "image": (lambda: shorter(image_batch, 8, 6), PAIRED),
        "parallel": (sentence_batch, PAIRED),
    },
    "captions of one image, and regions of one": {
        "image": (captions_of_one_image, PAIRED),
        "region": (many_regions_of_one_image, [*PAIRED, "bbox"]),
        "text": (lambda: Batch(**random_texts(2, length=10, seed=7)), ["mlm"]),
    },
    "one region": {"image": (captions_of_one_image, PAIRED), "region": (one_region, [*PAIRED, "bbox"])},
    "one pair": {"image": (image_batch, ["itc"]), "region": (one_pair, ["itc", "mlm", "bbox"])},
    "a pair without negatives": {"image": (image_batch, PAIRED), "region": (one_pair, [*PAIRED, "bbox"])},
}


@pytest.fixture
def next_pair_is_the_negative(monkeypatch):
    def draw(weights):
        return torch.where(weights.sum(dim=1) > 0, torch.arange(len(weights)).roll(1), -1)

    monkeypatch.setattr(itm, "draw", draw)


def in_passes_of(model, batches, objectives, passes):
    losses = {}
    for names in split_into_passes(batches, passes):
        found = compute_losses(model, {name: batches[name] for name in names}, objectives)
        losses |= {f"{name}.{key}": value for name, own in found.items() for key, value in own.items()}
    return losses


def by_the_plain_path(model, batches, objectives):
    losses, reference = {}, ReferenceModel(model, max_tokens=11, max_masks=3)
    for name, batch in batches.items():
        own = torch.arange(len(batch)).roll(1).tolist()
        found = reference.losses(batch, objectives[name], (own, own))
        losses |= {f"{name}.{key}": value for key, value in found.items()}
    return losses


@pytest.mark.usefixtures("next_pair_is_the_negative")
@pytest.mark.parametrize("kind", TOGETHER)
def test_streams_together_are_the_streams_one_by_one_and_the_reference_path(kind):
    vision = dict(type="BEiT2", image_size=16, patch_size=8, width=8, depth=2, num_heads=2, layer_scale=0.5)
    model = model_without_dropout(vision_encoder=vision | {"drop_path": 0.0})  # as wide as texts, for parallel ones
    batches = {name: make() for name, (make, _) in TOGETHER[kind].items()}
    objectives = {name: names for name, (_, names) in TOGETHER[kind].items()}
    others = [in_passes_of(model, batches, objectives, "by_stream")]
    if kind != "a pair without negatives":  # the reference path always has one
        others.append(by_the_plain_path(model, batches, objectives))
    ours = in_passes_of(model, batches, objectives, "together")
    ours_backward = gradients(model, ours)
    for theirs in others:
        assert ours.keys() == theirs.keys()
        for name in ours:
            torch.testing.assert_close(ours[name], theirs[name], atol=1e-5, rtol=1e-5)
        theirs_backward = gradients(model, theirs)
        assert ours_backward.keys() == theirs_backward.keys()
        for name, grad in ours_backward.items():
            wanted = theirs_backward[name]
            torch.testing.assert_close(grad, wanted, atol=1e-5, rtol=1e-5, msg=lambda m, n=name: f"{n}: {m}")


def test_keys_are_projected_once_in_a_layer_for_each_source():
    vision = dict(type="BEiT2", image_size=16, patch_size=8, width=8, depth=2, num_heads=2)
    model, calls = model_without_dropout(vision_encoder=vision), []
    for number, layer in enumerate(model.fusion_encoder.layer):
        layer.crossattention.key.register_forward_hook(lambda *args, n=number: calls.append(n))
    streams = TOGETHER["all but videos"]
    batches = {name: make() for name, (make, _) in streams.items()}
    model(batches, objectives={name: names for name, (_, names) in streams.items()})
    # Sources: images of captions, images of regions, sentences, and the texts that masked sentences attend to.
    assert calls == [0] * 4 + [1] * 4


def test_the_reference_path_draws_no_true_pair_and_likes_similar_ones():
    model = model_without_dropout()
    feats = torch.nn.functional.normalize(torch.tensor([[1.0, 0.0], [1.0, 0.1], [-1.0, 0.0]]), dim=-1)
    torch.manual_seed(0)
    for _ in range(20):
        contexts, texts = ReferenceModel(model).draw(feats, feats)
        assert contexts[:2] == texts[:2] == [1, 0]


def test_a_vision_encoder_without_a_reference_path_is_named():
    model = tiny_model()
    model.vision_encoder = torch.nn.Identity()
    with pytest.raises(ValueError, match="BEiT2 only, and the vision encoder is Identity"):
        ReferenceModel(model)
