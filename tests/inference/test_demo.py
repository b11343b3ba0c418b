"""The demo, from the command to the page, with a config that takes seconds."""

import re

import pytest
from mmengine.config import Config

from x2vlm.cli import run
from x2vlm.commands import demo


@pytest.fixture
def config(cfg, tmp_path):
    """A config file of a training of two iterations."""
    load, pack = [dict(type="LoadImage")], [dict(type="Resize", size=16), dict(type="PackSample")]

    def stream(kind, steps, objectives, **more):
        data = dict(type="ToyWorld", kind=kind, num_scenes=50, pipeline=[*steps, *pack])
        return dict(dataset=data, collate=dict(type="PairCollate"), batch_size=4, objectives=objectives, **more)

    frames = dict(type="SampleFrames", num_frames=2)
    whole = cfg.to_dict() | dict(
        streams=dict(
            image=stream("image", [*load, dict(type="PickCaption")], ("itc", "itm", "mlm")),
            region=stream("region", [*load, dict(type="PickRegions")], ("itc", "itm", "mlm", "bbox"), max_images=2),
            video=stream("video", [frames, dict(type="PickCaption")], ("itc", "itm", "mlm")),
        ),
        train_cfg=dict(type="MixedTrainLoop", max_iters=2, val_interval=1),
        val_cfg=dict(type="EvaluationLoop"),
        test_cfg=dict(type="EvaluationLoop"),
        optim_wrapper=dict(type="MixedOptimWrapper", optimizer=dict(type="AdamW", lr=1e-3)),
        default_hooks=dict(
            logger=dict(type="LoggerHook", interval=1), checkpoint=dict(type="CheckpointHook", interval=2)
        ),
        visualizer=dict(type="Visualizer", vis_backends=[dict(type="LocalVisBackend")]),
        randomness=dict(seed=0),
    )
    path = tmp_path / "tiny_toy.py"
    Config(whole).dump(path)
    return path


def test_one_command_trains_tests_and_writes_the_page(config, tmp_path, capsys):
    folder = tmp_path / "demo"
    assert run("demo", ["--config", str(config), "--work-dir", str(folder)]) == 0
    page, output = (folder / "report.html").read_text(), capsys.readouterr().out
    assert str(folder / "report.html") in output
    assert "x2vlm train CONFIG" in output
    for text in (
        "What tiny_toy learned",
        "Examples: images",
        "Examples: video retrieval",
        "ITC:",
        "Box: L1",
        "peak memory",
    ):
        assert text in page
    assert "max_iters" in page  # the full config
    assert page.count('class="main"') >= 3 * 3 + 2  # a curve per stream and objective


@pytest.mark.slow
def test_a_second_run_does_not_touch_the_first(config, tmp_path):
    folder = tmp_path / "demo"
    folder.mkdir()
    (folder / "report.html").write_text("mine")
    argv = ["--config", str(config), "--work-dir", str(folder), "--cfg-options", "train_cfg.max_iters=1"]
    assert demo.main([*argv, "default_hooks.checkpoint.interval=1"]) == 0
    assert (folder / "report.html").read_text() == "mine"
    page = (tmp_path / "demo_2" / "report.html").read_text()
    assert re.search(r"x2vlm demo --config \S*tiny_toy.py --cfg-options train_cfg.max_iters=1", page)


def test_a_folder_is_free_if_nothing_is_in_it(tmp_path):
    path = tmp_path / "demo"
    assert demo.unused_folder(path) == path
    path.mkdir()
    assert demo.unused_folder(path) == path
    (path / "x").write_text("")
    (tmp_path / "demo_2").write_text("a file")
    assert demo.unused_folder(path) == tmp_path / "demo_3"


def test_without_the_configs_a_sentence_says_where_they_are(capsys):
    assert run("demo", ["--config", "configs/demo/toy_pretrian.py"]) == 1
    assert "Name a config: x2vlm demo --config FILE" in capsys.readouterr().err


def test_the_config_of_the_checkout_is_found_from_any_folder(tmp_path, monkeypatch, root):
    monkeypatch.chdir(tmp_path)
    assert demo.find_config("configs/base/runtime.py") == root / "configs/base/runtime.py"


def test_a_wrong_option_ends_the_demo_before_anything_is_written(config, tmp_path, capsys):
    argv = ["--config", str(config), "--work-dir", str(tmp_path / "demo"), "--cfg-options", "train_cfg.max_itres=1"]
    assert run("demo", argv) == 1
    assert "max_iters" in capsys.readouterr().err
    assert not (tmp_path / "demo").exists()
