"""Captions that are known, and those of a real, tiny model."""

import json
import multiprocessing
from dataclasses import replace

import pytest
import torch
import torch.distributed as dist
from torch import nn

from x2vlm.data.tokenizer import bert_vocab
from x2vlm.evaluation.metrics import java_metrics
from x2vlm.evaluation.metrics.ngrams import bleu, cider_d, rouge_l
from x2vlm.evaluation.tasks.captioning import CaptioningMetric, most_frequent
from x2vlm.models.generation.beam_search import BeamSearch
from x2vlm.models.generation.search import GeneratedText
from x2vlm.objectives.caption import CaptionGeneration

TOKENIZER = bert_vocab([*"a the dog cat runs sits on mat red picture of".split(), *(f"w{i}" for i in range(14))])  # noqa: SIM905
REFERENCES = [
    ["A dog runs.", "The dog runs on a mat"],
    ["A cat sits on the mat!"],
    ["a cat sits on the mat", "red cat"],
]
SAID = ["a dog runs", "the cat sits", "red cat"]
fork = multiprocessing.get_context("fork")


class Parrot(nn.Module):
    """Says of each picture what it is told to; a picture's number is its first pixel."""

    def __init__(self, said):
        super().__init__()
        self.said, self.asked = said, []

    def generate(self, model, encoded, search):
        assert encoded.text is None
        numbers = encoded.batch.pixels[encoded.batch.owner, 0, 0, 0].long().tolist()
        self.asked += numbers
        return [GeneratedText(TOKENIZER.convert_tokens_to_ids(self.said[n].split()), -1.0) for n in numbers]


def batch_of(make, numbers, references=REFERENCES):
    owner = [i for i, n in enumerate(numbers) for _ in references[n]]
    pixels = torch.zeros(len(numbers), 3, 8, 8)
    pixels[:, 0, 0, 0] = torch.tensor(numbers)
    batch = make.batch(owner, [100 + numbers[i] for i in owner], pixels)
    texts = [text for n in numbers for text in references[n]]
    return replace(batch, texts=texts, where=[f"test:{numbers[i]}" for i in owner])


@pytest.fixture
def evaluate(model, make):
    def run(batches=([0, 1], [2]), said=SAID, **options):
        model.objectives["caption"] = Parrot(said)
        return CaptioningMetric(TOKENIZER, **options).evaluate(model, [batch_of(make, b) for b in batches])

    return run


def words(*sentences):
    return [sentence.lower().strip(".!").split() for sentence in sentences]


def test_scores_are_those_of_the_captions_and_all_their_references(evaluate):
    results = evaluate()
    made, known = words(*SAID), [words(*some) for some in REFERENCES]
    assert [results[f"bleu{n}"] for n in (1, 2, 3, 4)] == pytest.approx([100 * x for x in bleu(made, known)])
    assert results["cider"] == pytest.approx(100 * sum(cider_d(made, known)) / 3)
    assert results["rouge_l"] == pytest.approx(100 * sum(map(rouge_l, made, known)) / 3)
    assert results["exact_match"] == pytest.approx(200 / 3)


def test_the_majority_is_the_most_frequent_reference(evaluate):
    results = evaluate()
    known = [words(*some) for some in REFERENCES]
    majority = "a cat sits on the mat".split()  # noqa: SIM905
    assert most_frequent(known) == majority
    assert results["majority_cider"] == pytest.approx(100 * sum(cider_d([majority] * 3, known)) / 3)
    assert results["majority_exact_match"] == pytest.approx(200 / 3)


def test_each_picture_is_captioned_once_wherever_its_references_are(model, make, evaluate):
    whole = evaluate()
    batch = batch_of(make, [0, 1, 2])
    first = [0, 2, 3]
    texts = [batch.texts[i] for i in first]
    earlier = replace(
        batch,
        text_ids=batch.text_ids[first],
        text_mask=batch.text_mask[first],
        owner=batch.owner[first],
        ids=batch.ids[first],
        boxes_xyxy=None,
        has_box=None,
        texts=texts,
        where=[batch.where[i] for i in first],
    )
    rest = [1, 4]
    later = replace(
        earlier,
        text_ids=batch.text_ids[rest],
        text_mask=batch.text_mask[rest],
        owner=batch.owner[rest],
        ids=batch.ids[rest],
        texts=[batch.texts[i] for i in rest],
        where=[batch.where[i] for i in rest],
    )
    parrot = model.objectives["caption"] = Parrot(SAID)
    assert CaptioningMetric(TOKENIZER).evaluate(model, [earlier, later]) == whole
    assert parrot.asked == [0, 1, 2]


