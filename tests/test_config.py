"""Reading configs: what MMEngine does not notice is told, all of it at once, before anything is built."""

import argparse
from pathlib import Path

import pytest
from mmengine.config import Config

from x2vlm import registry as families
from x2vlm.building import ConfigError
from x2vlm.config import add_cfg_options, load_config


class SmallModel:
    def __init__(self, vision_encoder, objectives, embed_dim=8, num_frames=0, tokenizer=None):
        raise AssertionError("reading a config must not build its model")


class SmallVision:
    def __init__(self, image_size=32, depth=2): ...


class SmallGoal:
    def __init__(self, width, weight=1.0): ...


class SmallData:
    def __init__(self, ann_file, pipeline=(), reader=None):
        raise AssertionError("reading a config must not open its data")


class SmallToys:
    def __init__(self, image_size=48, num_frames=8, pipeline=()): ...


class SmallResize:
    def __init__(self, size): ...


class SmallFrames:
    def __init__(self, num_frames=3): ...


class SmallFlip:
    def __init__(self, prob=0.5): ...


class SmallMetric:
    def __init__(self, k=1): ...


class SmallLoop:
    def __init__(self, runner, dataloader, max_iters): ...


class SmallReader: ...


def small_tokenizer(words=10): ...


PARTS = {
    families.MODELS: [SmallModel],
    families.VISION_ENCODERS: [SmallVision],
    families.OBJECTIVES: [SmallGoal],
    families.DATASETS: [SmallData, SmallToys],
    families.TRANSFORMS: [SmallResize, SmallFlip, SmallFrames],
    families.METRICS: [SmallMetric],
    families.LOOPS: [SmallLoop],
    families.VIDEO_READERS: [SmallReader],
    families.TOKENIZERS: [small_tokenizer],
}

BASE = """
size = 32
tokenizer = dict(type="small_tokenizer")
model = dict(
    type="SmallModel",
    vision_encoder=dict(type="SmallVision", image_size=size),
    objectives=dict(itc=dict(type="SmallGoal"), bbox=dict(type="SmallGoal", weight=2.0)),
)
pipeline = [dict(type="SmallFlip"), dict(type="SmallResize", size=size)]
streams = dict(
    image=dict(dataset=dict(type="SmallData", ann_file="x", pipeline=pipeline), batch_size=4, objectives=("itc",)),
    region=dict(
        dataset=dict(type="SmallData", ann_file="x", pipeline=pipeline),
        batch_size=4,
        max_images=2,
        objectives=("itc", "bbox"),
    ),
)
evaluations = dict(
    finding=dict(
        dataset=dict(type="SmallData", ann_file="x", pipeline=pipeline), batch_size=4, metric=dict(type="SmallMetric")
    )
)
train_cfg = dict(type="SmallLoop", max_iters=10)
optim_wrapper = dict(optimizer=dict(type="AdamW", lr=1e-4), constructor="X2VLMOptimConstructor")
param_scheduler = [dict(type="LinearLR", start_factor=0.1, end=5), dict(type="WarmupLinear", warmup=0.1)]
default_hooks = dict(checkpoint=dict(type="CheckpointHook", interval=5), timer=None)
randomness = dict(seed=3)
"""
CHILD = "from mmengine.config import read_base\n\nwith read_base():\n    from .base import *\n\n"


@pytest.fixture(autouse=True, scope="module")
def small_parts():
    for family, parts in PARTS.items():
        for part in parts:
            family.register_module(module=part)
    yield
    for family, parts in PARTS.items():
        for part in parts:
            family.module_dict.pop(part.__name__)


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Writes ``base.py`` and a child of it, and gives the child's name, as one would type it."""
    monkeypatch.chdir(tmp_path)

    def write(child="", base=BASE):
        Path("base.py").write_text(base)
        Path("child.py").write_text(CHILD + child)
        return "child.py"

    return write


def problems(path, overrides=None):
    with pytest.raises(ConfigError) as caught:
        load_config(path, overrides)
    return str(caught.value).splitlines()


def problem(path, overrides=None):
    """The only problem."""
    found = problems(path, overrides)
    assert found[0] == f"{path}: 1 problem" and len(found) == 2, found
    return found[1].strip()


