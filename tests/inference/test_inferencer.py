"""Predictions for one image are those of the evaluation, whatever the type of the image."""

import importlib

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
def image():
    return np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)


def test_every_text_is_matched_and_the_best_comes_first(inferencer, image):
    matches = inferencer.match(image, TEXTS)
    assert sorted(match.text for match in matches) == sorted(TEXTS)
    probabilities = [match.probability for match in matches]
    assert probabilities == sorted(probabilities, reverse=True)
    assert all(0 < p < 1 for p in probabilities)
    assert len(set(probabilities)) == 3


def test_a_path_bytes_and_a_pillow_image_give_the_matches_of_the_array(inferencer, image, tmp_path):
    path = tmp_path / "image.png"
    Image.fromarray(image).save(path)
    expected = inferencer.match(image, TEXTS)
    for source in (path, str(path), path.read_bytes(), Image.fromarray(image)):
        assert inferencer.match(source, TEXTS) == expected


def test_a_match_does_not_depend_on_the_other_texts(inferencer, image):
    together = {match.text: match.probability for match in inferencer.match(image, TEXTS)}
    for text in TEXTS:
        assert inferencer.match(image, [text])[0].probability == pytest.approx(together[text], abs=1e-5)


def test_matches_are_those_of_the_batch_of_the_evaluation(cfg, inferencer):
    dataset = build(DATASETS, cfg.evaluations.image_retrieval.dataset)
    record, model = dataset.record(0), inferencer.model
    encoded = model.encode(inferencer.collate([dataset[0]]))
    logits = model.objectives["itm"].score(model.fuse(encoded.context, encoded.text)[:, 0])
    match = inferencer.match(record["image"], [record["caption"]])[0]
    assert match.probability == pytest.approx(logits.softmax(-1)[0, 1].item(), abs=1e-5)
    assert match.similarity == pytest.approx((encoded.context.feat @ encoded.text.feat.T).item(), abs=1e-5)


def test_only_the_k_nearest_have_a_probability_and_come_first(inferencer, image):
    matches = inferencer.match(image, TEXTS, k=2)
    assert [match.probability is None for match in matches] == [False, False, True]
    assert matches[2].similarity <= min(match.similarity for match in matches[:2])


def test_texts_are_cleaned_as_in_the_evaluation(inferencer, image):
    upper_case, clean = (inferencer.match(image, [text])[0] for text in ("A RED, circle!", "a red circle"))
    assert upper_case.text == "A RED, circle!"
    assert upper_case.probability == clean.probability


def test_boxes_are_in_pixels_of_the_original_image(inferencer, image):
    small = inferencer.locate(image, TEXTS)
    large = inferencer.locate(Image.fromarray(image).resize((600, 400), Image.Resampling.NEAREST), TEXTS)
    assert [phrase.text for phrase in small] == TEXTS
    for phrase, enlarged in zip(small, large, strict=True):
        x0, y0, x1, y1 = phrase.box_xyxy_px
        assert 0 <= x0 <= x1 <= 60
        assert 0 <= y0 <= y1 <= 40
        assert np.allclose(np.array(phrase.box_xyxy_px) * 10, enlarged.box_xyxy_px, atol=30)


def test_one_phrase_may_be_a_plain_string(inferencer, image):
    assert inferencer.locate(image, TEXTS[0]) == inferencer.locate(image, TEXTS[:1])


def test_a_pipeline_of_phrases_gives_the_same_predictions(cfg, checkpoint, inferencer, image):
    other = Inferencer.from_checkpoint(cfg, checkpoint, "grounding")
    assert other.match(image, TEXTS) == inferencer.match(image, TEXTS)
    assert other.locate(image, TEXTS) == inferencer.locate(image, TEXTS)


def test_a_pipeline_that_picks_one_caption_gives_the_same_matches(inferencer, image):
    steps = [dict(type="LoadImage"), dict(type="PickCaption"), dict(type="Resize", size=16), dict(type="PackSample")]
    pipeline = [build(TRANSFORMS, step) for step in steps]
    other = Inferencer(inferencer.model, pipeline, inferencer.collate)
    assert other.match(image, TEXTS) == inferencer.match(image, TEXTS)