def test_captions_are_saved_as_the_server_takes_them(evaluate, tmp_path):
    path = tmp_path / "made" / "captions.json"
    evaluate(save_to="made/captions.json", work_dir=tmp_path)
    assert json.loads(path.read_text()) == [
        {"image_id": f"test:{n}", "caption": SAID[n], "score": -1.0} for n in range(3)
    ]


def test_a_real_model_writes_captions(model, make):
    model.objectives["caption"] = CaptionGeneration(8, 30, TOKENIZER).eval()
    batches = [batch_of(make, [0, 1]), batch_of(make, [2])]
    metric = CaptioningMetric(TOKENIZER, dict(beams=2, max_length=8))
    results = metric.evaluate(model, batches)
    assert results["cider"] <= 1000
    with torch.no_grad():
        encoded = model.encode(replace(batches[0], owner=torch.arange(2), boxes_xyxy=None, text_ids=None))
        one = model.objectives["caption"].generate(model, encoded, BeamSearch(beams=2, max_length=8))[0]
    assert metric.search == BeamSearch(beams=2, max_length=8)
    assert 5 <= len(one.ids) <= 8


def test_two_processes_give_the_numbers_of_one(evaluate, model, make, tmp_path):
    whole = evaluate([[0], [1], [2]])
    queue = fork.SimpleQueue()

    def work(rank):
        torch.set_num_threads(1)
        dist.init_process_group("gloo", init_method=f"file://{tmp_path}/meet", rank=rank, world_size=2)
        model.objectives["caption"] = Parrot(SAID)
        own = [batch_of(make, [n]) for n in (0, 1, 2)[rank::2]]
        queue.put((rank, CaptioningMetric(TOKENIZER, save_to=tmp_path / "all.json").evaluate(model, own)))
        dist.destroy_process_group()

    workers = [fork.Process(target=work, args=(rank,)) for rank in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    assert dict(queue.get() for _ in workers) == {0: whole, 1: whole}
    assert [one["image_id"] for one in json.loads((tmp_path / "all.json").read_text())] == [
        "test:0",
        "test:1",
        "test:2",
    ]


def test_what_cannot_be_captioned_is_explained(model, make):
    with pytest.raises(ValueError, match="needs objective 'caption'"):
        CaptioningMetric(TOKENIZER).evaluate(model, [])
    model.objectives["caption"] = Parrot(SAID)
    with pytest.raises(ValueError, match="nothing to caption"):
        CaptioningMetric(TOKENIZER).evaluate(model, [])
    with pytest.raises(ValueError, match="no texts"):
        CaptioningMetric(TOKENIZER).evaluate(model, [replace(batch_of(make, [0]), texts=[])])
    with pytest.raises(ValueError, match="Did you mean 'meteor'"):
        CaptioningMetric(TOKENIZER, also=["metor"])


def test_scores_in_java_are_refused_where_they_cannot_run(monkeypatch):
    monkeypatch.setattr(java_metrics, "which", lambda name: None)
    monkeypatch.setattr(java_metrics, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match="there is no java and no pycocoevalcap here"):
        CaptioningMetric(TOKENIZER, also=["meteor"])


@pytest.mark.slow
def test_meteor_runs_where_java_is(evaluate):
    pytest.importorskip("pycocoevalcap", reason="needs the package pycocoevalcap")
    if java_metrics.which("java") is None:
        pytest.skip("needs Java")
    perfect = evaluate(said=["a dog runs", "a cat sits on the mat", "red cat"], also=["meteor"])["meteor"]
    assert perfect == pytest.approx(100, abs=1)
    assert evaluate(also=["meteor"])["meteor"] < perfect - 5
