"""Classes of fused texts, of texts alone and of images alone."""

import json

import pytest
import torch
from torch.nn import functional as F

from tests.models.conftest import image_batch, random_texts, tiny_model
from x2vlm.data.batch import Batch
from x2vlm.models.outputs import Context
from x2vlm.objectives.classification import Classification, weighted_cross_entropy


def classifier(**options):
    towers = options.pop("towers", {})
    return tiny_model(objectives=dict(classification=dict(type="Classification", **options)), embed_dim=None, **towers)


def two_pictures(count=3):
    """Each text reads images 2b and 2b + 1."""
    pixels = torch.randn(2 * count, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    return Batch(
        **random_texts(count),
        pixels=pixels,
        owner=torch.arange(2 * count),
        text_owner=torch.arange(count).repeat_interleave(2),
        labels=torch.tensor([0, 1, 1]),
    )


def logits_of(model, encoded):
    objective = model.objectives["classification"]
    return objective.logits(encoded, model.read(objective.requests(encoded)))


def naive_head(head, x):
    return head[3](F.gelu(F.layer_norm(head[0](x), (head[0].out_features,), head[1].weight, head[1].bias, 1e-5)))


def test_one_image_is_read_at_position_0_of_the_fused_text():
    model, batch = classifier(num_classes=5), image_batch()
    batch.labels = torch.tensor([4, 0, 2, 2])
    objective, encoded = model.objectives["classification"], model.encode(batch)
    fused = model.fusion_encoder(encoded.text, encoded.context)
    logits = naive_head(objective.head, fused[:, 0])
    torch.testing.assert_close(logits_of(model, encoded), logits)
    expected = -sum(logits.log_softmax(1)[b, label] for b, label in enumerate(batch.labels)) / 4
    torch.testing.assert_close(model(batch)["loss_classification"], expected)


def test_two_images_are_fused_one_by_one_and_concatenated_in_order():
    model, batch = classifier(num_classes=2, contexts=2), two_pictures()
    tokens, summary = model.encode_pixels(batch.pixels)
    text = model.encode_text(batch.text_ids, batch.text_mask)
    passes = []
    for which in (0, 1):  # two forward passes, as published
        chosen = torch.arange(which, 6, 2)
        key_mask = torch.ones(3, 4, dtype=torch.bool)
        passes.append(model.fusion_encoder(text, Context(tokens, chosen, key_mask, summary[chosen]))[:, 0])
    objective = model.objectives["classification"]
    logits = naive_head(objective.head, torch.cat(passes, dim=-1))
    torch.testing.assert_close(logits_of(model, model.encode(batch)), logits)
    torch.testing.assert_close(model(batch)["loss_classification"], F.cross_entropy(logits, batch.labels))


def test_the_order_of_the_two_images_matters():
    model, batch = classifier(num_classes=2, contexts=2), two_pictures()
    before = logits_of(model, model.encode(batch))
    batch.owner = batch.owner.view(3, 2).flip(1).flatten()
    assert not torch.allclose(logits_of(model, model.encode(batch)), before, atol=1e-3)


def test_texts_and_images_are_encoded_once_however_many_images_a_text_reads(monkeypatch):
    model, batch, calls = classifier(num_classes=2, contexts=2), two_pictures(), []
    encode = model.text_encoder.forward
    monkeypatch.setattr(model.text_encoder, "forward", lambda ids, mask: calls.append(len(ids)) or encode(ids, mask))
    model(batch)
    assert calls == [3]


def test_a_clip_is_classified_like_an_image():
    model, batch = classifier(num_classes=3), image_batch()
    batch.pixels = batch.pixels[:, None].repeat(1, 3, 1, 1, 1)
    batch.labels = torch.tensor([0, 1, 2, 0])
    encoded = model.encode(batch)
    expected = naive_head(
        model.objectives["classification"].head, model.fusion_encoder(encoded.text, encoded.context)[:, 0]
    )
    torch.testing.assert_close(logits_of(model, encoded), expected)


def test_plain_texts_are_fused_with_nothing():
    model = classifier(num_classes=3)
    batch = Batch(**random_texts(4), labels=torch.tensor([0, 1, 2, 0]))
    fused = model.fusion_encoder(model.encode_text(batch.text_ids, batch.text_mask), None)
    expected = F.cross_entropy(naive_head(model.objectives["classification"].head, fused[:, 0]), batch.labels)
    torch.testing.assert_close(model(batch)["loss_classification"], expected)


def test_texts_alone_need_neither_vision_nor_fusion():
    model = classifier(num_classes=3, reads="text", towers=dict(vision_encoder=None, fusion_encoder=None, num_frames=0))
    batch = Batch(**random_texts(4), labels=torch.tensor([0, 1, 2, 0]))
    embeds = model.text_encoder(batch.text_ids, batch.text_mask)
    expected = F.cross_entropy(naive_head(model.objectives["classification"].head, embeds[:, 0]), batch.labels)
    torch.testing.assert_close(model(batch)["loss_classification"], expected)


@pytest.mark.parametrize("head", ["two_layer", "linear"])
def test_images_alone_are_read_at_the_mean_of_their_patches(head):
    towers = dict(text_encoder=None, fusion_encoder=None, num_frames=0)
    model = classifier(num_classes=3, reads="context", head=head, towers=towers)
    pixels = image_batch().pixels
    labels = torch.tensor([0, 1, 2, 0])
    batch = Batch(text_ids=None, text_mask=None, pixels=pixels, owner=torch.arange(4), labels=labels)
    tokens, _ = model.vision_encoder(pixels)
    top = model.objectives["classification"].head
    logits = top(tokens.mean(1)) if head == "linear" else naive_head(top, tokens.mean(1))
    torch.testing.assert_close(model(batch)["loss_classification"], F.cross_entropy(logits, labels))


def test_texts_without_a_label_are_left_out_of_the_mean():
    objective = Classification(num_classes=3, width=4)
    logits, labels = torch.randn(4, 3), torch.tensor([1, -100, 2, -100])
    expected = F.cross_entropy(logits[[0, 2]], labels[[0, 2]])
    torch.testing.assert_close(objective.loss(logits, labels), expected)


@pytest.mark.parametrize("label", [-100, -100.0])
def test_a_batch_without_any_label_costs_nothing_and_stays_finite(label):
    logits = torch.randn(3, 1, requires_grad=True)
    loss = Classification(num_classes=1, width=4).loss(logits, torch.tensor([label] * 3))
    loss.backward()
    assert loss == 0
    assert torch.equal(logits.grad, torch.zeros(3, 1))


def test_several_right_answers_count_by_their_weights_over_the_number_of_texts():
    logits = torch.randn(2, 4)
    answers, weights = torch.tensor([1, 3, -100, 0]), torch.tensor([0.7, 0.2, 0.1, 1.0])
    owner = torch.tensor([0, 0, 0, 1])
    each = F.cross_entropy(logits[owner], answers, ignore_index=-100, reduction="none")  # the published way
    expected = (weights * each).sum() / 2
    table = torch.tensor([[0, 0.7, 0, 0.2], [1.0, 0, 0, 0]])
    torch.testing.assert_close(weighted_cross_entropy(logits, table), expected)
    torch.testing.assert_close(Classification(num_classes=4, width=4).loss(logits, label_weights=table), expected)


def test_numbers_are_regressed():
    predicted, labels = torch.tensor([[1.0], [4.0], [9.0]]), torch.tensor([2.0, 4.0, -100.0])
    loss = Classification(num_classes=1, width=4).loss(predicted, labels)
    assert loss.item() == pytest.approx(((1 - 2) ** 2 + 0) / 2)
    whole = Classification(num_classes=1, width=4).loss(predicted, torch.tensor([2, 4, -100]))
    assert whole == loss  # a batch whose numbers all happen to be whole


@pytest.mark.parametrize(
    ("published", "options"),
    [
        ("XVLMForNLVR", dict(num_classes=2, contexts=2)),
        ("XVLMForVQAClassification", dict(num_classes=11)),
        ("XVLMForClassification", dict(num_classes=11)),
    ],
)
def test_the_head_has_the_published_names_and_shapes(shared, published, options):
    names = json.loads((shared / "golden" / "state_dict_names.json").read_text())
    listed = {
        name.removeprefix("cls_"): shape for name, shape in names["tiny"][published] if name.startswith("cls_head.")
    }
    ours = Classification(width=48, **options).state_dict()
    assert listed == {name: list(value.shape) for name, value in ours.items()}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(reads="fussed"), r"'fussed'.*fused"),
        (dict(head="mlp"), "Accepted: two_layer, linear"),
        (dict(contexts=0), "counts from 1"),
        (dict(reads="text", text_width=4, contexts=2), "reads no context"),
        (dict(reads="context"), "no such encoder"),
    ],
)
def test_options_that_mean_nothing_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Classification(**{"num_classes": 2, "width": 4, **options})


