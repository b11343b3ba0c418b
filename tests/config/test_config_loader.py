"""Loading configs: problems that MMEngine ignores are reported, all at once, before anything is built."""

import pytest
from mmengine.config import Config

from tests.config.small_config import problem, problems
from x2vlm.building import ConfigError
from x2vlm.config import load_config


def test_a_right_config_is_read_with_its_changes(write):
    cfg = load_config(write("model.vision_encoder.depth = 6"), {"streams.region.weight": 0.0})
    assert isinstance(cfg, Config)
    assert (cfg.model.vision_encoder.depth, cfg.streams.region.weight) == (6, 0.0)


def test_names_that_only_help_to_write_a_config_are_not_in_it(write):
    assert not {"size", "pipeline", "read_base"} & set(load_config(write()))


def test_a_config_that_was_read_and_dumped_is_right_again(write, tmp_path):
    load_config(
        write("from x2vlm.models.vision import BEiT2\nmodel.vision_encoder = dict(type=BEiT2, image_size=32)")
    ).dump("dumped.py")
    assert load_config("dumped.py").model.vision_encoder.type.endswith("BEiT2")


def test_yaml_configs_are_read_and_checked(tmp_path):
    (tmp_path / "x.yaml").write_text("randomness: {seed: 3}\nmodle: {type: SmallModel}\n")
    assert "nothing reads 'modle'. Did you mean 'model'?" in problems(tmp_path / "x.yaml")[1]


def test_all_problems_come_at_once_in_the_form_of_a_list(write):
    child = "model.vision_encoder.dept = 3\nstreams.region.objectives = ('itc', 'bboxes')"
    assert problems(write(child)) == [
        "child.py: 2 problems",
        "  model.vision_encoder: SmallVision has no argument 'dept'. Did you mean 'depth'? "
        "Accepted: depth, image_size.",
        "  streams.region.objectives: 'bboxes' is not one of this model's objectives: bbox, itc. Did you mean 'bbox'?",
    ]


def test_an_objective_that_is_removed_leaves_the_streams_too(write):
    cfg = load_config(write("model.objectives.pop('bbox')"))
    assert (cfg.streams.region.objectives, list(cfg.model.objectives)) == (("itc",), ["itc"])


def test_an_objective_that_is_replaced_stays_in_the_streams(write):
    cfg = load_config(write("model.objectives.pop('bbox')\nmodel.objectives.bbox = dict(type='SmallGoal')"))
    assert cfg.streams.region.objectives == ("itc", "bbox")


def test_an_objective_that_is_removed_leaves_the_factors_and_the_plan_too(write):
    child = "streams.region.objectives = dict(itc=0.5, bbox=1.0)\n"
    child += "turns = dict(one=dict(share=1.0, without=('bbox', 'itc')))\n"
    child += "train_cfg = dict(type='MixedTrainLoop', max_iters=1, plan=dict(until=dict(bbox=5), turns=turns))\n"
    cfg = load_config(write(child + "model.objectives.pop('bbox')"))
    assert cfg.streams.region.objectives == dict(itc=0.5)
    assert cfg.train_cfg.plan == dict(until={}, turns=dict(one=dict(share=1.0, without=("itc",))))


def test_a_stream_whose_only_objective_is_removed_is_reported(write):
    assert "streams.image.objectives: there are none." in problem(write("model.objectives.pop('itc')"))


@pytest.mark.parametrize("statement", ["model.objectives.pop('bboxx')", "model.objectives.pop('bboxx', None)"])
def test_removing_what_was_never_there_is_reported(write, statement):
    assert problem(write(statement)) == (
        "child.py, line 6: model.objectives has no 'bboxx' to remove. Did you mean 'bbox'? It has: itc, bbox."
    )


def test_a_misspelt_top_level_key_is_reported_with_its_line(write):
    assert (
        problem(write("modle = dict(embed_dim=3)")) == "child.py, line 6: nothing reads 'modle'. Did you mean 'model'?"
    )


def test_changing_a_bases_name_is_reported_as_it_changes_nothing(write):
    assert problem(write("size = 64")) == (
        "child.py, line 6: nothing reads 'size'. A base made its values from its own, which stays as it was."
    )


def test_a_name_that_the_child_uses_itself_is_fine(write):
    cfg = load_config(write("seed = 7\nrandomness = dict(seed=seed)"))
    assert cfg.randomness.seed == 7


def test_a_misspelt_import_is_named_with_its_line_once(write):
    child = "from x2vlm.models.vision import BEiT3\nmodel.vision_encoder = dict(type=BEiT3)"
    message = problem(write(child))
    assert message == (
        "model.vision_encoder: child.py, line 6: x2vlm.models.vision has no 'BEiT3'. Did you mean 'BEiT2'?"
    )


def test_a_misspelt_import_that_nothing_uses_is_named_too(write):
    assert "child.py, line 6: x2vlm.models.visoin cannot be imported" in problem(
        write("from x2vlm.models.visoin import BEiT2")
    )


def test_an_imported_number_is_reported_as_a_dump_would_keep_only_its_name(write):
    child = "from mmengine import version\nmodel.embed_dim = version.version_info"
    assert "model.embed_dim: 'version_info' is imported, and a config keeps only names" in problem(write(child))


def test_a_function_in_a_config_is_reported(write):
    assert "half: a config holds values, not functions" in problem(write("def half(x):\n    return x / 2\n"))


def test_a_config_that_is_not_there_is_reported_with_the_nearest_name(write):
    write()
    with pytest.raises(ConfigError, match=r"^chidl\.py does not exist\. Did you mean 'child\.py'\?$"):
        load_config("chidl.py")


def test_a_folder_is_not_a_config(tmp_path):
    with pytest.raises(ConfigError, match="is a folder; name a config file in it"):
        load_config(tmp_path)


def test_a_key_that_is_not_there_is_reported_with_line_and_nearest_name(write):
    assert problem(write("streams.regoin.weight = 0.0")) == (
        "child.py, line 6: there is no key 'regoin' here. Did you mean 'region'?"
    )


def test_an_attribute_of_a_plain_dict_is_reported_with_what_to_write(write):
    child = "own = dict(region=1)\nstreams = dict(own)\nstreams.region = 2\nstreams.region.weight = 0"
    reason = "'region' is in a plain dict, which has no attributes: write ['region'] in the place of .region."
    assert problem(write(child)) == f"child.py, line 8: {reason}"


def test_a_name_that_is_not_there_is_reported_with_line_and_nearest_name(write):
    assert problem(write("steams.region.weight = 0.0")) == (
        "child.py, line 6: there is no name 'steams' here. Did you mean 'streams'?"
    )


def test_calling_an_import_is_reported(write):
    child = "from x2vlm.boxes import paired_giou\nmodel.embed_dim = paired_giou(1, 2)"
    assert problem(write(child)) == (
        "child.py, line 7: a config cannot call what it imports. Write the value, or compute it in a class."
    )
