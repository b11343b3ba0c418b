"""Accuracy and files of fixed answers, and of a tiny model."""

import json
from dataclasses import replace

import pytest
import torch

from tests.two_processes import in_two_processes
from x2vlm.data.tokenizer import bert_vocab
from x2vlm.engine.eval_loop import build_metric
from x2vlm.evaluation.tasks.vqa import VQAMetric
from x2vlm.models.eval_mode import eval_mode
from x2vlm.models.generation.rank_answers import GeneratedAnswers, Ranking
from x2vlm.objectives.answer import AnswerGeneration

CANDIDATES = ["yes", "no", "two dogs", "blue"]


@pytest.fixture(scope="module")
def tokenizer():
    return bert_vocab(["yes", "no", "two", "dogs", "blue", *(f"word{i}" for i in range(20))])


@pytest.fixture
def answering(model):
    decoder = dict(depth=1, num_heads=2, mlp_width=8, init_std=1.0, max_positions=8)
    model.objectives["answer"] = AnswerGeneration(width=8, vocab_size=30, decoder=decoder).eval()
    return model


@pytest.fixture
def four(make):
    annotations = [["yes"] * 10, ["no"] * 6 + ["yes"] * 4, ["2 dogs"] * 2 + ["blue"] * 8, ["no"] * 10]
    kinds = ["yes/no", "yes/no", "other", "yes/no"]
    return replace(
        make.batch([0, 1, 2, 3], [1, 2, 3, 4]),
        extras=[
            {"answers": answers, "answer_type": kind, "question_id": 100 + i}
            for i, (answers, kind) in enumerate(zip(annotations, kinds, strict=True))
        ],
    )


@pytest.fixture
def select(answering, monkeypatch):
    """Make the model select these candidates, by index."""

    def fix(*indices):
        def rank(questions, *_, **__):
            ids = torch.tensor(indices)[:, None]
            return Ranking(ids, torch.ones(len(ids), 1), torch.zeros(len(ids), 1))

        monkeypatch.setattr(answering.objectives["answer"], "rank", rank)
        return answering

    return fix


def test_answers_are_scored_by_the_accuracy_of_the_challenge(select, four, tokenizer):
    results = VQAMetric(tokenizer, CANDIDATES).evaluate(select(0, 1, 2, 0), [four])
    two = (2 * 1 / 3 + 8 * 2 / 3) / 10
    assert results["vqa_accuracy"] == pytest.approx(100 * (1 + 1 + two + 0) / 4)
    assert results["vqa_accuracy_yes/no"] == pytest.approx(200 / 3)
    assert results["vqa_accuracy_other"] == pytest.approx(100 * two)
    assert results["majority_vqa_accuracy"] == pytest.approx(50)  # "no", 16 annotations
    assert "exact_match" not in results


def test_one_annotation_is_matched_exactly(select, four, tokenizer):
    four = replace(four, extras=[{"answers": [answer]} for answer in ("Yes", "no", "the two dogs", "no")])
    results = VQAMetric(tokenizer, CANDIDATES).evaluate(select(0, 1, 2, 0), [four])
    assert results == {"exact_match": 75, "majority_exact_match": 50}


def test_the_answers_are_those_of_the_models_own_ranking(answering, make, tokenizer):
    batches = [make.batch(list(range(4)), list(range(4)), seed=i) for i in range(4)]
    rows = [tokenizer(text)["input_ids"] for text in CANDIDATES]
    ids = torch.tensor([row + [0] * (4 - len(row)) for row in rows])
    annotated = []
    with eval_mode(answering):
        for batch in batches:
            objective = answering.objectives["answer"]
            questions = answering.read(objective.requests(answering.encode(batch)))
            ranked = objective.rank(questions, ids, ids != 0, k=3)
            best = [CANDIDATES[i] for i in ranked.ids[:, 0].tolist()]
            annotated.append(replace(batch, extras=[{"answers": [answer]} for answer in best]))
    results = VQAMetric(tokenizer, CANDIDATES, k=3).evaluate(answering, annotated)
    assert results["exact_match"] == 100
    assert results["majority_exact_match"] < 100  # not the same answer to all


def test_generated_answers_are_decoded_up_to_their_end(answering, four, tokenizer, monkeypatch):
    two, dogs, end = tokenizer.convert_tokens_to_ids(["two", "dogs", "[SEP]"])
    ids = torch.tensor([[[two, dogs, end]], [[dogs, end, end]], [[two, dogs, end]], [[two, dogs, end]]])
    received = {}

    def write(questions, start, end, **options):
        received.update(options, start=start, end=end)
        return GeneratedAnswers(ids, torch.zeros(4, 1))

    monkeypatch.setattr(answering.objectives["answer"], "write", write)
    four = replace(four, extras=[{"answers": [answer]} for answer in ("two dogs", "dogs", "2 dogs", "no")])
    results = VQAMetric(tokenizer, mode="write", num_beams=3, max_tokens=5).evaluate(answering, [four])
    assert results["exact_match"] == 75
    assert received == {"num_beams": 3, "max_tokens": 5, "start": tokenizer.cls_token_id, "end": tokenizer.sep_token_id}


