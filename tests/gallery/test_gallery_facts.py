import pytest
from mmengine.config import Config

from x2vlm.building import ConfigError
from x2vlm.gallery.gallery_facts import check_gallery_facts, gallery_facts, read_gallery_facts
from x2vlm.gallery.gallery_layout import GalleryStorage


@pytest.fixture
def cfg():
    evaluation = dict(dataset=dict(type="JsonLines", ann_file="a.jsonl"), batch_size=8)
    return Config(dict(model=dict(type="X2VLM"), test_cfg=dict(precision="bf16"), evaluations=dict(val=evaluation)))


def test_a_gallery_of_another_checkpoint_or_other_data_is_refused(cfg, tmp_path):
    for name in "ab":
        (tmp_path / name).write_text(name)
    facts = gallery_facts(cfg, "val", tmp_path / "a", 10, GalleryStorage())
    check_gallery_facts(tmp_path, facts)
    check_gallery_facts(tmp_path, facts)
    stored = read_gallery_facts(tmp_path)
    assert (stored["precision"], stored["records"], stored["batch_size"]) == ("bf16", 10, 8)
    with pytest.raises(ConfigError, match="a gallery made otherwise: checkpoint_sha256 was"):
        check_gallery_facts(tmp_path, gallery_facts(cfg, "val", tmp_path / "b", 10, GalleryStorage()))
    cfg.evaluations.val.dataset.ann_file = "b.jsonl"
    with pytest.raises(ConfigError, match="made otherwise: config_sha256 was"):
        check_gallery_facts(tmp_path, gallery_facts(cfg, "val", tmp_path / "a", 10, GalleryStorage()))


def test_a_folder_without_a_gallery_is_told(tmp_path):
    with pytest.raises(ConfigError, match=r"holds no gallery .* x2vlm gallery encode"):
        read_gallery_facts(tmp_path)
