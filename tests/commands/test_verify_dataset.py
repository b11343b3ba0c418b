import io
import json

import numpy as np
import pytest
from PIL import Image

from x2vlm.cli import run
from x2vlm.commands.verify_dataset import main


def image(size=(8, 6)):
    buffer = io.BytesIO()
    Image.new("RGB", size, (200, 30, 30)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "a.png").write_bytes(image())
    (tmp_path / "broken.png").write_bytes(image()[:40])
    lines = [
        {"image": "a.png", "caption": "one", "image_id": "1"},
        {"image": "broken.png", "caption": "two", "image_id": "2"},
        {"image": "a.png", "caption": "three", "image_id": "1", "elems": [{"bb": [0, 0, 99, 1], "caption": "wide"}]},
        {"image": "a.png", "caption": "!!!", "image_id": "4"},
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines) + "{broken\n"
    (tmp_path / "train.jsonl").write_text(text)
    return tmp_path


@pytest.fixture
def config(folder):
    (folder / "config.py").write_text(
        "data_root = '.'\n"
        "streams = dict(image=dict(batch_size=2, dataset=dict(type='JsonLines', ann_file='train.jsonl', pipeline=["
        "dict(type='LoadImage'), dict(type='PickCaption'), dict(type='PackSample')])))\n"
    )
    return folder / "config.py"


def test_every_broken_record_is_named_with_file_line_and_reason(folder, capsys):
    assert main([str(folder / "train.jsonl")]) == 1
    shown = capsys.readouterr().out
    assert "5 records, 2 of them cannot be used" in shown
    assert "train.jsonl:2: " in shown
    assert "train.jsonl:5: broken JSON" in shown
    assert "1: 2 records (train.jsonl:1, train.jsonl:3)" in shown
    assert "train.jsonl:3: elems[0] 'wide': its box" in shown


def test_a_config_is_judged_with_its_pipeline(config, folder, capsys):
    options = ["--cfg-options", f"data_root={folder}"]
    assert main([str(config), "--stream", "image", "--json", *options]) == 1
    report = json.loads(capsys.readouterr().out)["streams.image"]
    # The fourth caption has no word: the annotation is in order, but training cannot use it.
    assert [bad["where"] for bad in report["bad_records"]] == ["train.jsonl:2", "train.jsonl:4", "train.jsonl:5"]
    assert (report["records"], report["ok"], report["repeated_ids"]) == (5, False, 1)
    assert report["figures"]["width"]["p50"] == 8


@pytest.mark.parametrize(("share", "status"), [("0.3", 1), ("0.4", 0)])
def test_a_share_of_bad_records_can_be_in_order(folder, share, status):
    assert main([str(folder / "train.jsonl"), "--max-bad", share]) == status


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["gone.jsonl"], "gone.jsonl does not exist"),
        (["{config}", "--stream", "imagge"], "has no data set 'imagge'. Did you mean"),
        (["{config}:region"], "has no data set 'region'."),
        (["JsonLines('a')"], "expected Adapter(name=value, ...)"),
        (["JsonLines(ann_file=open('a'))"], "expected Adapter(name=value, ...)"),
        (["JsonLine(ann_file='a')"], "'JsonLine' is not a registered"),
        (["{folder}/a.png"], "is not understood"),
        (["{folder}/empty"], "no image in"),
        (["{folder}/train.jsonl", "--stream", "image"], "is no config"),
    ],
)
def test_what_names_no_data_is_reported_and_ends_with_2(words, sentence, config, folder, capsys):
    (folder / "empty").mkdir()
    assert run("verify-dataset", [word.format(config=config, folder=folder) for word in words]) == 2
    assert sentence in capsys.readouterr().err


def test_data_can_be_a_folder_or_an_adapter_written_out(folder, capsys):
    (folder / "inner").mkdir()
    Image.fromarray(np.zeros((4, 5, 3), np.uint8)).save(folder / "inner" / "b.JPG")
    assert main([str(folder)]) == 1
    assert "3 records, 1 of them cannot be used" in capsys.readouterr().out
    spec = f"JsonLines(ann_file={str(folder / 'train.jsonl')!r}, subset=dict(stop=1))"
    assert main([spec.replace("dict(stop=1)", "{'stop': 1}"), "--json"]) == 0
    assert next(iter(json.loads(capsys.readouterr().out).values()))["records"] == 1