def test_the_settings_reach_the_ranking(answering, four, tokenizer, monkeypatch):
    objective, received = answering.objectives["answer"], {}
    rank = objective.rank
    monkeypatch.setattr(objective, "rank", lambda *args, **options: received.update(options) or rank(*args, **options))
    VQAMetric(tokenizer, CANDIDATES, k=2, first_token="twice", chunk=7).evaluate(answering, [four])
    assert received == {"k": 2, "first_token": "twice", "chunk": 7}


def test_answers_are_saved_for_the_server_in_the_work_folder(select, four, tokenizer, tmp_path):
    four = replace(four, extras=[{"question_id": i} for i in (11, 12, 13, 14)])
    metric = VQAMetric(tokenizer, CANDIDATES, save_to="out/answers.json", work_dir=tmp_path)
    assert metric.evaluate(select(0, 1, 2, 3), [four]) == {}
    saved = json.loads((tmp_path / "out" / "answers.json").read_text())
    assert saved == [{"question_id": i, "answer": a} for i, a in zip((11, 12, 13, 14), CANDIDATES, strict=True)]


def test_a_file_of_candidates_is_read_in_its_order(tokenizer, tmp_path):
    (tmp_path / "answers.json").write_text(json.dumps(CANDIDATES))
    assert VQAMetric(tokenizer, tmp_path / "answers.json").candidates == CANDIDATES


def test_in_a_run_candidates_come_from_the_data_folder_and_answers_go_to_the_work_folder(tokenizer, tmp_path):
    (tmp_path / "answers.json").write_text(json.dumps(CANDIDATES))
    config = dict(type="VQAMetric", answer_list="answers.json", save_to="out.json")
    metric = build_metric("vqa", config, tokenizer, work_dir="runs/1", data_root=str(tmp_path))
    assert metric.candidates == CANDIDATES
    assert metric.save_to.as_posix() == "runs/1/out.json"


def test_two_processes_give_the_metrics_and_the_file_of_one(answering, four, make, tokenizer, tmp_path):
    other = replace(
        make.batch([0, 1], [7, 8], first=4), extras=[{"answers": ["blue"], "question_id": i} for i in (7, 8)]
    )
    metric = VQAMetric(tokenizer, CANDIDATES, save_to=tmp_path / "answers.json")
    expected = metric.evaluate(answering, [four, other])
    saved = json.loads((tmp_path / "answers.json").read_text())
    results = in_two_processes(lambda rank: metric.evaluate(answering, [[four], [other]][rank]), tmp_path)
    assert results[0] == results[1] == pytest.approx(expected)
    assert json.loads((tmp_path / "answers.json").read_text()) == saved


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(), "mode='rank' selects from answer_list"),
        (dict(answer_list=["a"], mode="write"), "mode='write' takes none"),
        (dict(mode="wrote"), r"'wrote'.*rank, write"),
        (dict(answer_list=["a"], first_token="both"), "once, twice"),
        (dict(answer_list=["a", "a"]), "names a class twice"),
        (dict(answer_list=["a"], k=0), "counts from 1"),
    ],
)
def test_invalid_options_are_refused(tokenizer, options, message):
    with pytest.raises(ValueError, match=message):
        VQAMetric(tokenizer, **options)


def test_errors_say_what_is_wrong(model, select, four, tokenizer, tmp_path):
    metric = VQAMetric(tokenizer, CANDIDATES)
    with pytest.raises(FileNotFoundError, match=r"VQAMetric\.answer_list"):
        VQAMetric(tokenizer, "nowhere.json")
    with pytest.raises(ValueError, match=r"objective 'reply'.*itc, itm, bbox"):
        VQAMetric(tokenizer, CANDIDATES, objective="reply").evaluate(model, [four])
    with pytest.raises(ValueError, match="yielded no questions"):
        metric.evaluate(select(0), [])
    with pytest.raises(ValueError, match="no question of this evaluation has a known answer"):
        metric.evaluate(select(0, 0, 0, 0), [replace(four, extras=[])])
    with pytest.raises(ValueError, match=r"extras\['question_id'\], but data:0 has none"):
        VQAMetric(tokenizer, CANDIDATES, save_to=tmp_path / "a.json").evaluate(
            select(0, 0, 0, 0), [replace(four, extras=[{}] * 4)]
        )