def option(write, key, value):
    return problem(write(), {key: value}).removeprefix("--cfg-options ")


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


def test_objectives_of_a_stream_may_have_factors_which_are_checked(write):
    cfg = load_config(write("streams.region.objectives = dict(itc=0.5, bbox=1.0)"))
    assert cfg.streams.region.objectives == dict(itc=0.5, bbox=1.0)
    assert problems(write("streams.region.objectives = dict(itc=-1, bboxes='all')"))[1:] == [
        "  streams.region.objectives.itc: -1 is no factor of a loss; expected a number of 0 or more.",
        "  streams.region.objectives.bboxes: 'all' is no factor of a loss; expected a number of 0 or more.",
        "  streams.region.objectives: 'bboxes' is not one of this model's objectives: bbox, itc. Did you mean 'bbox'?",
    ]


# --- the parts -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("place", "family"),
    [
        ("model", "model"),
        ("model.vision_encoder", "vision encoder"),
        ("model.objectives.itc", "objective"),
        ("tokenizer", "tokenizer"),
        ("streams.image.dataset", "dataset adapter"),
        ("evaluations.finding.dataset", "dataset adapter"),
        ("evaluations.finding.metric", "metric"),
        ("train_cfg", "loop"),
        ("optim_wrapper", "optimizer wrapper"),
        ("optim_wrapper.optimizer", "optimizer"),
        ("default_hooks.checkpoint", "hook"),
    ],
)
def test_each_place_has_its_family(write, place, family):
    found = problems(write(), {f"{place}.type": "Smoll"})
    assert f"  {place}: 'Smoll' is not a registered {family}." in "\n".join(found)


@pytest.mark.parametrize(("index", "family"), [("pipeline.1", "transform")])
def test_items_of_lists_are_named_by_their_index(write, index, family):
    found = problems(write(), {f"streams.image.dataset.{index}.type": "Smoll"})
    assert f"  streams.image.dataset.pipeline[1]: 'Smoll' is not a registered {family}." in "\n".join(found)


def test_the_optimizer_constructor_is_looked_up_too(write):
    assert "optim_wrapper: 'X2VLMOptim' is not a registered optimizer constructor" in problem(
        write("optim_wrapper.constructor = 'X2VLMOptim'")
    )


def test_a_part_of_another_family_is_named_as_what_it_is(write):
    message = problem(write("model.vision_encoder.type = 'SmallMetric'"))
    assert "model.vision_encoder: 'SmallMetric' is not a registered vision encoder." in message
    assert "'SmallMetric' is a metric." in message


def test_a_class_of_another_family_is_named_as_what_it_is(write):
    message = problem(write("from x2vlm.objectives import ITC\nmodel.vision_encoder = dict(type=ITC)"))
    assert message == "model.vision_encoder: ITC is an objective, not a vision encoder."


def test_a_part_without_a_type_is_told(write):
    assert problem(write("model.vision_encoder = dict(depth=3)")) == (
        "model.vision_encoder: no 'type' says which vision encoder it is."
    )


@pytest.mark.parametrize("value", ["'SmallVision'", "True", "3"])
def test_a_value_in_the_place_of_a_part_is_told(write, value):
    message = problem(write(f"model.vision_encoder = {value}"))
    assert message == f"model.vision_encoder: expected dict(type=...) for a vision encoder, not {value}."


def test_a_class_alone_in_the_place_of_a_part_is_told(write):
    child = "from x2vlm.models.vision import BEiT2\nmodel.vision_encoder = BEiT2"
    assert "model.vision_encoder: expected dict(type=BEiT2), not the class alone" in problem(write(child))


def test_a_required_argument_that_is_missing_is_told(write):
    assert "train_cfg: SmallLoop needs the argument 'max_iters'" in problem(write("train_cfg = dict(type='SmallLoop')"))


def test_what_only_the_code_gives_cannot_be_given(write):
    assert "train_cfg: SmallLoop has no argument 'runner'. Accepted: max_iters." in option(write, "train_cfg.runner", 3)


def test_parts_inside_parts_are_checked(write):
    message = option(write, "streams.image.dataset.reader.type", "SmallReeder")
    assert "streams.image.dataset.reader: 'SmallReeder' is not a registered video reader. Did you mean 'Sm" in message