def test_clips_are_matched_as_frames(cfg, checkpoint, image):
    inferencer = Inferencer.from_checkpoint(cfg, checkpoint, "video_retrieval")
    assert inferencer.video
    still, moving = (inferencer.match([image, other], TEXTS) for other in (image, 255 - image))
    assert still[0].probability != moving[0].probability
    with pytest.raises(ValueError, match="clips"):
        inferencer.locate(image, TEXTS)


def test_the_image_with_boxes_has_the_given_size(inferencer, image):
    assert inferencer.show(image, TEXTS, side=300).size == (300, 200)


def test_the_first_evaluation_that_loads_images_is_the_default(cfg, checkpoint):
    cfg.evaluations = dict(video=cfg.evaluations.video_retrieval, image=cfg.evaluations.image_retrieval)
    assert not Inferencer.from_checkpoint(cfg, checkpoint).video


def test_an_unknown_evaluation_is_named_with_the_nearest(cfg, checkpoint):
    with pytest.raises(ConfigError, match=r"no 'image_retreival'.*'image_retrieval'.*grounding"):
        Inferencer.from_checkpoint(cfg, checkpoint, "image_retreival")


def test_a_config_without_images_is_an_error(cfg, checkpoint):
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


def test_a_broken_image_is_an_error(inferencer):
    with pytest.raises(RecordError, match="broken"):
        inferencer.match(b"no image", TEXTS)


def test_a_text_of_punctuation_only_is_an_error(inferencer, image):
    with pytest.raises(RecordError, match="nothing is left"):
        inferencer.match(image, ["?!"])


@pytest.mark.parametrize("texts", ["a red circle", []])
def test_texts_are_a_sequence_of_one_or_more(inferencer, image, texts):
    with pytest.raises(ValueError, match="one text or more"):
        inferencer.match(image, texts)


def test_without_the_objective_locate_names_those_of_the_model(inferencer, image):
    del inferencer.model.objectives["bbox"]
    with pytest.raises(ValueError, match=r"'bbox'.*itc, itm, mlm"):
        inferencer.locate(image, TEXTS)


def test_without_matching_texts_are_ranked_by_cosine(inferencer, image):
    del inferencer.model.objectives["itm"]
    matches = inferencer.match(image, TEXTS)
    assert {match.probability for match in matches} == {None}
    assert [m.similarity for m in matches] == sorted((m.similarity for m in matches), reverse=True)


def test_an_image_of_another_size_is_an_error_that_says_what_to_add(inferencer, image):
    pipeline = [step for step in inferencer.pipeline if type(step).__name__ != "Resize"]
    with pytest.raises(ValueError, match=r"40x60 but the model takes 16x16.*Resize"):
        Inferencer(inferencer.model, pipeline, inferencer.collate).match(image, TEXTS)


def test_the_old_argument_name_still_works_with_a_warning(inferencer, image):
    with pytest.warns(DeprecationWarning, match=r"match\(picture=\.\.\.\) is now match\(image=\.\.\.\)"):
        matches = inferencer.match(picture=image, texts=TEXTS)
    assert matches == inferencer.match(image=image, texts=TEXTS)


@pytest.mark.parametrize(
    ("module", "old", "new"),
    [
        ("inferencer", "Found", "Grounding"),
        ("caption_images", "SaidOfPicture", "Caption"),
    ],
)
def test_old_class_names_still_work_with_a_warning(module, old, new):
    imported = importlib.import_module(f"x2vlm.inference.{module}")
    with pytest.warns(DeprecationWarning, match=rf"{old} is now x2vlm\.inference\.{module}\.{new}"):
        assert getattr(imported, old) is getattr(imported, new)
    with pytest.raises(AttributeError, match="has no attribute 'Nothing'"):
        _ = imported.Nothing
