"""Metrics of fixed captions, and of captions of a tiny model."""

import json
from dataclasses import replace

import pytest
import torch
from torch import nn

from tests.two_processes import in_two_processes
from x2vlm.data.tokenizer import bert_vocab
from x2vlm.evaluation.metrics import java_metrics
from x2vlm.evaluation.metrics.ngrams import bleu, cider_d, rouge_l
from x2vlm.evaluation.tasks.captioning import CaptioningMetric
from x2vlm.models.generation.beam_search import BeamSearch
from x2vlm.models.generation.search import GeneratedText
from x2vlm.objectives.caption import CaptionGeneration

TOKENIZER = bert_vocab([*"a the dog cat runs sits on mat red picture of".split(), *(f"w{i}" for i in range(14))])  # noqa: SIM905
REFERENCES = [
    ["A dog runs.", "The dog runs on a mat"],
    ["A cat sits on the mat!"],
    ["a cat sits on the mat", "red cat"],
]
CAPTIONS = ["a dog runs", "the cat sits", "red cat"]


class FixedCaptions(nn.Module):
    """An objective that returns fixed captions; the number of an image is its first pixel."""

    def __init__(self, captions):
        super().__init__()
        self.captions, self.captioned = captions, []

    def generate(self, model, encoded, search):
        assert encoded.text is None
        numbers = encoded.batch.pixels[encoded.batch.owner, 0, 0, 0].long().tolist()
        self.captioned += numbers
        return [GeneratedText(TOKENIZER.convert_tokens_to_ids(self.captions[n].split()), -1.0) for n in numbers]


def batch_of(make, numbers, references=REFERENCES):
    owner = [i for i, n in enumerate(numbers) for _ in references[n]]
    pixels = torch.zeros(len(numbers), 3, 8, 8)
    pixels[:, 0, 0, 0] = torch.tensor(numbers)
    batch = make.batch(owner, [100 + numbers[i] for i in owner], pixels)
    texts = [text for n in numbers for text in references[n]]
    return replace(batch, texts=texts, where=[f"test:{numbers[i]}" for i in owner])


@pytest.fixture
def evaluate(model, make):
    def run(batches=([0, 1], [2]), captions=CAPTIONS, **options):
        model.objectives["caption"] = FixedCaptions(captions)
        return CaptioningMetric(TOKENIZER, **options).evaluate(model, [batch_of(make, b) for b in batches])

    return run


def words(*sentences):
    return [sentence.lower().strip(".!").split() for sentence in sentences]


def test_metrics_are_those_of_the_captions_and_all_their_references(evaluate):
    results = evaluate()
    candidates, references = words(*CAPTIONS), [words(*texts) for texts in REFERENCES]
    assert [results[f"bleu{n}"] for n in (1, 2, 3, 4)] == pytest.approx([100 * x for x in bleu(candidates, references)])
    assert results["cider"] == pytest.approx(100 * sum(cider_d(candidates, references)) / 3)
    assert results["rouge_l"] == pytest.approx(100 * sum(map(rouge_l, candidates, references)) / 3)
    assert results["exact_match"] == pytest.approx(200 / 3)


def test_the_majority_is_the_most_frequent_reference(evaluate):
    results = evaluate()
    references = [words(*texts) for texts in REFERENCES]
    majority = "a cat sits on the mat".split()  # noqa: SIM905
    assert results["majority_cider"] == pytest.approx(100 * sum(cider_d([majority] * 3, references)) / 3)
    assert results["majority_exact_match"] == pytest.approx(200 / 3)


def test_each_image_is_captioned_once_wherever_its_references_are(model, make, evaluate):
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
    fixed = model.objectives["caption"] = FixedCaptions(CAPTIONS)
    assert CaptioningMetric(TOKENIZER).evaluate(model, [earlier, later]) == whole
    assert fixed.captioned == [0, 1, 2]


def test_captions_are_saved_in_the_format_of_the_coco_server(evaluate, tmp_path):
    path = tmp_path / "out" / "captions.json"
    evaluate(save_to="out/captions.json", work_dir=tmp_path)
    assert json.loads(path.read_text()) == [
        {"image_id": f"test:{n}", "caption": CAPTIONS[n], "score": -1.0} for n in range(3)
    ]


def test_a_model_generates_captions(model, make):
    model.objectives["caption"] = CaptionGeneration(8, 30, TOKENIZER).eval()
    batches = [batch_of(make, [0, 1]), batch_of(make, [2])]
    metric = CaptioningMetric(TOKENIZER, dict(beams=2, max_length=8))
    results = metric.evaluate(model, batches)
    assert results["cider"] <= 1000
    with torch.no_grad():
        encoded = model.encode(replace(batches[0], owner=torch.arange(2), boxes_xyxy=None, text_ids=None))
        generated = model.objectives["caption"].generate(model, encoded, BeamSearch(beams=2, max_length=8))[0]
    assert metric.search == BeamSearch(beams=2, max_length=8)
    assert 5 <= len(generated.ids) <= 8


def test_two_processes_give_the_metrics_of_one(evaluate, model, make, tmp_path):
    expected = evaluate([[0], [1], [2]])

    def task(rank):
        model.objectives["caption"] = FixedCaptions(CAPTIONS)
        batches = [batch_of(make, [n]) for n in (0, 1, 2)[rank::2]]
        return CaptioningMetric(TOKENIZER, save_to=tmp_path / "all.json").evaluate(model, batches)

    assert in_two_processes(task, tmp_path) == {0: expected, 1: expected}
    assert [entry["image_id"] for entry in json.loads((tmp_path / "all.json").read_text())] == [
        "test:0",
        "test:1",
        "test:2",
    ]


def test_errors_say_what_is_wrong(model, make):
    with pytest.raises(ValueError, match="needs objective 'caption'"):
        CaptioningMetric(TOKENIZER).evaluate(model, [])
    model.objectives["caption"] = FixedCaptions(CAPTIONS)
    with pytest.raises(ValueError, match="nothing to caption"):
        CaptioningMetric(TOKENIZER).evaluate(model, [])
    with pytest.raises(ValueError, match="no texts"):
        CaptioningMetric(TOKENIZER).evaluate(model, [replace(batch_of(make, [0]), texts=[])])
    with pytest.raises(ValueError, match="Did you mean 'meteor'"):
        CaptioningMetric(TOKENIZER, also=["metor"])


def test_java_metrics_are_refused_where_they_cannot_run(monkeypatch):
    monkeypatch.setattr(java_metrics, "which", lambda name: None)
    monkeypatch.setattr(java_metrics, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match="there is no java and no pycocoevalcap here"):
        CaptioningMetric(TOKENIZER, also=["meteor"])


@pytest.mark.slow
def test_meteor_runs_where_java_is(evaluate):
    pytest.importorskip("pycocoevalcap", reason="needs the package pycocoevalcap")
    if java_metrics.which("java") is None:
        pytest.skip("needs Java")
    perfect = evaluate(captions=["a dog runs", "a cat sits on the mat", "red cat"], also=["meteor"])["meteor"]
    assert perfect == pytest.approx(100, abs=1)
    assert evaluate(also=["meteor"])["meteor"] < perfect - 5
