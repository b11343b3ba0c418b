"""Changes from the command line."""

import argparse

import pytest

from tests.config.small_config import option
from x2vlm.config import add_cfg_options, load_config


def test_a_misspelt_key_on_the_command_line_is_caught(write):
    assert option(write, "strems.image.weight", 0) == (
        "strems.image.weight: a config has no 'strems'. Did you mean 'streams'?"
    )


@pytest.mark.parametrize("key", ["streams.imag.weight", "model.objectives.itm.weight", "evaluations.found.batch_size"])
def test_a_name_that_no_stream_has_is_caught(write, key):
    group, name = key.rsplit(".", 2)[:2]
    assert f"{key}: there is no '{name}' in {group}." in option(write, key, 1)


@pytest.mark.parametrize("value", ["dict(type='SmallGoal')", "{'type': 'SmallGoal'}"])
def test_a_dict_on_the_command_line_is_reported_as_it_stays_a_string(write, value):
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
    ("word", "message"), [("a.b", "takes KEY=VALUE, not 'a.b'"), ("a=[1,(2]", "a bracket is not closed")]
)
def test_an_option_that_is_none_is_reported(word, message, capsys):
    with pytest.raises(SystemExit):
        parse(word)
    assert message in capsys.readouterr().err
