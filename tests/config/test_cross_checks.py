"""Checks across a config: objectives, streams of the loop, image sizes, numbers of frames."""

import pytest

from tests.config.small_config import option, problem, problems
from x2vlm.config import load_config


def test_objectives_of_a_stream_may_have_factors_which_are_checked(write):
    cfg = load_config(write("streams.region.objectives = dict(itc=0.5, bbox=1.0)"))
    assert cfg.streams.region.objectives == dict(itc=0.5, bbox=1.0)
    assert problems(write("streams.region.objectives = dict(itc=-1, bboxes='all')"))[1:] == [
        "  streams.region.objectives.itc: -1 is no factor of a loss; expected a number of 0 or more.",
        "  streams.region.objectives.bboxes: 'all' is no factor of a loss; expected a number of 0 or more.",
        "  streams.region.objectives: 'bboxes' is not one of this model's objectives: bbox, itc. Did you mean 'bbox'?",
    ]


@pytest.mark.parametrize("value", ["None", "'off'"])
def test_a_stream_is_switched_off_by_pop_and_not_by_a_value(write, value):
    assert problem(write(f"streams.image = {value}")) == f"streams.image: expected a dict, not {value}."


def test_a_stream_that_runs_nothing_is_reported(write):
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


def test_one_objective_still_needs_a_list(write):
    message = option(write, "streams.image.objectives", "itc")
    assert "expected a list of names, not 'itc'. On the command line: streams.image.objectives=[itc]" in message


@pytest.mark.parametrize("size", ["(64, 64)", "64", "[64, 64]"])
def test_image_sizes_that_disagree_are_reported(write, size):
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


def test_more_frames_than_the_model_has_positions_for_are_reported(write):
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
