"""Questions to a model: the answers are those of the evaluation, whatever form the picture has."""

import numpy as np
import pytest
import torch
from PIL import Image

from x2vlm.building import ConfigError, build
from x2vlm.data.record import RecordError
from x2vlm.inference import Inferencer
from x2vlm.registry import DATASETS, TRANSFORMS
from x2vlm.weights import CheckpointError

TEXTS = ["a red circle", "a blue square", "a green triangle above a red circle"]


@pytest.fixture
def inferencer(cfg, checkpoint):
    return Inferencer.from_checkpoint(cfg, checkpoint, "image_retrieval")


@pytest.fixture
def picture():
    return np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)


def test_every_text_gets_an_answer_and_the_best_comes_first(inferencer, picture):
    matches = inferencer.match(picture, TEXTS)
    assert sorted(match.text for match in matches) == sorted(TEXTS)
    probabilities = [match.probability for match in matches]
    assert probabilities == sorted(probabilities, reverse=True)
    assert all(0 < p < 1 for p in probabilities)
    assert len(set(probabilities)) == 3


def test_a_path_bytes_and_a_pillow_image_give_the_answers_of_the_array(inferencer, picture, tmp_path):
    path = tmp_path / "picture.png"
    Image.fromarray(picture).save(path)
    expected = inferencer.match(picture, TEXTS)
    for form in (path, str(path), path.read_bytes(), Image.fromarray(picture)):
        assert inferencer.match(form, TEXTS) == expected


def test_an_answer_does_not_depend_on_the_other_texts(inferencer, picture):
    together = {match.text: match.probability for match in inferencer.match(picture, TEXTS)}
    for text in TEXTS:
        assert inferencer.match(picture, [text])[0].probability == pytest.approx(together[text], abs=1e-5)


def test_the_answers_are_those_of_the_evaluations_own_batch(cfg, inferencer):
    dataset = build(DATASETS, cfg.evaluations.image_retrieval.dataset)
    record, model = dataset.record(0), inferencer.model
    encoded = model.encode(inferencer.collate([dataset[0]]))
    logits = model.objectives["itm"].score(model.fuse(encoded.context, encoded.text)[:, 0])
    match = inferencer.match(record["image"], [record["caption"]])[0]
    assert match.probability == pytest.approx(logits.softmax(-1)[0, 1].item(), abs=1e-5)
    assert match.similarity == pytest.approx((encoded.context.feat @ encoded.text.feat.T).item(), abs=1e-5)


def test_only_the_nearest_k_are_matched_and_the_others_follow(inferencer, picture):
    matches = inferencer.match(picture, TEXTS, k=2)
    assert [match.probability is None for match in matches] == [False, False, True]
    assert matches[2].similarity <= min(match.similarity for match in matches[:2])


def test_texts_are_cleaned_as_in_the_evaluation(inferencer, picture):
    shouted, quiet = (inferencer.match(picture, [text])[0] for text in ("A RED, circle!", "a red circle"))
    assert shouted.text == "A RED, circle!"
    assert shouted.probability == quiet.probability


def test_boxes_are_in_pixels_of_the_picture_that_was_given(inferencer, picture):
    small = inferencer.locate(picture, TEXTS)
    large = inferencer.locate(Image.fromarray(picture).resize((600, 400), Image.Resampling.NEAREST), TEXTS)
    assert [found.text for found in small] == TEXTS
    for one, other in zip(small, large, strict=True):
        x0, y0, x1, y1 = one.box_xyxy_px
        assert 0 <= x0 <= x1 <= 60
        assert 0 <= y0 <= y1 <= 40
        assert np.allclose(np.array(one.box_xyxy_px) * 10, other.box_xyxy_px, atol=30)


def test_one_phrase_may_be_a_plain_string(inferencer, picture):
    assert inferencer.locate(picture, TEXTS[0]) == inferencer.locate(picture, TEXTS[:1])


def test_a_pipeline_of_phrases_gives_the_same_answers(cfg, checkpoint, inferencer, picture):
    other = Inferencer.from_checkpoint(cfg, checkpoint, "grounding")
    assert other.match(picture, TEXTS) == inferencer.match(picture, TEXTS)
    assert other.locate(picture, TEXTS) == inferencer.locate(picture, TEXTS)


