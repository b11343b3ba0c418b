"""The commands that ask a trained model about image files."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from x2vlm.cli import run
from x2vlm.commands.infer import EXAMPLES, sort_arguments
from x2vlm.inference import Inferencer
from x2vlm.registry import OBJECTIVES


@pytest.fixture
def folder(cfg, checkpoint, tmp_path, monkeypatch):
    """A model folder and three photographs, in the current directory."""
    inferencer = Inferencer.from_checkpoint(cfg, checkpoint)
    inferencer.model.preprocessing = inferencer.processor.settings.to_dict()
    inferencer.model.save_pretrained(tmp_path / "model")
    (tmp_path / "photos").mkdir()
    for number in range(3):
        array = np.random.default_rng(number).integers(0, 256, (20, 30, 3), dtype=np.uint8)
        Image.fromarray(array).save(tmp_path / "photos" / f"{number}.png")
    monkeypatch.chdir(tmp_path)
    return inferencer


def lines(capsys):
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_match_gives_a_line_for_each_image_and_text(folder, capsys):
    assert run("match", ["model", "photos/0.png", "photos/1.png", "a red circle", "a blue square"]) == 0
    found = lines(capsys)
    assert [line["image"] for line in found] == ["photos/0.png"] * 2 + ["photos/1.png"] * 2
    best = folder.match("photos/1.png", ["a red circle", "a blue square"])[0]
    assert found[2] == {"image": "photos/1.png"} | best.to_dict()


def test_ground_draws_every_image_of_a_folder(folder, capsys):
    assert run("ground", ["model", "photos", "a red circle", "--out", "drawn", "--candidates", "2"]) == 0
    found = lines(capsys)
    assert len(found) == 3
    for line in found:
        assert Image.open(line["drawn"]).size == (640, 427)
        assert len(line["box_xyxy_px"]) == 4


def test_search_keeps_its_index(folder, capsys):
    assert run("search", ["model", "photos", "a red circle", "--k", "2", "--index", "index"]) == 0
    first = lines(capsys)
    assert run("search", ["model", "a red circle", "--k", "2", "--index", "index"]) == 0
    assert lines(capsys) == first
    assert [line["rank"] for line in first] == [1, 2]


def test_a_model_folder_may_name_parts_of_a_plugin_in_the_current_directory(folder, capsys):
    def rename(module):
        saved = json.loads(Path("model/config.json").read_text())
        saved["model"]["objectives"]["itm"]["type"] = module
        Path("model/config.json").write_text(json.dumps(saved))

    home = Path("plugins/itm_of_a_plugin")
    home.mkdir(parents=True)
    (home / "__init__.py").write_text(
        "from x2vlm.objectives import ITM\nfrom x2vlm.registry import OBJECTIVES\n\n\n"
        "@OBJECTIVES.register_module()\nclass PluginITM(ITM):\n    pass\n"
    )
    expected = folder.match("photos/0.png", "a red circle")[0].to_dict()
    rename("PluginITM")
    try:
        assert run("match", ["model", "photos/0.png", "a red circle"]) == 0
        assert lines(capsys) == [{"image": "photos/0.png"} | expected]
    finally:
        OBJECTIVES.module_dict.pop("PluginITM", None)
    rename("NobodysITM")
    assert run("match", ["model", "photos/0.png", "a red circle"]) == 2
    assert "import that first; commands import what they find" in capsys.readouterr().err


def test_explain_writes_a_map(folder, capsys):
    assert (
        run(
            "explain",
            ["model", "photos/0.png", "a red circle", "--word", "circle", "--method", "attention", "--out", "maps"],
        )
        == 0
    )
    (line,) = lines(capsys)
    assert np.array(line["heat"]).shape == (2, 2)
    assert Image.open(line["drawn"]).size == (30, 20)


def test_a_broken_image_costs_its_own_answer_alone(folder, capsys, tmp_path):
    (tmp_path / "photos" / "a.jpg").write_bytes(b"nonsense")
    assert run("match", ["model", "photos", "a red circle"]) == 1
    captured = capsys.readouterr()
    assert len(captured.out.splitlines()) == 3
    assert captured.err.startswith("photos/a.jpg is broken or not one of JPEG")


@pytest.mark.parametrize("index", [[], ["--index", "index"]])
def test_a_search_names_each_broken_image_once_and_beside_the_answers(folder, capfd, tmp_path, index):
    (tmp_path / "photos" / "a.jpg").write_bytes(b"nonsense")
    (tmp_path / "photos" / "b.jpg").touch()
    for _ in range(2):
        assert run("search", ["model", "photos", "a red circle", *index]) == 1
        captured = capfd.readouterr()
        assert [json.loads(line)["rank"] for line in captured.out.splitlines()] == [1, 2, 3]
        first, second = captured.err.splitlines()
        assert first.startswith("photos/a.jpg is broken or not one of JPEG")
        assert second == "photos/b.jpg is empty; expected an image"


@pytest.mark.parametrize(
    ("task", "arguments", "message"),
    [
        ("match", ["model", "gone.png", "a cat"], "there is no file gone.png"),
        ("match", ["model", "photos"], "give one text or more"),
        ("match", ["model", "a cat"], "give one image or more"),
        ("caption", ["model", "photos", "a cat"], "caption takes images alone"),
        ("caption", ["model", "photos"], "cannot caption"),
        ("match", ["nowhere", "photos", "a cat"], "neither a model folder nor a config file"),
        ("match", ["photos", "photos", "a cat"], "has no config.json"),
        ("match", ["model", "photos", "?!"], "nothing is left"),
    ],
)
def test_what_cannot_be_done_is_told_in_a_sentence(folder, capsys, task, arguments, message):
    assert run(task, arguments) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.out == ""


@pytest.mark.parametrize("task", EXAMPLES)
def test_every_command_shows_an_example(task, capsys):
    with pytest.raises(SystemExit, match="0"):
        run(task, ["--help"])
    assert f"x2vlm {task} work_dirs/model" in capsys.readouterr().out


def test_files_are_images_and_the_rest_are_texts(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.png").touch()
    images, texts = sort_arguments(["a.png", "a dog", "what?", "."])
    assert [str(image) for image in images] == ["a.png", "."]
    assert texts == ["a dog", "what?"]


def test_a_clip_among_images_costs_its_own_answer_alone(folder, capsys, tmp_path):
    (tmp_path / "clip.mp4").write_bytes(b"no clip")
    assert run("ground", ["model", "clip.mp4", "photos/0.png", "a circle"]) == 1
    captured = capsys.readouterr()
    assert len(captured.out.splitlines()) == 1
    assert "clip.mp4 is a video" in captured.err


@pytest.mark.parametrize("command", [["ground", "--out"], ["search", "--index"]])
def test_a_file_in_the_place_of_a_folder_for_answers_is_refused(folder, capsys, command):
    task, option = command
    assert run(task, ["model", "photos/0.png", "a red circle", option, "photos/1.png"]) == 2
    assert f"x2vlm {task}: {option}: photos/1.png cannot be a folder" in capsys.readouterr().err
