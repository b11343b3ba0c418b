"""Attributes of given boxes: mean average precision by definition, and with a tiny model."""

import json
from dataclasses import replace

import pytest
import torch

from x2vlm.data.tokenizer import bert_vocab
from x2vlm.evaluation.metrics.average_precision import average_precision
from x2vlm.evaluation.tasks.attribute_templates import Attribute, read_attributes
from x2vlm.evaluation.tasks.attributes import AttributeMetric, combine, precisions
from x2vlm.models.eval_mode import eval_mode

ATTRIBUTES = [
    {"id": 1, "name": "size:big/large", "is_has_att": "is", "freq_set": "head"},
    {"id": 0, "name": "color tone:red", "is_has_att": "has", "freq_set": "tail"},
    {"id": 2, "name": "state:wet", "is_has_att": "is", "freq_set": "head"},
]
TEMPLATES = {"is": ("{attribute} {object}", "a {object} is {attribute}"), "has": ("a {attribute} {kind} {object}",)}


@pytest.fixture
def tokenizer():
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    return bert_vocab([*special, "a", "is", "the", "big", "large", "red", "color", "wet", "dog", "car"])


@pytest.fixture
def boxes(make):
    """Two images with two boxes each; the last label is unknown."""
    regions = [[0.0, 0.0, 0.5, 0.5], [0.5, 0.0, 1.0, 1.0], [0.0, 0.5, 1.0, 1.0], [0.0, 0.0, 0.5, 1.0]]
    batch = make.batch([0, 0, 1, 1], [1, 2, 3, 4], boxes=regions)
    labels = [{"attributes": [[1, 0, 0], [0, 1, 1]]}, {"attributes": [[0, 1, 1], [1, 1, -1]]}]
    return replace(batch, texts=["dog", "car", "dog", "dog"], extras=labels)


def naive_precision(scores, positive):
    """Mean precision at the positives, equal scores counted together."""
    pairs = list(zip(scores, positive, strict=True))
    total = 0.0
    for score, is_positive in pairs:
        if is_positive:
            above = [p for s, p in pairs if s >= score]
            total += sum(above) / len(above)
    return total / sum(positive)


def test_average_precision_is_the_mean_precision_at_the_positives():
    rng = torch.Generator().manual_seed(0)
    for _ in range(30):
        scores = torch.randint(0, 8, (12,), generator=rng).float()
        positive = torch.rand(12, generator=rng) < 0.4
        positive[0] = True
        expected = naive_precision(scores.tolist(), positive.tolist())
        assert average_precision(scores, positive) == pytest.approx(expected)


def test_a_perfect_order_has_precision_1_and_equal_scores_that_of_chance():
    positive = torch.tensor([True, False, True, False, False])
    assert average_precision(positive.float(), positive) == 1
    assert average_precision(torch.zeros(5), positive) == pytest.approx(2 / 5)


def test_unknown_labels_are_left_out_and_attributes_without_a_positive_are_nan():
    scores = torch.tensor([[0.9, 0.1], [0.8, 0.2], [0.1, 0.3]])
    labels = torch.tensor([[-1, 0], [1, 0], [0, -1]])
    precision, share = precisions(scores, labels)
    assert (precision[0].item(), share[0].item()) == (1, 0.5)
    assert precision[1].isnan() and share[1].isnan()


def test_a_score_is_the_best_sentence_less_the_mean_of_the_object_alone():
    scores = torch.tensor([[0.5, 0.7, 0.1, 0.2, 0.4], [0.3, 0.2, 0.9, 0.0, 0.2]])
    torch.testing.assert_close(combine(scores, [2, 1]), torch.tensor([[0.4, -0.2], [0.2, 0.8]]))
    torch.testing.assert_close(combine(scores[:, :3], [2, 1]), torch.tensor([[0.7, 0.1], [0.3, 0.9]]))


def test_attributes_are_read_from_the_benchmarks_file_in_the_order_of_their_ids(tmp_path):
    path = tmp_path / "ovad.json"
    path.write_text(json.dumps({"attributes": ATTRIBUTES, "images": []}))
    expected = [
        Attribute("color", ("red",), "has", "tail"),
        Attribute("size", ("big", "large"), "is", "head"),
        Attribute("state", ("wet",), "is", "head"),
    ]
    assert read_attributes(path) == read_attributes(ATTRIBUTES) == expected
    path.write_text(json.dumps([{"name": "wet"}]))
    assert read_attributes(str(path)) == [Attribute("", ("wet",))]


