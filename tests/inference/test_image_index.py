"""A folder of photographs, encoded once and searched."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from x2vlm.inference import Inferencer
from x2vlm.weights import CheckpointError


@pytest.fixture
def inferencer(cfg, checkpoint):
    return Inferencer.from_checkpoint(cfg, checkpoint, chunk=2)


@pytest.fixture
def folder(tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(5):
        array = np.random.default_rng(number).integers(0, 256, (20, 30, 3), dtype=np.uint8)
        Image.fromarray(array).save(photos / f"{number}.png")
    return photos


def test_the_best_of_a_folder_are_those_of_single_matches(inferencer, folder):
    found = inferencer.retrieve("a red circle", folder, k=5)
    single = {str(path): inferencer.match(path, "a red circle")[0] for path in folder.iterdir()}
    assert [one.image for one in found] == sorted(single, key=lambda name: -single[name].probability)
    for one in found:
        assert one.probability == pytest.approx(single[one.image].probability, abs=1e-5)
        assert one.similarity == pytest.approx(single[one.image].similarity, abs=1e-5)


def test_only_the_nearest_are_ranked_anew(inferencer, folder):
    found = inferencer.retrieve("a red circle", folder, k=4, rerank=2)
    assert [one.probability is None for one in found] == [False, False, True, True]
    by_cosine = inferencer.retrieve("a red circle", folder, k=5, rerank=0)
    assert [one.similarity for one in by_cosine] == sorted((one.similarity for one in by_cosine), reverse=True)
    assert {one.image for one in found[:2]} == {one.image for one in by_cosine[:2]}


def test_matching_and_cosine_are_added_as_the_retrieval_metric_adds_them(inferencer, folder):
    plain = inferencer.index(folder)
    logits = plain._logits(inferencer, "a red circle", range(5))
    inferencer.processor.settings = replace(inferencer.processor.settings, cosine_weight=1e4)
    found = inferencer.retrieve("a red circle", folder, k=5)
    assert [one.image for one in found] == [one.image for one in inferencer.retrieve("a red circle", folder, 5, 0)]
    inferencer.processor.settings = replace(inferencer.processor.settings, cosine_weight=0.3)
    found = inferencer.retrieve("a red circle", folder, k=5)
    scores = [float(logits[one.index][1]) + 0.3 * one.similarity for one in found]
    assert scores == sorted(scores, reverse=True)


def test_broken_files_are_left_out_and_named(inferencer, folder, caplog):
    (folder / "broken.jpg").write_bytes(b"nonsense")
    index = inferencer.index(folder)
    assert f"1 images cannot be read and are left out: {folder / 'broken.jpg'} is broken" in caplog.text
    assert len(index) == 5
    ((name, reason),) = index.broken
    assert name.endswith("broken.jpg")
    assert "broken" in reason
    with pytest.raises(ValueError, match="none of the 1 images can be read"):
        inferencer.index([folder / "broken.jpg"])


def test_kept_features_are_those_of_a_new_index_and_only_changes_are_encoded(inferencer, folder, tmp_path, monkeypatch):
    encoded = []
    encode = inferencer.encode_image
    monkeypatch.setattr(inferencer, "encode_image", lambda images: (encoded.append(len(images)), encode(images))[1])
    first = inferencer.index(folder, keep=tmp_path / "index")
    assert sum(encoded) == 5
    assert inferencer.index(folder, keep=tmp_path / "index").search(inferencer, "a cat") == first.search(
        inferencer, "a cat"
    )
    assert inferencer.index(None, keep=tmp_path / "index").images == first.images
    assert sum(encoded) == 5
    (folder / "0.png").unlink()
    Image.fromarray(np.zeros((20, 40, 3), np.uint8)).save(folder / "1.png")
    (folder / "broken.jpg").write_bytes(b"nonsense")
    changed = inferencer.index(folder, keep=tmp_path / "index")
    assert sum(encoded) == 6
    torch.testing.assert_close(changed.features, inferencer.index(folder).features)
    assert [name for name, _ in changed.broken] == [str(folder / "broken.jpg")]


def test_kept_features_of_another_model_or_damaged_ones_are_refused(inferencer, folder, tmp_path):
    inferencer.index(folder, keep=tmp_path / "index")
    weight = inferencer.model.vision_proj.weight.detach()
    before = weight.clone()
    weight[0, 0] += 1
    with pytest.raises(CheckpointError, match="are of another model"):
        inferencer.index(folder, keep=tmp_path / "index")
    weight.copy_(before)
    inferencer.index(folder, keep=tmp_path / "index")
    settings = inferencer.processor.settings
    inferencer.processor.settings = replace(settings, mean=(0.1, 0.2, 0.3))
    with pytest.raises(CheckpointError, match="another model or preprocessing"):
        inferencer.index(folder, keep=tmp_path / "index")
    inferencer.processor.settings = settings
    file = tmp_path / "index" / "images.safetensors"
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(CheckpointError, match="is damaged or no index of images"):
        inferencer.index(folder, keep=tmp_path / "index")
    with pytest.raises(ValueError, match="keeps no index yet"):
        inferencer.index(None, keep=tmp_path / "nothing")


def test_an_interrupted_index_keeps_what_was_encoded(inferencer, folder, tmp_path, monkeypatch):
    monkeypatch.setattr("x2vlm.inference.image_index.SAVED_AT_ONCE", 2)
    encode, calls = inferencer.encode_image, []

    def interrupted(images):
        calls.append(len(images))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return encode(images)

    monkeypatch.setattr(inferencer, "encode_image", interrupted)
    with pytest.raises(KeyboardInterrupt):
        inferencer.index(folder, keep=tmp_path / "index")
    done = []
    index = inferencer.index(folder, keep=tmp_path / "index", progress=done.append)
    assert calls == [2, 2, 1, 1]
    assert done == [1]
    torch.testing.assert_close(index.features, inferencer.index(folder).features)