def test_a_pipeline_that_picks_one_caption_gives_the_same_answers(inferencer, picture):
    steps = [dict(type="LoadImage"), dict(type="PickCaption"), dict(type="Resize", size=16), dict(type="PackSample")]
    pipeline = [build(TRANSFORMS, step) for step in steps]
    other = Inferencer(inferencer.model, pipeline, inferencer.collate)
    assert other.match(picture, TEXTS) == inferencer.match(picture, TEXTS)


def test_clips_are_matched_as_frames(cfg, checkpoint, picture):
    inferencer = Inferencer.from_checkpoint(cfg, checkpoint, "video_retrieval")
    assert inferencer.video
    still, moving = (inferencer.match([picture, other], TEXTS) for other in (picture, 255 - picture))
    assert still[0].probability != moving[0].probability
    with pytest.raises(ValueError, match="clips"):
        inferencer.locate(picture, TEXTS)


def test_the_picture_with_its_boxes_is_as_large_as_asked(inferencer, picture):
    assert inferencer.show(picture, TEXTS, side=300).size == (300, 200)


def test_the_first_evaluation_that_shows_pictures_is_the_default(cfg, checkpoint):
    cfg.evaluations = dict(video=cfg.evaluations.video_retrieval, image=cfg.evaluations.image_retrieval)
    assert not Inferencer.from_checkpoint(cfg, checkpoint).video


def test_an_unknown_evaluation_is_named_with_the_nearest(cfg, checkpoint):
    with pytest.raises(ConfigError, match=r"no 'image_retreival'.*'image_retrieval'.*grounding"):
        Inferencer.from_checkpoint(cfg, checkpoint, "image_retreival")


def test_a_config_without_pictures_says_so(cfg, checkpoint):
    cfg.evaluations = dict(video=cfg.evaluations.video_retrieval)
    with pytest.raises(ConfigError, match="no evaluation loads images"):
        Inferencer.from_checkpoint(cfg, checkpoint)


def test_a_missing_checkpoint_is_named(cfg, tmp_path):
    with pytest.raises(CheckpointError, match=r"there is no checkpoint .*iter_9\.pth"):
        Inferencer.from_checkpoint(cfg, tmp_path / "iter_9.pth")


def test_a_checkpoint_of_another_model_is_refused(cfg, checkpoint):
    cfg.model.embed_dim = 6
    with pytest.raises(CheckpointError, match=r"does not fit this model:\n  of another size: vision_proj"):
        Inferencer.from_checkpoint(cfg, checkpoint)


def test_a_file_without_weights_is_refused(cfg, tmp_path):
    torch.save({"model": {}}, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match="holds no named tensors, only: nothing"):
        Inferencer.from_checkpoint(cfg, tmp_path / "other.pth")


def test_a_broken_picture_is_an_error_that_says_so(inferencer):
    with pytest.raises(RecordError, match="broken"):
        inferencer.match(b"no picture", TEXTS)


def test_a_text_of_signs_alone_is_an_error_that_says_so(inferencer, picture):
    with pytest.raises(RecordError, match="nothing is left"):
        inferencer.match(picture, ["?!"])


@pytest.mark.parametrize("texts", ["a red circle", []])
def test_texts_are_a_sequence_of_one_or_more(inferencer, picture, texts):
    with pytest.raises(ValueError, match="one text or more"):
        inferencer.match(picture, texts)


def test_without_the_objective_locate_says_what_is_there(inferencer, picture):
    del inferencer.model.objectives["bbox"]
    with pytest.raises(ValueError, match=r"'bbox'.*itc, itm, mlm"):
        inferencer.locate(picture, TEXTS)


def test_without_matching_the_cosine_ranks(inferencer, picture):
    del inferencer.model.objectives["itm"]
    matches = inferencer.match(picture, TEXTS)
    assert {match.probability for match in matches} == {None}
    assert [m.similarity for m in matches] == sorted((m.similarity for m in matches), reverse=True)


def test_a_picture_of_another_size_is_an_error_that_says_what_to_add(inferencer, picture):
    pipeline = [step for step in inferencer.pipeline if type(step).__name__ != "Resize"]
    with pytest.raises(ValueError, match=r"40x60 but the model takes 16x16.*Resize"):
        Inferencer(inferencer.model, pipeline, inferencer.collate).match(picture, TEXTS)