def test_a_sentence_is_made_of_each_synonym_and_template(tokenizer):
    metric = AttributeMetric(ATTRIBUTES, tokenizer, templates=TEMPLATES)
    assert metric.sentences(metric.attributes[1], "dog") == ["big dog", "a dog is big", "large dog", "a dog is large"]
    assert metric.sentences(metric.attributes[0], "car") == ["a red color car"]


@pytest.mark.parametrize("scorer", ["itc", "itm", "itc+itm"])
def test_the_result_equals_scoring_each_box_with_each_sentence_separately(model, tokenizer, boxes, scorer):
    metric = AttributeMetric(
        ATTRIBUTES, tokenizer, scorer, templates=TEMPLATES, object_templates=("a {object}", "the {object}"), chunk=3
    )
    results = metric.evaluate(model, [boxes])
    with eval_mode(model):
        context = model.encode_context(boxes)

        def score(box, sentence):
            ids = torch.tensor([tokenizer(sentence)["input_ids"]])
            text = model.encode_text(ids, torch.ones_like(ids, dtype=torch.bool))
            region = context.select(torch.tensor([box]))
            cosine = (region.feat * text.feat).sum().item()
            match = model.objectives["itm"].score(model.fusion_encoder(text, region)[:, 0]).softmax(-1)[0, 1].item()
            return {"itc": cosine, "itm": match, "itc+itm": cosine + match}[scorer]

        templates = [
            ["a red color {}"],
            ["big {}", "a {} is big", "large {}", "a {} is large"],
            ["wet {}", "a {} is wet"],
        ]
        table = []
        for box, name in enumerate(boxes.texts):
            base = (score(box, f"a {name}") + score(box, f"the {name}")) / 2
            table.append([max(score(box, text.format(name)) for text in group) - base for group in templates])
    labels = [[1, 0, 0], [0, 1, 1], [0, 1, 1], [1, 1, -1]]
    expected = []
    for a in range(3):
        known = [box for box in range(4) if labels[box][a] >= 0]
        expected.append(naive_precision([table[box][a] for box in known], [labels[box][a] for box in known]))
    assert results["map"] == pytest.approx(100 * sum(expected) / 3)
    assert results["map_tail"] == pytest.approx(100 * expected[0])
    assert results["map_head"] == pytest.approx(100 * (expected[1] + expected[2]) / 2)
    assert results["chance_map"] == pytest.approx(100 * (2 / 4 + 3 / 4 + 2 / 3) / 3)
    assert "map_medium" not in results


def test_a_box_without_labels_is_ignored(model, tokenizer, boxes):
    metric = AttributeMetric(ATTRIBUTES, tokenizer, templates=TEMPLATES)
    unknown = replace(boxes, extras=[{"attributes": [[1, 0, 0], None]}, boxes.extras[1]])
    expected = replace(boxes, extras=[{"attributes": [[1, 0, 0], [-1, -1, -1]]}, boxes.extras[1]])
    assert metric.evaluate(model, [unknown]) == metric.evaluate(model, [expected])


def test_sentences_of_an_object_are_encoded_once_for_all_batches(model, tokenizer, boxes, monkeypatch):
    encoded, encode = [], model.encode_text
    monkeypatch.setattr(model, "encode_text", lambda ids, mask: encoded.append(len(ids)) or encode(ids, mask))
    AttributeMetric(ATTRIBUTES, tokenizer, templates=TEMPLATES, object_templates=()).evaluate(model, [boxes, boxes])
    assert sum(encoded) == 2 * 7  # two objects, seven sentences


def test_errors_say_what_is_wrong(model, tokenizer, boxes):
    metric = AttributeMetric(ATTRIBUTES, tokenizer, templates=TEMPLATES)
    with pytest.raises(ValueError, match=r"no box of this evaluation has an attribute.*extras\['attributes'\]"):
        metric.evaluate(model, [replace(boxes, extras=[{}, {}])])
    with pytest.raises(ValueError, match=r"data:1 has 2 labels .* but there are 3 attributes"):
        metric.evaluate(model, [replace(boxes, extras=[boxes.extras[0], {"attributes": [[1, 0], [0, 0]]}])])
    with pytest.raises(ValueError, match="no box of this evaluation has an attribute"):
        metric.evaluate(model, [])
    with pytest.raises(ValueError, match="not a number"):
        precisions(torch.full((1, 1), torch.nan), torch.ones(1, 1))
    with pytest.raises(ValueError, match=r"'has'.*templates\.has"):
        AttributeMetric(ATTRIBUTES, tokenizer, templates={"is": ("{attribute}",)})
    with pytest.raises(ValueError, match="there are no attributes"):
        AttributeMetric([], tokenizer)
    with pytest.raises(ValueError, match=r"attribute 0 has no name\. Given: id"):
        AttributeMetric([{"id": 3}], tokenizer)
