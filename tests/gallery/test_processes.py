"""Metrics give the same numbers in two processes as in one."""

import multiprocessing
from dataclasses import replace

import pytest
import torch
import torch.distributed as dist

from x2vlm.data.tokenizer import bert_vocab
from x2vlm.evaluation.tasks.attributes import AttributeMetric
from x2vlm.evaluation.tasks.classification_accuracy import ClassificationMetric
from x2vlm.evaluation.tasks.grounding import GroundingMetric
from x2vlm.evaluation.tasks.retrieval import RetrievalMetric
from x2vlm.evaluation.tasks.winoground import WinogroundMetric
from x2vlm.gallery.retrieval_features import only_pairs
from x2vlm.objectives.classification import Classification

fork = multiprocessing.get_context("fork")


def in_two_processes(task, folder):
    """What ``task(rank)`` returns in each of two processes that share a gloo group."""
    queue = fork.SimpleQueue()
    workers = [fork.Process(target=_work, args=(task, rank, folder, queue)) for rank in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0, "a process failed; its error is above"
    return dict(queue.get() for _ in workers)


def _work(task, rank, folder, queue):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    queue.put((rank, task(rank)))
    dist.destroy_process_group()


def records(batches):
    """One batch per record, as a loader of batch size one would give them."""
    for batch in batches:
        for place in dict.fromkeys(batch.where):
            pairs = [i for i, where in enumerate(batch.where) if where == place]
            yield replace(only_pairs(batch, torch.tensor(pairs)), where=[place] * len(pairs))


@pytest.mark.parametrize("stream", ["images", "regions", "videos"])
@pytest.mark.parametrize("turns", [2, 1])
@pytest.mark.parametrize("index", [None, dict(type="ExactIndex")])
def test_retrieval_in_two_processes_equals_one(model, request, tmp_path, stream, turns, index):
    """They take turns, as the evaluation loader does; or the second finds nothing left."""
    batches, metric = request.getfixturevalue(stream), RetrievalMetric(k=3, chunk=4, index=index)
    one = metric.evaluate(model, batches)
    singles = list(records(batches))
    results = in_two_processes(
        lambda rank: metric.evaluate(model, singles[rank::turns] if rank < turns else []), tmp_path
    )
    assert results[0] == results[1]
    assert results[0] == pytest.approx(one)


def test_grounding_in_two_processes_equals_one(model, regions, tmp_path):
    singles = list(records(regions))
    results = in_two_processes(lambda rank: GroundingMetric().evaluate(model, singles[rank::2]), tmp_path)
    assert results[0] == results[1] == pytest.approx(GroundingMetric().evaluate(model, regions))


def test_classification_in_two_processes_equals_one(model, images, tmp_path):
    model.objectives["classification"] = Classification(num_classes=3, width=8)
    singles = [
        replace(one, labels=torch.tensor([i % 3]).expand(len(one)), extras=[{"language": "de" if i % 2 else "en"}])
        for i, one in enumerate(records(images))
    ]
    metric = ClassificationMetric(at=(1, 2))
    results = in_two_processes(lambda rank: metric.evaluate(model, singles[rank::2]), tmp_path)
    assert results[0] == results[1] == pytest.approx(metric.evaluate(model, singles))


@pytest.mark.parametrize("turns", [2, 1])
def test_winoground_in_two_processes_equals_one(model, make, tmp_path, turns):
    """They take turns; or the second finds nothing left."""
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
    named = [{"name": "wet"}, {"name": "red"}]
    metric = AttributeMetric(named, bert_vocab(words), templates={"is": ("{attribute} {object}",)}, chunk=2)
    rows = [[1, 0], [0, 1], [-1, 1]]
    singles = [
        replace(one, texts=["dog", "car", "dog"], extras=[{"attributes": rows[i:] + rows[:i]}])
        for i, one in enumerate(records(regions))
    ]
    results = in_two_processes(
        lambda rank: metric.evaluate(model, singles[rank::turns] if rank < turns else []), tmp_path
    )
    assert results[0] == results[1] == pytest.approx(metric.evaluate(model, singles))
