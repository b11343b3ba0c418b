"""Questions to a model: the answers are those of the evaluation, whatever form the image has."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from x2vlm.building import ConfigError, build
from x2vlm.data.collate.pair_collate import PairCollate
from x2vlm.data.record import RecordError
from x2vlm.inference import Inferencer
from x2vlm.registry import DATASETS
from x2vlm.weights import CheckpointError

TEXTS = ["a red circle", "a blue square", "a green triangle above a red circle"]


@pytest.fixture
def inferencer(cfg, checkpoint):
    return Inferencer.from_checkpoint(cfg, checkpoint, "image_retrieval")


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)


def test_every_text_gets_an_answer_and_the_best_comes_first(inferencer, image):
    matches = inferencer.match(image, TEXTS)
    assert sorted(match.text for match in matches) == sorted(TEXTS)
    probabilities = [match.probability for match in matches]
    assert probabilities == sorted(probabilities, reverse=True)
    assert all(0 < p < 1 for p in probabilities)
    assert len(set(probabilities)) == 3


def test_a_path_bytes_and_a_pillow_image_give_the_answers_of_the_array(inferencer, image, tmp_path):
    path = tmp_path / "image.png"
    Image.fromarray(image).save(path)
    expected = inferencer.match(image, TEXTS)
    for form in (path, str(path), path.read_bytes(), Image.fromarray(image)):
        assert inferencer.match(form, TEXTS) == expected


def test_an_answer_does_not_depend_on_the_other_texts(inferencer, image):
    together = {match.text: match.probability for match in inferencer.match(image, TEXTS)}
    for text in TEXTS:
        assert inferencer.match(image, [text])[0].probability == pytest.approx(together[text], abs=1e-5)


def test_the_answers_are_those_of_the_evaluations_own_batch(cfg, inferencer):
    dataset = build(DATASETS, cfg.evaluations.image_retrieval.dataset)
    record, model = dataset.record(0), inferencer.model
    encoded = model.encode(PairCollate(inferencer.processor.tokenizer, masking=None)([dataset[0]]))
    logits = model.objectives["itm"].score(model.fuse(encoded.context, encoded.text)[:, 0])
    match = inferencer.match(record["image"], [record["caption"]])[0]
    assert match.probability == pytest.approx(logits.softmax(-1)[0, 1].item(), abs=1e-5)
    assert match.similarity == pytest.approx((encoded.context.feat @ encoded.text.feat.T).item(), abs=1e-5)


def test_only_the_nearest_k_are_matched_and_the_others_follow(inferencer, image):
    matches = inferencer.match(image, TEXTS, k=2)
    assert [match.probability is None for match in matches] == [False, False, True]
    assert matches[2].similarity <= min(match.similarity for match in matches[:2])


def test_texts_are_cleaned_as_in_the_evaluation(inferencer, image):
    shouted, quiet = (inferencer.match(image, [text])[0] for text in ("A RED, circle!", "a red circle"))
    assert shouted.text == "A RED, circle!"
    assert shouted.probability == quiet.probability


def test_boxes_are_in_pixels_of_the_image_that_was_given(inferencer, image):
    small = inferencer.ground(image, TEXTS)
    large = inferencer.ground(Image.fromarray(image).resize((600, 400), Image.Resampling.NEAREST), TEXTS)
    assert [found.text for found in small] == TEXTS
    for one, other in zip(small, large, strict=True):
        x0, y0, x1, y1 = one.box_xyxy_px
        assert 0 <= x0 <= x1 <= 60
        assert 0 <= y0 <= y1 <= 40
        assert np.allclose(np.array(one.box_xyxy_px) * 10, other.box_xyxy_px, atol=30)


def test_an_unknown_evaluation_is_named_with_the_nearest(cfg, checkpoint):
    with pytest.raises(ConfigError, match=r"no 'image_retreival'.*'image_retrieval'.*grounding"):
        Inferencer.from_checkpoint(cfg, checkpoint, "image_retreival")


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


def test_a_broken_image_is_an_error_that_says_so(inferencer):
    with pytest.raises(RecordError, match="broken"):
        inferencer.match(b"no image", TEXTS)


def test_without_matching_the_cosine_ranks(inferencer, image):
    del inferencer.model.objectives["itm"]
    matches = inferencer.match(image, TEXTS)
    assert {match.probability for match in matches} == {None}
    assert [m.similarity for m in matches] == sorted((m.similarity for m in matches), reverse=True)


def assert_alike(matches, others):
    assert [one.text for one in matches] == [one.text for one in others]
    for name in ("similarity", "probability"):
        assert [getattr(m, name) for m in matches] == pytest.approx([getattr(m, name) for m in others], abs=1e-5)


def test_one_input_gives_one_result_and_a_list_a_list(inferencer, image):
    both = [image, 255 - image]
    for together, one in zip(inferencer.match(both, TEXTS), both, strict=True):
        assert_alike(together, inferencer.match(one, TEXTS))
    for together, one in zip(inferencer.ground(both, TEXTS[0]), both, strict=True):
        assert together.box_xyxy == pytest.approx(inferencer.ground(one, TEXTS[0]).box_xyxy, abs=1e-5)
    assert inferencer.ground(image, TEXTS)[1].box_xyxy == pytest.approx(
        inferencer.ground(image, TEXTS[1]).box_xyxy, abs=1e-5
    )
    assert inferencer.encode_image(both).shape == (2, 4)
    torch.testing.assert_close(inferencer.encode_image(both)[1], inferencer.encode_image(both[1]))
    torch.testing.assert_close(inferencer.encode_text(TEXTS)[2], inferencer.encode_text(TEXTS[2]))


def test_features_have_the_cosine_of_the_match(inferencer, image):
    cosine = float(inferencer.encode_image(image) @ inferencer.encode_text(TEXTS[0]))
    assert inferencer.match(image, TEXTS[0])[0].similarity == pytest.approx(cosine, abs=1e-6)


def test_clips_are_matched_as_frames_or_files(cfg, checkpoint, image):
    inferencer = Inferencer.from_checkpoint(cfg, checkpoint, "video_retrieval")
    still, moving = (inferencer.match(video=[image, other], texts=TEXTS) for other in (image, 255 - image))
    assert still[0].probability != moving[0].probability
    both = inferencer.match(video=[[image, image], [image, 255 - image]], texts=TEXTS)
    assert_alike(both[0], still)
    assert_alike(both[1], moving)
    with pytest.raises(ValueError, match="images, or clips as video"):
        inferencer.match(image, TEXTS, video=[image])


def test_a_model_without_frames_takes_no_clips(cfg, checkpoint, image):
    cfg.model.num_frames = 0
    cfg.evaluations.pop("video_retrieval")
    state = torch.load(checkpoint)["state_dict"]
    state.pop("frame_positions")
    torch.save({"state_dict": state}, checkpoint)
    with pytest.raises(ValueError, match="takes no clips"):
        Inferencer.from_checkpoint(cfg, checkpoint).match(video=[image], texts=TEXTS)


def test_a_box_comes_with_the_probability_that_the_phrase_matches_what_is_inside(inferencer, image):
    found = inferencer.ground(image, TEXTS[0])
    assert 0 < found.probability < 1
    assert found.image_probability == pytest.approx(inferencer.match(image, TEXTS[0])[0].probability, abs=1e-6)
    assert np.allclose(np.array(found.box_xyxy) * [60, 40, 60, 40], found.box_xyxy_px)


def test_further_candidates_are_other_boxes_and_less_probable(inferencer, image):
    found = inferencer.ground(image, TEXTS[0], candidates=4)
    probabilities = [found.probability, *(one.probability for one in found.others)]
    assert 1 < len(probabilities) <= 4
    assert probabilities == sorted(probabilities, reverse=True)
    assert len({found.box_xyxy, *(one.box_xyxy for one in found.others)}) == len(probabilities)


def test_below_the_threshold_a_phrase_is_not_in_the_image(inferencer, image):
    fits = inferencer.ground(image, TEXTS[0]).image_probability
    assert inferencer.ground(image, TEXTS[0], threshold=fits - 0.01).found
    absent = inferencer.ground(image, TEXTS[0], threshold=fits + 0.01)
    assert not absent.found
    assert "not in this image" in str(absent)


def test_results_turn_into_json_and_print(inferencer, image):
    for one in (*inferencer.match(image, TEXTS), inferencer.ground(image, TEXTS[0], candidates=2)):
        assert json.loads(json.dumps(one.to_dict()))
        assert TEXTS[0] in str(one) or one.text in str(one)


def test_attributes_are_ranked_for_a_box_and_a_box_outside_is_refused(inferencer, image):
    ranked = inferencer.attributes(image, ["red", "blue", "green"], (0, 0, 30, 20), "circle")
    assert sorted(one.name for one in ranked) == ["blue", "green", "red"]
    assert [one.score for one in ranked] == sorted((one.score for one in ranked), reverse=True)
    assert ranked != inferencer.attributes(image, ["red", "blue", "green"], None, "circle")
    with pytest.raises(ValueError, match=r"box \(0, 0, 61, 20\) is not inside the 60x40 image"):
        inferencer.attributes(image, ["red"], (0, 0, 61, 20))


def test_tasks_are_what_the_model_has_objectives_for(inferencer, image):
    assert inferencer.tasks == (
        "encode_image", "encode_text", "match", "retrieve", "ground", "attributes", "explain"
    )  # fmt: skip
    del inferencer.model.objectives["bbox"]
    assert "ground" not in inferencer.tasks
    with pytest.raises(ValueError, match=r"cannot ground: its objectives are itc, itm, mlm.*It can: .*match"):
        inferencer.ground(image, TEXTS)


def test_a_weight_that_is_not_finite_is_named(cfg, checkpoint):
    state = torch.load(checkpoint)["state_dict"]
    state["objectives.itm.head.0.weight"][0, 0] = torch.nan
    torch.save({"state_dict": state}, checkpoint)
    with pytest.raises(ValueError, match=r"weight objectives\.itm\.head\.0\.weight is not finite"):
        Inferencer.from_checkpoint(cfg, checkpoint)


def test_a_folder_answers_as_the_config_and_its_checkpoint_do(inferencer, image, tmp_path):
    inferencer.model.preprocessing = inferencer.processor.settings.to_dict()
    inferencer.model.save_pretrained(tmp_path / "model")
    moved = (tmp_path / "model").rename(tmp_path / "elsewhere")
    other = Inferencer.from_pretrained(moved)
    assert other.processor.settings == inferencer.processor.settings
    assert other.match(image, TEXTS) == inferencer.match(image, TEXTS)
    with pytest.raises(ConfigError, match="leave the checkpoint out"):
        Inferencer.from_checkpoint(moved, "iter_1.pth")


def test_no_data_has_to_be_there(cfg, checkpoint, image):
    missing = dict(
        type="JsonLines", annotations="/nowhere/test.jsonl", pipeline=cfg.evaluations.grounding.dataset.pipeline
    )
    cfg.evaluations.grounding.dataset = missing
    assert Inferencer.from_checkpoint(cfg, checkpoint, "grounding").ground(image, TEXTS[0]).found


REFUSED = [([], "one text"), ([3], "text 0 is int"), (["?!"], "text 0 .*nothing is left")]


@pytest.mark.parametrize(("texts", "message"), REFUSED)
def test_texts_that_cannot_be_read_are_an_error(inferencer, image, texts, message):
    with pytest.raises(ValueError, match=message):
        inferencer.match(image, texts)


def test_boxes_are_drawn_on_the_image_that_was_given(inferencer, image):
    drawn = inferencer.draw(image, inferencer.ground(image, TEXTS), side=300)
    assert drawn.size == (300, 200)
    assert len(np.unique(np.asarray(drawn).reshape(-1, 3), axis=0)) > 3


def test_old_names_still_work_with_a_warning(inferencer, image):
    with pytest.warns(DeprecationWarning, match=r"match\(picture=\.\.\.\) is now match\(image=\.\.\.\)"):
        assert inferencer.match(picture=image, texts=TEXTS) == inferencer.match(image=image, texts=TEXTS)
    with pytest.warns(DeprecationWarning, match="locate.* is now ground"):
        assert inferencer.locate(image, TEXTS) == inferencer.ground(image, TEXTS)
    with pytest.warns(DeprecationWarning, match=r"show.* is now draw"):
        assert inferencer.show(image, TEXTS[0], side=60).size == (60, 40)
    from x2vlm.inference import inferencer as module
    from x2vlm.inference.results import Grounding

    with pytest.warns(DeprecationWarning, match=r"Found is now x2vlm\.inference\.results\.Grounding"):
        assert module.Found is Grounding
