"""Questions about an image: the answers are those of the objective, whatever they are chosen from."""

import numpy as np
import pytest
import torch

from x2vlm.building import build
from x2vlm.data.collate.padding import padded_tokens
from x2vlm.data.collate.pair_collate import PairCollate
from x2vlm.data.tokenizer import tokenize
from x2vlm.inference import Inferencer
from x2vlm.registry import DATASETS

QUESTIONS = ["What color is the star?", "How many things are there?"]
CANDIDATES = ["red", "blue", "yes", "no", "2"]


@pytest.fixture
def inferencer(cfg, seed, tmp_path):
    from x2vlm.registry import MODELS, TOKENIZERS

    cfg.tokenizer = dict(type="ToyTokenizer", tasks=True)
    decoder = dict(depth=1, num_heads=2, mlp_width=8, max_positions=12)
    cfg.model.objectives["answer"] = dict(type="AnswerGeneration", decoder=decoder)
    load, pack = [dict(type="LoadImage")], [dict(type="Resize", size=16), dict(type="PackSample")]
    pick = [dict(type="PickQuestion"), dict(type="PickAnswers")]
    cfg.evaluations = dict(
        vqa=dict(
            dataset=dict(type="ToyQuestions", world=dict(num_scenes=4, split="test"), pipeline=[*load, *pick, *pack]),
            collate=dict(type="PairCollate", masking=None),
            batch_size=2,
            metric=dict(type="VQAMetric", answer_list=CANDIDATES),
        )
    )
    model = build(MODELS, cfg.model, "model", tokenizer=build(TOKENIZERS, cfg.tokenizer, "tokenizer"))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.5 * torch.randn_like(parameter))
    torch.save({"state_dict": model.state_dict()}, tmp_path / "iter_1.pth")
    return Inferencer.from_checkpoint(cfg, tmp_path / "iter_1.pth")


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)


def test_the_answer_is_the_likeliest_of_those_given(inferencer, image):
    answers = inferencer.answer(image, QUESTIONS, CANDIDATES, best=5)
    assert [one.question for one in answers] == QUESTIONS
    for one in answers:
        ranked = [(one.text, one.probability), *one.others]
        assert sorted(text for text, _ in ranked) == sorted(CANDIDATES)
        assert [p for _, p in ranked] == sorted((p for _, p in ranked), reverse=True)
        assert sum(p for _, p in ranked) == pytest.approx(1)


def test_the_answers_are_those_of_the_evaluations_own_batch(cfg, inferencer):
    dataset, model = build(DATASETS, cfg.evaluations.vqa.dataset), inferencer.model
    record, batch = dataset.record(0), PairCollate(inferencer.processor.tokenizer, masking=None)([dataset[0]])
    ids, mask = padded_tokens(tokenize(inferencer.processor.tokenizer, CANDIDATES, None), 0)
    objective = model.objectives["answer"]
    made = objective.rank(model.read(objective.requests(model.encode(batch))), ids, mask)
    answer = inferencer.answer(record["image"], record["question"], CANDIDATES)
    assert answer.text == CANDIDATES[made.ids[0, 0]]
    assert answer.probability == pytest.approx(made.probabilities[0, 0].item(), abs=1e-5)
    assert answer.others == ()


def test_without_candidates_the_model_generates(inferencer, image):
    generated = inferencer.answer(image, QUESTIONS, best=3, max_tokens=4)
    for one in generated:
        assert 0 < one.others[1][1] <= one.others[0][1] <= one.probability < 1
        assert len(one.text.split()) <= 4
    alone = inferencer.answer(image, QUESTIONS[1], best=3, max_tokens=4)
    assert alone.text == generated[1].text
    assert alone.probability == pytest.approx(generated[1].probability, abs=1e-5)


def test_what_cannot_be_answered_is_told(inferencer, image):
    with pytest.raises(ValueError, match=r"candidates: expected one answer or more .* 'red'"):
        inferencer.answer(image, QUESTIONS, "red")
    with pytest.raises(ValueError, match="give one text"):
        inferencer.answer(image, [])
    with pytest.raises(ValueError, match="best is 0"):
        inferencer.answer(image, QUESTIONS, best=0)
    del inferencer.model.objectives["answer"]
    with pytest.raises(ValueError, match=r"cannot answer: its objectives are itc, itm"):
        inferencer.answer(image, QUESTIONS, CANDIDATES)
