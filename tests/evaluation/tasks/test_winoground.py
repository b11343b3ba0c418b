"""Winoground: scores by definition, and with a tiny model."""

from dataclasses import replace
from itertools import permutations

import pytest
import torch

from x2vlm.evaluation.tasks.winoground import CHANCE, WinogroundMetric, winoground_scores
from x2vlm.models.eval_mode import eval_mode
from x2vlm.registry import SCORERS


@pytest.fixture
def examples(make):
    """Three examples of two images and two captions; every caption reads both images."""
    batch = make.batch([0, 1, 2, 3, 4, 5], list(range(6)))
    return replace(
        batch,
        boxes_xyxy=None,
        has_box=None,
        owner=torch.tensor([0, 1, 0, 1, 2, 3, 2, 3, 4, 5, 4, 5]),
        text_owner=torch.arange(6).repeat_interleave(2),
        extras=[{"tag": "Object"}, {"tag": "Relation"}, {"tag": "Object"}],
    )


def naive(s):
    """The benchmark's definition; ``s[c][i]`` scores caption c with image i."""
    text = s[0][0] > s[1][0] and s[1][1] > s[0][1]
    image = s[0][0] > s[0][1] and s[1][1] > s[1][0]
    return {"text": text, "image": image, "group": text and image}


def test_scores_follow_the_definition():
    scores = torch.randn(200, 2, 2, generator=torch.Generator().manual_seed(0)).round(decimals=1)  # ties too
    correct = winoground_scores(scores)
    expected = [naive(example) for example in scores.tolist()]
    for kind, values in correct.items():
        assert values.tolist() == [example[kind] for example in expected]
        assert 0 < values.sum() < 100


def test_chance_is_the_share_of_random_orders():
    orders = torch.tensor(list(permutations(range(4)))).float().view(-1, 2, 2)
    correct = winoground_scores(orders)
    assert {kind: 100 * values.float().mean().item() for kind, values in correct.items()} == pytest.approx(CHANCE)


def test_equal_scores_are_not_correct():
    assert not any(values.any() for values in winoground_scores(torch.zeros(1, 2, 2)).values())


def test_every_scorer_equals_scoring_pair_by_pair(model, examples):
    results = WinogroundMetric(chunk=3).evaluate(model, [examples])
    with eval_mode(model):
        cosine, match = torch.zeros(3, 2, 2), torch.zeros(3, 2, 2)
        for example in range(3):
            for caption in range(2):
                text = model.encode_text(
                    examples.text_ids[[2 * example + caption]], examples.text_mask[[2 * example + caption]]
                )
                for image in range(2):
                    pair = replace(
                        examples,
                        pixels=examples.pixels[[2 * example + image]],
                        owner=torch.tensor([0]),
                        text_owner=None,
                    )
                    context = model.encode_context(pair)
                    cosine[example, caption, image] = (context.feat * text.feat).sum()
                    fused = model.fusion_encoder(text, context)[:, 0]
                    match[example, caption, image] = model.objectives["itm"].score(fused).softmax(-1)[0, 1]
    for name, scores in (("itc", cosine), ("itm", match), ("itc+itm", cosine + match)):
        for kind, values in winoground_scores(scores).items():
            assert results[f"{name}_{kind}"] == pytest.approx(100 * values.float().mean().item())
    assert results["chance_group"] == pytest.approx(100 / 6)


def test_tags_get_scores_of_their_own(model, examples, monkeypatch):
    scores = torch.tensor([[[1, 0], [0, 1]], [[0, 1], [1, 0]], [[1, 0], [2, 3]]]).float()
    metric = WinogroundMetric("itc")
    monkeypatch.setitem(metric.scorers, "itc", lambda *_: scores.flatten())
    results = metric.evaluate(model, [examples])
    assert results["itc_image"] == pytest.approx(200 / 3)
    assert results["itc_text"] == pytest.approx(100 / 3)
    assert (results["itc_text_object"], results["itc_image_object"]) == (50, 100)
    assert results["itc_group_relation"] == 0


def test_a_plugin_adds_a_scorer_of_its_own(model, examples):
    @SCORERS.register_module(name="longer")
    def longer(model, contexts, context_index, texts, text_index, chunk):
        return texts.mask.sum(dim=1)[text_index].float()

    try:
        results = WinogroundMetric("longer").evaluate(model, [examples])
    finally:
        SCORERS.module_dict.pop("longer")
    assert (results["longer_text"], results["longer_image"]) == (0, 0)  # the same for both images


def test_records_without_two_images_and_two_texts_are_refused(model, images, examples):
    with pytest.raises(ValueError, match="records of two images and two texts"):
        WinogroundMetric("itc").evaluate(model, images)
    examples.owner = torch.tensor([0, 1, 1, 0, 2, 3, 2, 3, 4, 5, 4, 5])
    with pytest.raises(ValueError, match="in the same order"):
        WinogroundMetric("itc").evaluate(model, [examples])


def test_no_examples_and_broken_scores_are_errors(model):
    with pytest.raises(ValueError, match="nothing to score"):
        WinogroundMetric("itc").evaluate(model, [])
    with pytest.raises(ValueError, match="not a number"):
        winoground_scores(torch.full((1, 2, 2), torch.nan))


def test_an_unknown_scorer_is_named_with_its_nearest():
    with pytest.raises(ValueError, match=r"'itc\+itn'.*Accepted: itc, itm, itc\+itm"):
        WinogroundMetric(["itc", "itc+itn"])


def test_a_model_without_matching_is_an_error_that_says_what_to_use(model, examples):
    del model.objectives["itm"]
    with pytest.raises(ValueError, match=r"needs objective 'itm'.*Use 'itc'"):
        WinogroundMetric("itm").evaluate(model, [examples])
