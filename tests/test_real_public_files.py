"""Real photographs, sentences and clips by the adapters of public files, counted by verify-dataset."""

import json
import tarfile

import pytest

from x2vlm.commands.shared.dataset_sources import DatasetSource
from x2vlm.commands.verify_dataset import verify
from x2vlm.data.datasets.file_formats.coco import Coco
from x2vlm.data.datasets.file_formats.plain_text import ParallelText
from x2vlm.data.datasets.file_formats.video_folder import VideoFolder
from x2vlm.data.datasets.file_formats.webdataset import WebDataset
from x2vlm.data.datasets.public_captions.caption_lines import CaptionLines
from x2vlm.data.datasets.public_captions.multi30k import Multi30k
from x2vlm.data.datasets.public_questions.nlvr_v1 import NlvrV1

pytestmark = pytest.mark.slow


def report_on(adapter):
    return verify(DatasetSource("real", adapter, {}))


@pytest.fixture(scope="module")
def flickr8k(shared, tmp_path_factory):
    """Photographs of Flickr8k in a folder under both of their names, and their captions as they were published."""
    root, source = tmp_path_factory.mktemp("flickr8k"), shared / "data" / "real_captions" / "flickr8k"
    rows = [json.loads(line) for line in (source / "flickr8k_val.jsonl").read_text().splitlines()]
    for name in ("by_key", "by_photo_id"):
        (root / name).mkdir()
    photo_ids = {row["key"]: row["photo_id"] for row in rows}
    for path in sorted(source.glob("flickr8k_val-*.tar")):
        with tarfile.open(path) as tar:
            for member in tar:
                key, data = member.name.removesuffix(".jpg"), tar.extractfile(member).read()
                if key in photo_ids:
                    (root / "by_key" / member.name).write_bytes(data)
                    (root / "by_photo_id" / f"{photo_ids[key]}.jpg").write_bytes(data)
    for name, key, mark in (("Flickr8k.token.txt", "captions", ""), ("flickr8kzhc.caption.txt", "captions_zh", "zhc#")):
        lines = [f"{row['key']}.jpg#{mark}{n}\t{text}" for row in rows for n, text in enumerate(row[key])]
        (root / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return root


def test_coco_has_its_captions_and_boxes(shared):
    coco = shared / "data" / "real_captions" / "coco"
    report = report_on(Coco(coco / "images", coco / "captions.json", coco / "instances.json"))
    assert (report["ok"], report["records"], report["bad"]) == (True, 312, 0)
    assert report["figures"]["words"]["count"] == 1_560
    assert report["kinds"] == {"object": 1_887 - 11}  # crowds are left out


def test_coco_instances_alone_are_read(shared):
    coco = shared / "data" / "coco128"
    report = report_on(Coco(coco / "images", instances_file=coco / "instances.json"))
    assert (report["ok"], report["records"]) == (True, 95)
    assert report["kinds"] == {"object": 711}


@pytest.mark.parametrize("name", ["Flickr8k.token.txt", "flickr8kzhc.caption.txt"])
def test_flickr8k_has_five_captions_a_photograph_in_english_and_in_chinese(flickr8k, name):
    report = report_on(CaptionLines(flickr8k / name, flickr8k / "by_key"))
    assert (report["ok"], report["records"], report["repeated_ids"]) == (True, 557, 0)
    assert report["figures"]["words"]["count"] == 2_785


def test_multi30k_has_a_caption_in_each_language_and_photographs_that_are_missing_are_named(shared, flickr8k):
    text = shared / "data" / "multi30k_text"
    captions = {language: text / f"test_2016_flickr.{language}" for language in ("en", "de", "fr", "cs")}
    images = flickr8k / "by_photo_id"
    report = report_on(Multi30k(text / "test_2016_flickr.image_ids", captions, images, file_pattern="{}.jpg"))
    there = report["records"] - report["bad"]
    assert report["records"] == 1_000 and there > 0
    assert report["languages"] == dict.fromkeys(captions, there)
    assert all("No such file" in bad["reason"] for bad in report["bad_records"])


def test_multi30k_is_parallel_text_without_its_photographs(shared):
    text = shared / "data" / "multi30k_text"
    report = report_on(ParallelText({language: text / f"train.{language}" for language in ("en", "de", "fr", "cs")}))
    assert (report["ok"], report["records"], report["bad"]) == (True, 2_000, 0)
    assert report["languages"] == dict.fromkeys(("en", "de", "fr", "cs"), 2_000)


def test_nlvr_has_its_statements_and_boxes(shared):
    folder = shared / "data" / "nlvr_v1"
    report = report_on(NlvrV1(folder / "dev.jsonl", folder / "dev_images.tar", only_true=False, subset=dict(stop=300)))
    assert (report["ok"], report["records"], report["bad"], report["unusable_elements"]) == (True, 300, 0, 0)


def test_clips_of_every_container_are_read(shared):
    report = report_on(VideoFolder(shared / "data" / "videos"))
    assert (report["ok"], report["records"], report["bad"]) == (True, 7, 0)


def test_a_shard_in_webdataset_layout_is_read(shared):
    report = report_on(WebDataset(shared / "data" / "real_captions" / "wds_sample-000000.tar"))
    assert (report["ok"], report["records"]) == (True, 64)