def test_a_batch_that_shows_another_number_of_images_is_reported():
    model, batch = classifier(num_classes=2), two_pictures()
    with pytest.raises(ValueError, match=r"6 pairs .* for 3 texts, but contexts=1"):
        model(batch)


def test_missing_and_misfitting_labels_are_reported():
    objective = Classification(num_classes=2, width=4)
    with pytest.raises(ValueError, match=r"Batch\.labels or Batch\.label_weights, but has neither"):
        objective.loss(torch.zeros(1, 2))
    with pytest.raises(ValueError, match=r"\(1, 3\).*num_classes=2"):
        objective.loss(torch.zeros(1, 2), label_weights=torch.zeros(1, 3))
    with pytest.raises(ValueError, match="num_classes must be 1, not 2"):
        objective.loss(torch.zeros(1, 2), torch.zeros(1))


def test_label_smoothing_spreads_a_share_evenly_over_all_classes():
    torch.manual_seed(0)
    logits, labels = torch.randn(3, 4), torch.tensor([0, -100, 2])
    objective = Classification(num_classes=4, width=2, smoothing=0.1)
    target = torch.full((3, 4), 0.1 / 4)
    target[0, 0] += 0.9
    target[2, 2] += 0.9
    wanted = -(target * logits.log_softmax(dim=1)).sum(dim=1)[[0, 2]].mean()
    torch.testing.assert_close(objective.loss(logits, labels), wanted)
