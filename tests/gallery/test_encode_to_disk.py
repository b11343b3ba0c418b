"""Encoding a gallery to disk: bad and duplicate records, images without texts, diverged models."""

from dataclasses import replace

import pytest
import torch

from tests.gallery.gallery_records import COLLATE, SampleDataset, encode_to, random_model, sample
from tests.models.conftest import tiny_model
from x2vlm.gallery.encode_to_disk import encode_gallery
from x2vlm.gallery.gallery_dataset import GalleryData
from x2vlm.gallery.gallery_layout import GalleryStorage
from x2vlm.gallery.resumable import finished_shards
from x2vlm.gallery.stored_gallery import StoredGallery


@pytest.fixture(scope="module")
def model():
    return random_model()


def test_images_without_texts_make_a_gallery(model, tmp_path):
    generator = torch.Generator().manual_seed(1)
    samples = [replace(sample(i, generator), texts=[], boxes_xyxy=None, has_box=None) for i in range(5)]
    data = GalleryData("test", SampleDataset(samples), COLLATE, 2)
    encode_gallery(model, data, tmp_path, GalleryStorage(part_records=2))
    gallery = StoredGallery(tmp_path, 3)
    assert gallery.context_records.tolist() == [0, 1, 2, 3, 4]
    assert len(gallery.text_ids) == 0
    assert gallery.where(3) == "data:3"


def test_records_keep_their_index_past_bad_ones_and_duplicates(model, tmp_path):
    data, gallery = encode_to(tmp_path, model, "images")
    assert gallery.context_records.tolist() == [0, 1, 2, 4, 5, 6, 7, 8, 9, 11]  # 3 is bad, 10 has the identity of 1
    assert [gallery.where(i) for i in range(10)] == [f"data:{i}" for i in gallery.context_records.tolist()]
    assert data.bad_record_log.counts["test"].bad == 1


def test_a_diverged_model_writes_no_shard(tmp_path):
    net = tiny_model()
    torch.nn.init.constant_(net.vision_proj.weight, float("nan"))
    with pytest.raises(ValueError, match="NaN"):
        encode_to(tmp_path, net, "images")
    assert not finished_shards(tmp_path / "parts")
