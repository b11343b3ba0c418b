"""Metrics are equal in two processes and in one."""

from dataclasses import replace

import pytest
import torch

from tests.two_processes import in_two_processes
from x2vlm.data.tokenizer import bert_vocab
from x2vlm.evaluation.tasks.attributes import AttributeMetric
from x2vlm.evaluation.tasks.classification_accuracy import ClassificationMetric
from x2vlm.evaluation.tasks.grounding import GroundingMetric
from x2vlm.evaluation.tasks.retrieval import RetrievalMetric
from x2vlm.evaluation.tasks.winoground import WinogroundMetric
from x2vlm.gallery.select_pairs import select_pairs
from x2vlm.objectives.classification import Classification


def records(batches):
    """One batch per record, as a loader of batch size one yields them."""
    for batch in batches:
        for record in dict.fromkeys(batch.where):
            pairs = [i for i, where in enumerate(batch.where) if where == record]
            yield replace(select_pairs(batch, torch.tensor(pairs)), where=[record] * len(pairs))


@pytest.mark.parametrize("stream", ["images", "regions", "videos"])
@pytest.mark.parametrize("turns", [2, 1])
@pytest.mark.parametrize("index", [None, dict(type="ExactIndex")])
def test_retrieval_in_two_processes_equals_one(model, request, tmp_path, stream, turns, index):
    """Records go round the processes, as in the evaluation loader; or the second process gets none."""
    batches, metric = request.getfixturevalue(stream), RetrievalMetric(k=3, chunk=4, index=index)
    expected = metric.evaluate(model, batches)
    singles = list(records(batches))
    results = in_two_processes(
        lambda rank: metric.evaluate(model, singles[rank::turns] if rank < turns else []), tmp_path
    )
    assert results[0] == results[1]
    assert results[0] == pytest.approx(expected)


def test_grounding_in_two_processes_equals_one(model, regions, tmp_path):
    singles = list(records(regions))
    results = in_two_processes(lambda rank: GroundingMetric().evaluate(model, singles[rank::2]), tmp_path)
    assert results[0] == results[1] == pytest.approx(GroundingMetric().evaluate(model, regions))


def test_classification_in_two_processes_equals_one(model, images, tmp_path):
    model.objectives["classification"] = Classification(num_classes=3, width=8)
    singles = [
        replace(
            record, labels=torch.tensor([i % 3]).expand(len(record)), extras=[{"language": "de" if i % 2 else "en"}]
        )
        for i, record in enumerate(records(images))
    ]
    metric = ClassificationMetric(at=(1, 2))
    results = in_two_processes(lambda rank: metric.evaluate(model, singles[rank::2]), tmp_path)
    assert results[0] == results[1] == pytest.approx(metric.evaluate(model, singles))


@pytest.mark.parametrize("turns", [2, 1])
def test_two_processes_save_the_predictions_of_one_in_the_order_of_the_data_set(model, regions, tmp_path, turns):
    """Also where a record in between has no text with a box."""
    singles = list(records([*regions, *regions, *regions]))
    singles = [replace(record, where=[f"data:{n}"] * len(record)) for n, record in enumerate(singles)]
    singles[2] = replace(singles[2], has_box=torch.zeros(3, dtype=torch.bool))
    GroundingMetric(save_to=tmp_path / "one").evaluate(model, singles)
    metric = GroundingMetric(save_to=tmp_path / "two")
    in_two_processes(lambda rank: metric.evaluate(model, singles[rank::turns] if rank < turns else []), tmp_path)
    assert (tmp_path / "two").read_text() == (tmp_path / "one").read_text()
    assert len((tmp_path / "one").read_text().splitlines()) == 15


def test_two_processes_save_the_classes_of_one(model, images, tmp_path):
    model.objectives["classification"] = Classification(num_classes=3, width=8)
    singles = [replace(record, labels=torch.zeros(len(record), dtype=torch.long)) for record in records(images)]
    ClassificationMetric(save_to=tmp_path / "one").evaluate(model, singles)
    metric = ClassificationMetric(save_to=tmp_path / "two")
    in_two_processes(lambda rank: metric.evaluate(model, singles[rank::2]), tmp_path)
    assert (tmp_path / "two").read_text() == (tmp_path / "one").read_text()


@pytest.mark.parametrize("turns", [2, 1])
def test_winoground_in_two_processes_equals_one(model, make, tmp_path, turns):
    """Records go round the processes; or the second process gets none."""
    pairs = dict(owner=torch.tensor([0, 1, 0, 1]), text_owner=torch.tensor([0, 0, 1, 1]), boxes_xyxy=None)
    singles = [replace(make.batch([0, 1], [0, 1], first=n), **pairs) for n in range(0, 10, 2)]
    metric = WinogroundMetric()
    results = in_two_processes(
        lambda rank: metric.evaluate(model, singles[rank::turns] if rank < turns else []), tmp_path
    )
    assert results[0] == results[1] == pytest.approx(metric.evaluate(model, singles))


@pytest.mark.parametrize("turns", [2, 1])
def test_attributes_in_two_processes_equal_one(model, regions, tmp_path, turns):
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "wet", "red", "dog", "car"]
    attributes = [{"name": "wet"}, {"name": "red"}]
    metric = AttributeMetric(attributes, bert_vocab(words), templates={"is": ("{attribute} {object}",)}, chunk=2)
    labels = [[1, 0], [0, 1], [-1, 1]]
    singles = [
        replace(record, texts=["dog", "car", "dog"], extras=[{"attributes": labels[i:] + labels[:i]}])
        for i, record in enumerate(records(regions))
    ]
    results = in_two_processes(
        lambda rank: metric.evaluate(model, singles[rank::turns] if rank < turns else []), tmp_path
    )
    assert results[0] == results[1] == pytest.approx(metric.evaluate(model, singles))
