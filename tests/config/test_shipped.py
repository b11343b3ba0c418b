"""Configs outside the repository, values that cannot be, and what is likely not meant."""

import logging

import pytest

from x2vlm.building import ConfigError, build
from x2vlm.config import load_config
from x2vlm.config.cfg_options import CfgOptions, python_value
from x2vlm.config.shipped import shipped_configs, shipped_file
from x2vlm.registry import VISION_ENCODERS

BASE = """
from mmengine.config import read_base

with read_base():
    from x2vlm.configs.demo.toy_pretrain import *

"""


@pytest.fixture
def write(tmp_path, monkeypatch):
    """``write(lines, name)``: a config in a folder far from the repository, on top of one of the library's."""
    monkeypatch.chdir(tmp_path)

    def write(lines: str = "", name: str = "mine.py", base: str = BASE):
        (tmp_path / name).write_text(base + lines + "\n")
        return tmp_path / name

    return write


def problems(path, **overrides) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(path, overrides or None)
    return str(caught.value)


def test_a_config_anywhere_is_a_few_lines_on_top_of_one_of_the_library(write, root):
    cfg = load_config(write("model.fusion_encoder.depth = 7"))
    theirs = load_config(root / "configs" / "demo" / "toy_pretrain.py")
    assert cfg.model.fusion_encoder.depth == 7
    assert cfg.streams.to_dict() == theirs.streams.to_dict()
    assert cfg.filename.endswith("mine.py")


def test_such_a_config_may_be_a_base_itself_and_lose_an_objective(write):
    write("model.fusion_encoder.depth = 7")
    relative = "from mmengine.config import read_base\n\nwith read_base():\n    from .mine import *\n\n"
    cfg = load_config(write('model.objectives.pop("itm")', "child.py", relative))
    assert cfg.model.fusion_encoder.depth == 7
    assert "itm" not in cfg.model.objectives


def test_a_mistake_in_such_a_config_has_its_own_file_and_line(write):
    assert "mine.py, line 7: there is no key 'fusion_encodr' here" in problems(write("model.fusion_encodr.depth = 1"))


def test_a_base_that_the_library_has_not_is_named_with_the_nearest(write):
    base = BASE.replace("toy_pretrain", "toy_pretrian")
    assert "toy_pretrian.py does not exist. Did you mean 'toy_pretrain.py'?" in problems(write(base=base))


def test_the_librarys_configs_are_found_by_their_module():
    assert shipped_file("x2vlm.configs.demo.toy_pretrain").is_file()
    assert shipped_configs().name == "configs"


def test_a_dumped_config_is_inherited_again(write):
    load_config(write()).dump("dumped.py")
    base = "from mmengine.config import read_base\n\nwith read_base():\n    from .dumped import *\n\n"
    cfg = load_config(write("model.fusion_encoder.depth = 7\nmodel.objectives.itm.weight = 0.5", "again.py", base))
    assert (cfg.model.fusion_encoder.depth, cfg.model.objectives.itm.weight) == (7, 0.5)
    assert list(cfg.streams) == list(load_config("mine.py").streams)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "model.text_encoder.config.hidden_sise = 8",
            "model.text_encoder.config: 'bert' of transformers has no setting 'hidden_sise'. Did you mean 'hidden",
        ),
        (
            "model.text_encoder.config.model_type = 'bret'",
            "transformers has no model_type 'bret'. Did you mean 'bert'?",
        ),
        ("model.vision_encoder.options.dept = 2", "model.vision_encoder.options: timm's "),
        ("model.fusion_encoder.depth = 'two'", "model.fusion_encoder.depth: 'two' is not a whole number."),
        ("model.fusion_encoder.depth = [2]", "model.fusion_encoder.depth: [2] is not a whole number."),
        ("model.num_frames = None", "model.num_frames: None is not a whole number."),
        ("streams.image.batch_size = 2.5", "streams.image.batch_size: 2.5 is not a whole number."),
    ],
)
def test_values_that_cannot_be_are_told_without_building_anything(write, line, message):
    assert message in problems(write(line))


def test_settings_that_transformers_and_timm_know_are_taken(write):
    lines = "model.text_encoder.config.layer_norm_eps = 1e-5\nmodel.vision_encoder.options.drop_path_rate = 0.1"
    assert load_config(write(lines)).model.text_encoder.config.layer_norm_eps == 1e-5


def test_a_hook_may_have_a_priority(write):
    hooks = 'default_hooks.checkpoint.priority = "LOW"\ncustom_hooks = [dict(type="EMAHook", priority=49)]'
    assert load_config(write(hooks)).custom_hooks[0].priority == 49


def test_an_objective_that_no_stream_runs_is_warned_of(write, caplog):

    with caplog.at_level(logging.WARNING, logger="x2vlm"):
        load_config(write("\n".join(f"streams.{name}.objectives = ['itm']" for name in ("image", "region", "video"))))
    assert "mine.py: model.objectives.itc is run by no stream (image, region, video): it learns nothing." in caplog.text


def test_a_stream_that_loses_an_objective_is_told(write, caplog):
    with caplog.at_level(logging.INFO, logger="x2vlm"):
        load_config(write("streams.image.objectives = ['itc', 'itm']\nmodel.objectives.pop('itm')"))
    assert "streams.image no longer runs itm, which the model lost" in caplog.text


def test_a_list_of_dicts_is_taken_from_the_command_line(write):
    parser = __import__("argparse").ArgumentParser()
    parser.add_argument("--cfg-options", nargs="+", action=CfgOptions)
    hooks = "custom_hooks=[dict(type=EMAHook,priority=49),{'type':'StopHook'}]"
    given = parser.parse_args(["--cfg-options", hooks]).cfg_options
    cfg = load_config(write(), given)
    assert [hook.type for hook in cfg.custom_hooks] == ["EMAHook", "StopHook"]
    assert python_value("[dict(a=-1,b=(x,true))]") == [{"a": -1, "b": ("x", True)}]
    with pytest.raises(SystemExit):
        parser.parse_args(["--cfg-options", "custom_hooks=[dict(a=open('x'))]"])


def test_build_understands_mmengines_order():
    encoder = build(dict(type="BEiT2", image_size=16, depth=1, width=16), VISION_ENCODERS)
    assert encoder.width == 16


def test_a_base_of_the_library_that_is_looked_for_beside_the_config_gets_the_import_to_write(write):
    path = write(base=BASE.replace("x2vlm.configs", ".configs"))
    assert "Outside the repository write 'from x2vlm.configs.demo.toy_pretrain import *'." in problems(path)


def test_a_config_of_the_library_that_is_not_here_is_named_with_its_place(write):
    with pytest.raises(ConfigError, match=r"^configs/demo/toy_pretrain\.py does not exist\. The library's") as told:
        load_config("configs/demo/toy_pretrain.py")
    assert str(told.value).endswith(f"is {shipped_configs() / 'demo' / 'toy_pretrain.py'}.")


def test_an_import_that_is_not_there_is_told_with_the_file_of_the_user(write):
    path = write("from x2vlm.models.vision import NotThere\nmodel.vision_encoder = dict(type=NotThere)")
    assert "model.vision_encoder: mine.py, line 7: x2vlm.models.vision has no 'NotThere'" in problems(path)
