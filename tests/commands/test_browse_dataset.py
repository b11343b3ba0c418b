import base64
import io
import json
import re

import numpy as np
import pytest
import torch
from PIL import Image

from x2vlm.building import ConfigError
from x2vlm.commands.browse_dataset import main
from x2vlm.data.inspection.draw_record import draw_annotations, greyed, unnormalised, with_boxes
from x2vlm.data.transforms.images.load_crop_flip import LoadImage, Resize
from x2vlm.data.transforms.pack_sample import PackSample


@pytest.fixture
def folder(tmp_path):
    Image.new("RGB", (64, 48), (40, 90, 200)).save(tmp_path / "a.png")
    elems = [{"bb": [8, 4, 20, 30], "caption": "<b>dog</b>"}, {"bb": [40, 20, 60, 40], "caption": "corners"}]
    lines = [
        {"image": "a.png", "caption": "a <dog>", "elems": elems, "image_id": 7},
        {"image": "gone.png", "caption": "x"},
    ]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (tmp_path / "config.py").write_text(
        "data_root = '.'\n"
        "streams = dict(region=dict(batch_size=2, dataset=dict(type='JsonLines', ann_file='train.jsonl', pipeline=["
        "dict(type='LoadImage'), dict(type='PickRegions', training=False), dict(type='Resize', size=32),"
        "dict(type='PackSample')])))\n"
    )
    return tmp_path


def images(text):
    found = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', text)
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(one)))) for one in found]


def test_a_page_shows_annotations_beside_what_training_is_given(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    assert main(["config.py", "--out", "out/page.html"]) == 0
    text = (folder / "out" / "page.html").read_text()
    stored, trained = images(text)
    assert (stored.shape, trained.shape) == ((48, 64, 3), (32, 32, 3))
    assert "train.jsonl:1 (id 7)" in text and "gone.png" in text
    assert "out/page.html: 2 records of streams.region" in capsys.readouterr().out


def test_texts_of_the_data_cannot_become_part_of_the_page(folder, monkeypatch):
    monkeypatch.chdir(folder)
    main(["config.py", "--out", "page.html"])
    text = (folder / "page.html").read_text()
    assert "&lt;b&gt;dog&lt;/b&gt;" in text and "<b>dog" not in text


def test_a_box_of_another_convention_is_named_and_the_others_are_drawn(folder):
    record = {"where": "w", "image": folder / "a.png", "elems": [{"bb": [8, 4, 20, 30], "caption": "dog"}]}
    record["elems"] += [{"bb": [40, 20, 60, 40], "caption": "corners"}]
    drawing = draw_annotations(record)
    changed = (drawing.images[0] != (40, 90, 200)).any(axis=2)
    rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
    assert (columns[0], columns[-1], rows[0], rows[-1]) == (8, 27, 4, 33)
    assert drawing.texts == [("dog", "#e6194b")]
    assert ["corners" in problem and "not inside" in problem for problem in drawing.problems] == [True]


def test_a_sheet_holds_every_image(folder, monkeypatch):
    monkeypatch.chdir(folder)
    assert main(["train.jsonl", "--out", "sheet.png"]) == 0
    assert Image.open(folder / "sheet.png").size == (256, 272)


def test_what_can_be_neither_page_nor_sheet_is_refused(folder):
    with pytest.raises(ConfigError, match=r"--out page\.pdf: expected a page"):
        main([str(folder / "train.jsonl"), "--out", "page.pdf"])


def test_a_source_that_is_not_there_is_told(tmp_path, capsys):
    assert main([str(tmp_path / "gone.jsonl"), "--out", str(tmp_path / "a.html")]) == 2
    assert "gone.jsonl does not exist" in capsys.readouterr().err


def test_normalised_pixels_become_levels_again(folder):
    pack, record = PackSample(), {"where": "w", "image": folder / "a.png"}
    pixels = pack(Resize(8)(LoadImage()(record))).pixels
    assert unnormalised(pixels, pack.values).reshape(-1, 3)[0].tolist() == [40, 90, 200]


def test_masked_patches_are_dark(folder):
    frame = np.full((4, 4, 3), 200, np.uint8)
    dark = greyed(frame, torch.tensor([True, False, False, False]), 0.5)
    assert dark[..., 0].tolist() == [[100, 100, 200, 200]] * 2 + [[200] * 4] * 2
    assert with_boxes(frame, []).tolist() == frame.tolist()