def verified(capsys, *argv):
    status = main([*argv, "--json"])
    (report,) = json.loads(capsys.readouterr().out).values()
    return status, report


def lines_of(folder, *lines):
    (folder / "a.png").write_bytes(image((64, 48)))
    (folder / "own.jsonl").write_text("".join(json.dumps({"image": "a.png", **line}) + "\n" for line in lines))
    return str(folder / "own.jsonl")


def test_corners_in_the_place_of_sizes_are_told_and_are_not_in_order(tmp_path, capsys):
    elems = [{"bb": [40, 20, 60, 40], "caption": "a"}, {"bb": [1, 1, 20, 20], "caption": "b"}]
    status, report = verified(capsys, lines_of(tmp_path, *[{"elems": elems, "image_id": n} for n in range(4)]))
    assert status == 1 and report["bad"] == 0
    assert "4 of 8 boxes are none. 4 of the 4 boxes would fit as x0, y0, x1, y1" in report["convention"]


def test_a_stated_size_that_is_not_the_files_is_not_in_order(tmp_path, capsys):
    elems = [{"bb": [1, 1, 20, 20], "caption": "b"}]
    status, report = verified(capsys, lines_of(tmp_path, {"elems": elems, "width": 32, "height": 24}))
    assert (status, report["bad"]) == (1, 1)
    assert "32x24 are stated, but the image has 64x48" in report["bad_records"][0]["reason"]


def test_a_file_under_several_identities_is_told(tmp_path, capsys):
    status, report = verified(capsys, lines_of(tmp_path, *[{"caption": "a dog", "id": n} for n in range(3)]))
    assert status == 0
    assert [one["where"] for one in report["split_files"]] == ["own.jsonl:2", "own.jsonl:3"]


def test_the_published_count_of_a_split_is_known(tmp_path, capsys):
    from tests.data.datasets.published_layouts import karpathy_coco

    karpathy_coco(tmp_path)
    spec = f"KarpathySplit(ann_file='{tmp_path}/dataset_coco.json', image_root='{tmp_path}/images', split='test')"
    assert main([spec]) == 1
    assert "coco test: 5,000 records were published, 3 are here: 4,997 are missing" in capsys.readouterr().out
    _, report = verified(
        capsys, spec.replace("'test')", "'test', subset=dict(stop=1))").replace("dict(stop=1)", "{'stop': 1}")
    )
    assert report["published"] == ""


@pytest.mark.parametrize(
    ("layout", "change", "count"),
    [
        ("okvqa", {}, 9_009),
        ("vqa", {}, 443_757),
        ("coco_cn", {}, 18_341),
        ("coco_cn", {"captions_apart": True}, None),  # captions are not the images that were counted
        ("msvd", {"videos": None}, 1_970),
        ("msvd_csv", {"captions_apart": False}, None),  # describes more clips than are used
        ("msvd_qa", {}, 13_157),
        ("msvd_qa", {"video_map": None}, None),
        ("msrvtt_qa", {}, 12_278),
    ],
)
def test_counts_are_compared_with_those_of_the_same_records(layout, change, count, tmp_path, monkeypatch):
    from tests.data.datasets import published_benchmarks, published_captions, published_layouts
    from x2vlm.building import build
    from x2vlm.registry import DATASETS

    modules = (published_layouts, published_benchmarks, published_captions)
    make = next(getattr(module, layout) for module in modules if hasattr(module, layout))
    monkeypatch.chdir(tmp_path)
    assert build(DATASETS, make(tmp_path).config | change).published_count() == count


def test_vqa_v1_is_told_from_ok_vqa_whose_files_have_its_names(tmp_path):
    from tests.data.datasets.published_layouts import okvqa
    from x2vlm.building import build
    from x2vlm.registry import DATASETS

    config = {**okvqa(tmp_path).config, "image_root": tmp_path / "images", "annotations_file": None}
    file = tmp_path / config["questions_file"]
    file.write_text(file.read_text().replace("OK-VQA", "VQA"))
    assert build(DATASETS, {**config, "questions_file": file}).published_count() == 248_349


def test_fewer_than_no_workers_are_refused(capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["config.py", "--workers", "-1"])
    assert "--workers: -1 is no count from 0" in capsys.readouterr().err
