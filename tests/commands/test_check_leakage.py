import io
import json
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from x2vlm.building import ConfigError
from x2vlm.commands.check_leakage import main
from x2vlm.data.datasets.file_formats.jsonl import JsonLines
from x2vlm.data.datasets.file_formats.tar_shards import TarShards


def scene(seed, size=(96, 72)):
    coarse = np.random.default_rng(seed).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


@pytest.fixture
def folders(tmp_path):
    """A training set of images 0 to 5, a test set of 4 (mirrored and halved), 6 and a blank one."""
    for name in ("train", "test"):
        (tmp_path / name).mkdir()
    lines = []
    for seed in range(6):
        scene(seed).save(tmp_path / "train" / f"{seed}.png")
        lines.append({"image": f"{seed}.png", "caption": "x", "image_id": f"t{seed}"})
    (tmp_path / "train" / "train.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    scene(4).transpose(Image.Transpose.FLIP_LEFT_RIGHT).resize((48, 36)).save(tmp_path / "test" / "copy.png")
    scene(6).save(tmp_path / "test" / "new.png")
    Image.new("RGB", (40, 30), (255, 255, 255)).save(tmp_path / "test" / "blank.png")
    (tmp_path / "test" / "torn.png").write_bytes(b"\x89PNG")
    return tmp_path / "train", tmp_path / "test"


def test_the_list_it_writes_keeps_the_copy_out_of_training(folders, tmp_path, capsys):
    train, test = folders
    out = tmp_path / "out" / "exclude.txt"
    assert main([str(train / "train.jsonl"), str(test), "--out", str(out)]) == 1
    assert out.read_text() == "t4\n"
    (pair,) = map(json.loads, (out.parent / "exclude.pairs.jsonl").read_text().splitlines())
    assert (pair["train_where"], pair["test_id"], pair["mirrored"]) == ("train.jsonl:5", "copy.png", True)
    shown = capsys.readouterr().out
    assert "1 with too little contrast to compare; 1 unreadable" in shown
    assert "torn.png: " in shown
    left = JsonLines(train / "train.jsonl", subset=dict(exclude_ids=str(out)))
    assert [left.record(i)["id"] for i in range(len(left))] == ["t0", "t1", "t2", "t3", "t5"]
    assert main([str(train / "train.jsonl"), str(test), "--distance", "-1"]) == 0  # nothing is that near


def test_identities_are_shared_where_both_sets_have_them(folders, capsys):
    train, _ = folders
    spec = f"JsonLines(ann_file={str(train / 'train.jsonl')!r}, subset={{'start': 1, 'stop': 3}})"
    assert main([str(train / "train.jsonl"), spec, "--by", "ids"]) == 1
    assert "2 pairs by identity, 0 by image" in capsys.readouterr().out


def test_a_pair_that_is_shared_both_ways_counts_once(folders, capsys):
    train, _ = folders
    assert main([str(train / "train.jsonl"), str(train / "train.jsonl")]) == 1
    assert "6 pairs by identity, 0 by image" in capsys.readouterr().out


def test_options_change_the_config_and_not_the_folder_beside_it(folders, tmp_path, capsys):
    train, test = folders
    (tmp_path / "config.py").write_text(
        "streams = dict(image=dict(batch_size=2, dataset=dict(type='JsonLines', ann_file='train.jsonl')))\n"
    )
    options = ["--cfg-options", f"data_root={train}"]
    assert main([str(tmp_path / "config.py"), str(test), *options]) == 1
    assert "1 by image" in capsys.readouterr().out
    with pytest.raises(ConfigError, match="neither set is named by a config"):
        main([str(train), str(test), *options])


def test_a_list_that_is_there_is_not_overwritten(folders, tmp_path):
    (tmp_path / "exclude.txt").write_text("mine\n")
    with pytest.raises(ConfigError, match="exists"):
        main([str(folders[0]), str(folders[1]), "--out", str(tmp_path / "exclude.txt")])
    assert (tmp_path / "exclude.txt").read_text() == "mine\n"


CHANGES = {
    "half": lambda image: image.resize((image.width // 2, image.height // 2), Image.Resampling.BICUBIC),
    "jpeg40": lambda image: image,
    "mirrored": lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "cropped": lambda image: image.crop(
        (
            round(0.05 * image.width),
            round(0.02 * image.height),
            round(0.98 * image.width),
            round(0.95 * image.height),
        )
    ),
    "all": lambda image: CHANGES["half"](CHANGES["cropped"](CHANGES["mirrored"](image))),
}


@pytest.mark.slow
def test_copies_planted_among_real_photographs_are_found_and_nothing_else(shared, tmp_path):
    captions = shared / "data" / "real_captions"
    if not captions.is_dir():
        pytest.skip(f"needs the photographs in {captions}, which are not here")
    test = TarShards(captions / "flickr8k" / "flickr8k_val.jsonl", subset=dict(stop=150))
    train = TarShards(captions / "flickr8k" / "flickr8k_train.jsonl", subset=dict(stop=600))
    (tmp_path / "train").mkdir()
    for i in range(len(train)):
        (tmp_path / "train" / f"own-{i}.jpg").write_bytes(train.record(i)["image"])
    for image in (captions / "coco" / "images").glob("*.jpg"):
        (tmp_path / "train" / f"coco-{image.name}").write_bytes(image.read_bytes())
    for i in range(len(test)):
        record = test.record(i)
        kind = list(CHANGES)[i % len(CHANGES)]
        image = CHANGES[kind](Image.open(io.BytesIO(record["image"])).convert("RGB"))
        quality = 40 if kind in ("jpeg40", "all") else 90
        image.save(tmp_path / "train" / f"{kind}-{record['id']}.jpg", quality=quality)
    out = tmp_path / "exclude.txt"
    spec = f"TarShards(ann_file={str(captions / 'flickr8k' / 'flickr8k_val.jsonl')!r}, subset={{'stop': 150}})"
    assert main([str(tmp_path / "train"), spec, "--out", str(out)]) == 1
    pairs = [json.loads(line) for line in (tmp_path / "exclude.pairs.jsonl").read_text().splitlines()]
    right = [pair for pair in pairs if pair["train_id"].endswith(f"-{pair['test_id']}.jpg")]
    assert Counter(pair["train_id"].partition("-")[0] for pair in right) == dict.fromkeys(CHANGES, 30)
    assert pairs == right
