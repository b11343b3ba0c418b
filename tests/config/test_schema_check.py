"""Parts and settings of a config, checked against the schema."""

import pytest

from tests.config.small_config import option, problem, problems


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


def test_a_part_without_a_type_is_reported(write):
    assert problem(write("model.vision_encoder = dict(depth=3)")) == (
        "model.vision_encoder: no 'type' says which vision encoder it is."
    )


@pytest.mark.parametrize("value", ["'SmallVision'", "True", "3"])
def test_a_value_in_the_place_of_a_part_is_reported(write, value):
    message = problem(write(f"model.vision_encoder = {value}"))
    assert message == f"model.vision_encoder: expected dict(type=...) for a vision encoder, not {value}."


def test_a_class_alone_in_the_place_of_a_part_is_reported(write):
    child = "from x2vlm.models.vision import BEiT2\nmodel.vision_encoder = BEiT2"
    assert "model.vision_encoder: expected dict(type=BEiT2), not the class alone" in problem(write(child))


def test_a_required_argument_that_is_missing_is_reported(write):
    assert "train_cfg: SmallLoop needs the argument 'max_iters'" in problem(write("train_cfg = dict(type='SmallLoop')"))


def test_what_only_the_code_gives_cannot_be_given(write):
    assert "train_cfg: SmallLoop has no argument 'runner'. Accepted: max_iters." in option(write, "train_cfg.runner", 3)


def test_parts_inside_parts_are_checked(write):
    message = option(write, "streams.image.dataset.reader.type", "SmallReeder")
    assert "streams.image.dataset.reader: 'SmallReeder' is not a registered video reader. Did you mean 'Sm" in message


def test_a_near_miss_is_reported_even_for_a_hook_that_accepts_anything(write):
    message = option(write, "default_hooks.checkpoint.intervall", 3)
    assert "CheckpointHook has no argument 'intervall'. Did you mean 'interval'?" in message


def test_a_type_of_no_known_place_may_be_of_any_family(write):
    message = problem(write("model.embed_dim = dict(type='SmallMetrik')"))
    assert message == "model.embed_dim: 'SmallMetrik' is not registered in any family. Did you mean 'SmallMetric'?"


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


def test_a_stream_without_data_and_an_evaluation_without_metric_are_reported(write):
    found = problems(write("streams.image.pop('dataset')\nevaluations.finding.pop('metric')"))
    assert found[1:] == [
        "  streams.image: Stream needs the argument 'dataset'.",
        "  evaluations.finding: 'metric' is missing.",
    ]


def test_a_misspelt_key_of_the_plan_is_reported(write):
    child = "train_cfg = dict(type='MixedTrainLoop', max_iters=1, plan=dict(turn=dict()))"
    assert "train_cfg.plan: StepPlan has no argument 'turn'. Did you mean 'turns'?" in problem(write(child))


def test_a_word_for_a_learning_rate_is_no_number(write):
    assert "optim_wrapper.optimizer.lr: 'abc' is not a number." in problem(
        write(), {"optim_wrapper.optimizer.lr": "abc"}
    )


@pytest.mark.parametrize("key", ["data_root", "load_from", "work_dir"])
def test_a_number_in_the_place_of_a_path_is_told(write, key):
    assert problem(write(f"{key} = 3")) == f"{key}: 3 is no path."