def test_a_hook_that_accepts_anything_is_still_told_of_a_near_miss(write):
    message = option(write, "default_hooks.checkpoint.intervall", 3)
    assert "CheckpointHook has no argument 'intervall'. Did you mean 'interval'?" in message


def test_a_type_of_no_known_place_may_be_of_any_family(write):
    message = problem(write("model.embed_dim = dict(type='SmallMetrik')"))
    assert message == "model.embed_dim: 'SmallMetrik' is not registered in any family. Did you mean 'SmallMetric'?"


# --- keys and relations ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("streams.image.wieght", "Stream has no argument 'wieght'. Did you mean 'weight'?"),
        ("evaluations.finding.metrik.k", "EvaluationLoader has no argument 'metrik'. Did you mean 'metric'?"),
        ("streams.image.collate.masking.pro", "Masking has no argument 'pro'. Did you mean 'prob'?"),
        ("randomness.sed", "set_random_seed has no argument 'sed'. Did you mean 'seed'?"),
        ("bad_records.max_fractoin", "BadRecordLog has no argument 'max_fractoin'. Did you mean 'max_fraction'?"),
        ("env_cfg.cudnn_benchmrk", "EnvCfg has no argument 'cudnn_benchmrk'. Did you mean 'cudnn_benchmark'?"),
    ],
)
def test_a_misspelt_key_where_no_type_says_the_keys(write, key, words):
    child = "streams.image.collate = dict(type='PairCollate', masking=dict(prob=0.3))"
    place = key.rpartition(".")[0] if "metrik" not in key else "evaluations.finding"
    assert f"{place}: {words}" in problem(write(child), {key: 1})


def test_a_stream_without_data_and_an_evaluation_without_metric_are_told(write):
    found = problems(write("streams.image.pop('dataset')\nevaluations.finding.pop('metric')"))
    assert found[1:] == [
        "  streams.image: Stream needs the argument 'dataset'.",
        "  evaluations.finding: 'metric' is missing.",
    ]


@pytest.mark.parametrize("value", ["None", "'off'"])
def test_a_stream_is_switched_off_by_pop_and_not_by_a_value(write, value):
    assert problem(write(f"streams.image = {value}")) == f"streams.image: expected a dict, not {value}."


def test_a_stream_that_runs_nothing_is_told(write):
    assert "streams.image.objectives: there are none." in problem(write("streams.image.objectives = ()"))


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("global_batch", "dict(imag=8)"),
        ("epoch_of", "'imag'"),
        ("plan.turns.one.streams", "dict(turns=dict(one=dict(share=1.0, streams=('imag',))))"),
        ("plan.updates[1]", "dict(updates=(('region',), ('imag',)))"),
    ],
)
def test_a_stream_that_the_loop_names_must_be_there(write, place, value):
    child = f"train_cfg = dict(type='MixedTrainLoop', max_iters=1, {place.split('.')[0]}={value})"
    assert problem(write(child)) == (
        f"train_cfg.{place}: 'imag' is not one of the streams: image, region. Did you mean 'image'?"
    )


def test_a_misspelt_key_of_the_plan_is_told(write):
    child = "train_cfg = dict(type='MixedTrainLoop', max_iters=1, plan=dict(turn=dict()))"
    assert "train_cfg.plan: StepPlan has no argument 'turn'. Did you mean 'turns'?" in problem(write(child))


def test_one_objective_still_needs_a_list(write):
    message = option(write, "streams.image.objectives", "itc")
    assert "expected a list of names, not 'itc'. On the command line: streams.image.objectives=[itc]" in message


@pytest.mark.parametrize("size", ["(64, 64)", "64", "[64, 64]"])
def test_image_sizes_that_disagree_are_told(write, size):
    message = problem(write(f"streams.image.dataset.pipeline = [dict(type='SmallResize', size={size})]"))
    assert message == (
        "streams.image.dataset.pipeline: data gives images of 64x64 but vision_encoder.image_size is 32. "
        "Set both to the same size."
    )


def test_the_last_size_of_a_pipeline_is_the_one_that_counts(write):
    steps = "dict(type='SmallResize', size=64), dict(type='SmallResize', size=32)"
    assert load_config(write(f"streams.image.dataset.pipeline = [{steps}]"))


