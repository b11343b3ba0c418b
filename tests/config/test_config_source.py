"""Static analysis of config files: bases, syntax, imports that a config cannot have."""

from pathlib import Path

import pytest

from tests.config.small_config import CHILD, problem
from x2vlm.building import ConfigError
from x2vlm.config import load_config


def test_a_syntax_error_has_file_and_line(write):
    assert problem(write("model.depth = = 3")) == "child.py, line 6: syntax error: invalid syntax: model.depth = = 3"


def test_a_syntax_error_in_a_base_has_the_bases_line(write):
    assert problem(write(base="model = dict(\n")).startswith("base.py, line 1: syntax error: '(' was never closed")


def test_a_missing_base_is_reported_with_the_nearest_name(write):
    path = write()
    Path(path).write_text(CHILD.replace(".base", ".bose"))
    assert problem(path) == "child.py, line 4: base config not found: bose.py does not exist. Did you mean 'base.py'?"


def test_a_base_must_be_relative(write):
    path = write()
    Path(path).write_text(CHILD.replace(".base", "configs.base"))
    assert "child.py, line 4: 'from configs.base import ...' inside read_base() must be relative" in problem(path)


def test_a_config_that_is_its_own_base_is_reported(write):
    path = write()
    Path(path).write_text(CHILD.replace(".base", ".child"))
    assert "child.py is a base of itself: child.py -> child.py" in problem(path)


@pytest.mark.parametrize("statement", ["import math", "from os import path"])
def test_the_standard_library_is_refused(write, statement):
    assert "child.py, line 6: a config cannot import" in problem(write(statement))


def test_old_configs_that_are_bases_of_each_other_are_reported(tmp_path):
    for name, base in (("a", "b"), ("b", "a")):
        (tmp_path / f"{name}.py").write_text(f"_base_ = ['{base}.py']\n")
    with pytest.raises(ConfigError, match="a file is a base of itself: follow _base_"):
        load_config(tmp_path / "a.py")
