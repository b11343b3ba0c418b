"""Re-ranking on a gallery gives the metrics of the evaluation in memory, in resumable jobs."""

from functools import partial

import numpy as np
import pytest
import torch
from safetensors import safe_open

from tests.gallery.gallery_records import COLLATE, KINDS, all_features, encode_to, random_model
from tests.two_processes import in_two_processes
from x2vlm.building import ConfigError
from x2vlm.data.loader import EvaluationLoader
from x2vlm.evaluation.tasks.retrieval import RetrievalMetric
from x2vlm.gallery.reranking import rerank_jobs
from x2vlm.gallery.reranking.rerank_jobs import gallery_scorer, reencode_contexts, split_jobs
from x2vlm.models.eval_mode import eval_mode


@pytest.fixture(scope="module")
def model():
    return random_model()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("tokens", [None, "fp32"])
@pytest.mark.parametrize("k", [2, 50])
def test_metrics_equal_those_of_the_evaluation_in_memory(model, kind, tokens, k, tmp_path, monkeypatch):
    monkeypatch.setattr(rerank_jobs, "JOB_CONTEXTS", 3)  # several jobs
    # Equal texts have equal scores, whose order rounding errors would decide.
    data, gallery = encode_to(tmp_path, model, kind, all_different=True, context_tokens=tokens, text_tokens=tokens)
    metric = RetrievalMetric(k=k, at=(1, 2, 5), chunk=7)
    expected = metric.evaluate(model, EvaluationLoader("test", data.dataset, COLLATE, batch_size=5))
    logits = []
    score = gallery_scorer(model, data, gallery, tmp_path / "scores", chunk=7)
    results = metric.evaluate_stored(gallery, lambda c, t: logits.append(score(c, t)) or logits[-1])
    assert results == pytest.approx(expected)
    assert logits[0].std() > 0.01
    assert len(list((tmp_path / "scores").glob("*/*"))) > 1


@pytest.mark.parametrize("kind", KINDS)
def test_reencoded_contexts_equal_the_stored_ones(model, kind, tmp_path):
    data, gallery = encode_to(tmp_path, model, kind, context_tokens="fp32")
    jobs = [torch.tensor([1, 3, 4]), torch.tensor([0]), torch.arange(len(gallery.context_ids))]
    with eval_mode(model):
        reencoded = list(reencode_contexts(model, data, gallery, jobs))
    for job, context in zip(jobs, reencoded, strict=True):
        stored = gallery.read_contexts(job)
        torch.testing.assert_close(context.tokens[context.owner], stored.tokens[stored.owner], atol=1e-5, rtol=0)
        torch.testing.assert_close(context.summary, stored.summary, atol=1e-5, rtol=0)
        assert torch.equal(context.mask, stored.mask)


@pytest.mark.parametrize(("kind", "tolerance"), [("fp16", 2e-3), ("bf16", 2e-2)])
def test_half_precision_tokens_change_logits_slightly(model, kind, tolerance, tmp_path):
    _, full = encode_to(tmp_path / "fp32", model, "images", context_tokens="fp32", text_tokens="fp32")
    data, half = encode_to(tmp_path / kind, model, "images", context_tokens=kind, text_tokens=kind)
    file = next((tmp_path / kind).rglob("contexts-*.safetensors"))
    with safe_open(file, framework="pt") as opened:
        assert str(opened.get_slice("tokens").get_dtype()) == {"fp16": "F16", "bf16": "BF16"}[kind]
    contexts, texts = torch.arange(5).repeat_interleave(3), torch.arange(3).repeat(5)
    ours = gallery_scorer(model, data, half, tmp_path / "a", 8)(contexts, texts)
    theirs = gallery_scorer(model, data, full, tmp_path / "b", 8)(contexts, texts)
    assert 0 < (ours - theirs).abs().max() < tolerance * theirs.abs().max()


def test_two_processes_write_the_gallery_and_score_the_pairs_of_one_process(model, tmp_path, monkeypatch):
    monkeypatch.setattr(rerank_jobs, "JOB_CONTEXTS", 2)
    metric = RetrievalMetric(k=3, at=(1, 2))

    def task(folder, rank):
        model.encoded = model.scored = 0
        encode, score = model.encode_context, model.objectives["itm"].score
        monkeypatch.setattr(model, "encode_context", lambda b: count("encoded", len(b.pixels)) or encode(b))
        monkeypatch.setattr(model.objectives["itm"], "score", lambda f: count("scored", len(f)) or score(f))
        data, gallery = encode_to(folder, model, "clips", context_tokens="fp32")
        results = metric.evaluate_stored(gallery, gallery_scorer(model, data, gallery, folder / "scores", 8))
        return results, model.encoded, model.scored, all_features(gallery.context_feats).numpy()

    def count(name, more):
        setattr(model, name, getattr(model, name) + more)

    (tmp_path / "meet").mkdir()
    results = in_two_processes(partial(task, tmp_path / "two"), tmp_path / "meet")
    expected = task(tmp_path / "one", 0)
    assert results[0][0] == results[1][0] == pytest.approx(expected[0])
    np.testing.assert_allclose(results[0][3], expected[3], atol=1e-5)
    for count_index in (1, 2):
        assert results[0][count_index] + results[1][count_index] == expected[count_index]
        assert abs(results[0][count_index] - results[1][count_index]) <= 0.5 * expected[count_index]


def test_stored_shards_and_scores_are_not_computed_again(model, tmp_path, monkeypatch):
    data, gallery = encode_to(tmp_path, model, "images")
    score = gallery_scorer(model, data, gallery, tmp_path / "scores", 8)
    pairs = torch.arange(5), torch.tensor([1, 1, 0, 2, 3])
    first = score(*pairs)
    monkeypatch.setattr(model, "encode_context", None)
    monkeypatch.setattr(model, "encode_text", None)
    encode_to(tmp_path, model, "images")
    assert torch.equal(score(*pairs), first)


def test_scores_of_other_pairs_are_stored_separately(model, tmp_path):
    data, gallery = encode_to(tmp_path, model, "images")
    score = gallery_scorer(model, data, gallery, tmp_path / "scores", 8)
    several = score(torch.tensor([0, 1]), torch.tensor([1, 1]))
    assert not torch.equal(several, score(torch.tensor([0, 1]), torch.tensor([2, 2])))
    assert len(list((tmp_path / "scores").iterdir())) == 2


def test_jobs_keep_the_pairs_of_a_context_together_and_are_bounded(monkeypatch):
    monkeypatch.setattr(rerank_jobs, "JOB_CONTEXTS", 3)
    monkeypatch.setattr(rerank_jobs, "JOB_PAIRS", 5)
    contexts = torch.tensor([0, 0, 1, 1, 1, 2, 2, 4, 5, 6, 7, 7, 7, 7, 7, 7, 7])
    assert [contexts[job].tolist() for job in split_jobs(contexts)] == [
        [0, 0, 1, 1, 1],
        [2, 2, 4, 5],
        [6],
        [7] * 7,
    ]
    assert split_jobs(contexts[:0]) == []


def test_a_record_that_cannot_be_read_any_more_is_an_error(model, tmp_path):
    data, gallery = encode_to(tmp_path, model, "images")
    data.dataset.samples[4] = None
    with eval_mode(model), pytest.raises(ConfigError, match=r"1 contexts of the gallery.*record 4"):
        list(reencode_contexts(model, data, gallery, [torch.arange(5)]))