def test_data_that_has_a_size_of_its_own_is_compared_too(write):
    child = "streams.image.dataset = dict(type='SmallToys', pipeline=[dict(type='SmallFlip')])"
    assert "streams.image.dataset.pipeline: data gives images of 48x48 but" in problem(write(child))
    child = "streams.image.dataset = dict(type='SmallToys', pipeline=[dict(type='SmallResize', size=32)])"
    assert load_config(write(child))


def test_a_size_that_the_encoder_has_by_default_is_compared_too(write):
    found = problems(write("model.vision_encoder = dict(type='BEiT2')"))
    assert len(found) == 4 and all("32x32 but vision_encoder.image_size is 224" in line for line in found[1:])


def test_more_frames_than_the_model_has_positions_for_are_told(write):
    child = "model.num_frames = 2\nstreams.image.dataset.pipeline = [dict(type='SmallFrames', num_frames=3)]"
    assert problem(write(child)) == (
        "streams.image.dataset.pipeline: clips have 3 frames but model.num_frames is 2. Set it to 3 or more."
    )


def test_videos_may_be_longer_than_the_clips_that_are_cut_from_them(write):
    child = (
        "model.num_frames = 3\nstreams.image.dataset = dict(type='SmallToys', image_size=32, num_frames=8, pipeline=["
    )
    assert load_config(write(child + "dict(type='SmallFrames', num_frames=3)])"))


@pytest.mark.parametrize("group", ["streams", "evaluations"])
def test_streams_and_evaluations_are_dicts(write, group):
    assert problem(write(f"{group} = 'image'")) == f"{group}: expected a dict keyed by name, not 'image'."


# --- what MMEngine passes over in silence ----------------------------------------------------------------------------


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


def test_a_stream_whose_only_objective_is_removed_is_told(write):
    assert "streams.image.objectives: there are none." in problem(write("model.objectives.pop('itc')"))


@pytest.mark.parametrize("statement", ["model.objectives.pop('bboxx')", "model.objectives.pop('bboxx', None)"])
def test_removing_what_was_never_there_is_told(write, statement):
    assert problem(write(statement)) == (
        "child.py, line 6: model.objectives has no 'bboxx' to remove. Did you mean 'bbox'? It has: itc, bbox."
    )


def test_a_misspelt_top_level_key_is_told_with_its_line(write):
    assert (
        problem(write("modle = dict(embed_dim=3)")) == "child.py, line 6: nothing reads 'modle'. Did you mean 'model'?"
    )


def test_changing_a_bases_name_is_told_as_it_changes_nothing(write):
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


def test_an_imported_number_is_told_as_a_dump_would_keep_only_its_name(write):
    child = "from mmengine import version\nmodel.embed_dim = version.version_info"
    assert "model.embed_dim: 'version_info' is imported, and a config keeps only names" in problem(write(child))


def test_a_function_in_a_config_is_told(write):
    assert "half: a config holds values, not functions" in problem(write("def half(x):\n    return x / 2\n"))


# --- files -----------------------------------------------------------------------------------------------------------


def test_a_config_that_is_not_there_is_told_with_the_nearest_name(write):
    write()
    with pytest.raises(ConfigError, match=r"^chidl\.py does not exist\. Did you mean 'child\.py'\?$"):
        load_config("chidl.py")


def test_a_folder_is_not_a_config(tmp_path):
    with pytest.raises(ConfigError, match="is a folder; name a config file in it"):
        load_config(tmp_path)


def test_a_syntax_error_has_file_and_line(write):
    assert problem(write("model.depth = = 3")) == "child.py, line 6: syntax error: invalid syntax: model.depth = = 3"


def test_a_syntax_error_in_a_base_has_the_bases_line(write):
    assert problem(write(base="model = dict(\n")).startswith("base.py, line 1: syntax error: '(' was never closed")


def test_a_missing_base_is_told_with_the_nearest_name(write):
    path = write()
    Path(path).write_text(CHILD.replace(".base", ".bose"))
    assert problem(path) == "child.py, line 4: base config not found: bose.py does not exist. Did you mean 'base.py'?"


