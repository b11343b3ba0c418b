"""A folder of photographs, encoded once and searched."""

import numpy as np
import pytest
from PIL import Image

from x2vlm.inference import Inferencer
from x2vlm.inference.image_index import ImageIndex
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


def test_broken_files_are_left_out_and_named(inferencer, folder):
    (folder / "broken.jpg").write_bytes(b"nonsense")
    index = inferencer.index(folder)
    assert len(index) == 5
    ((name, reason),) = index.broken
    assert name.endswith("broken.jpg")
    assert "broken" in reason
    with pytest.raises(ValueError, match="none of the 1 images can be read"):
        inferencer.index([folder / "broken.jpg"])


def test_an_index_is_read_as_it_was_written_and_damage_is_found(inferencer, folder, tmp_path):
    index = inferencer.index(folder)
    index.save(tmp_path / "index")
    again = ImageIndex.load(tmp_path / "index")
    assert again.search(inferencer, "a red circle") == index.search(inferencer, "a red circle")
    (tmp_path / "index" / "images.json").write_text("[]")
    with pytest.raises(CheckpointError, match="5 features but names 0 images"):
        ImageIndex.load(tmp_path / "index")
    with pytest.raises(ValueError, match="only an index of image files"):
        inferencer.index([np.zeros((8, 8, 3), np.uint8)]).save(tmp_path / "other")