def test_a_base_must_be_relative(write):
    path = write()
    Path(path).write_text(CHILD.replace(".base", "configs.base"))
    assert "child.py, line 4: 'from configs.base import ...' inside read_base() must be relative" in problem(path)


def test_a_config_that_is_its_own_base_is_told(write):
    path = write()
    Path(path).write_text(CHILD.replace(".base", ".child"))
    assert "child.py is a base of itself: child.py -> child.py" in problem(path)


def test_a_key_that_is_not_there_is_told_with_line_and_nearest_name(write):
    assert problem(write("streams.regoin.weight = 0.0")) == (
        "child.py, line 6: there is no key 'regoin' here. Did you mean 'region'?"
    )


def test_a_name_that_is_not_there_is_told_with_line_and_nearest_name(write):
    assert problem(write("steams.region.weight = 0.0")) == (
        "child.py, line 6: there is no name 'steams' here. Did you mean 'streams'?"
    )


def test_calling_an_import_is_told(write):
    child = "from x2vlm.boxes import paired_giou\nmodel.embed_dim = paired_giou(1, 2)"
    assert problem(write(child)) == (
        "child.py, line 7: a config cannot call what it imports. Write the value, or compute it in a class."
    )


@pytest.mark.parametrize("statement", ["import math", "from os import path"])
def test_the_standard_library_is_refused(write, statement):
    assert "child.py, line 6: a config cannot import" in problem(write(statement))


# --- the command line ------------------------------------------------------------------------------------------------


def test_a_misspelt_key_on_the_command_line_is_caught(write):
    assert option(write, "strems.image.weight", 0) == (
        "strems.image.weight: a config has no 'strems'. Did you mean 'streams'?"
    )


@pytest.mark.parametrize("key", ["streams.imag.weight", "model.objectives.itm.weight", "evaluations.found.batch_size"])
def test_a_name_that_no_stream_has_is_caught(write, key):
    group, name = key.rsplit(".", 2)[:2]
    assert f"{key}: there is no '{name}' in {group}." in option(write, key, 1)


@pytest.mark.parametrize("value", ["dict(type='SmallGoal')", "{'type': 'SmallGoal'}"])
def test_a_dict_on_the_command_line_is_told_as_it_stays_a_string(write, value):
    message = option(write, "model.objectives.itc", value)
    assert "Set its keys one by one: model.objectives.itc.KEY=VALUE" in message


def test_a_part_cannot_become_a_string(write):
    assert "this is a dict, and cannot become 'BEiT2'" in option(write, "model.vision_encoder", "BEiT2")


def test_a_value_has_nothing_inside(write):
    assert option(write, "streams.image.batch_size.x", 3) == (
        "streams.image.batch_size.x: streams.image.batch_size is 4, which has no 'x' inside."
    )


@pytest.mark.parametrize("index", ["7", "last"])
def test_a_list_is_changed_by_an_index_that_it_has(write, index):
    message = option(write, f"param_scheduler.{index}.end", 3)
    assert f"param_scheduler is a list of 2; its entries are 0 to 1, not '{index}'" in message


def test_an_entry_of_a_list_can_be_changed(write):
    assert load_config(write(), {"param_scheduler.0.end": 9}).param_scheduler[0].end == 9


def parse(*words):
    parser = argparse.ArgumentParser()
    add_cfg_options(parser)
    return parser.parse_args(["--cfg-options", *words]).cfg_options


def test_options_are_numbers_lists_and_names():
    assert parse("a.b=0.5", "c=[itc,itm]", "d=True", "e=x", "f=a=b") == {
        "a.b": 0.5,
        "c": ["itc", "itm"],
        "d": True,
        "e": "x",
        "f": "a=b",
    }


def test_an_option_that_is_a_dict_stays_as_it_was_typed():
    assert parse("a=dict(type='ITC', weight=1)") == {"a": "dict(type='ITC', weight=1)"}


@pytest.mark.parametrize(
    ("word", "said"), [("a.b", "takes KEY=VALUE, not 'a.b'"), ("a=[1,(2]", "a bracket is not closed")]
)
def test_an_option_that_is_none_is_told(word, said, capsys):
    with pytest.raises(SystemExit):
        parse(word)
    assert said in capsys.readouterr().err
