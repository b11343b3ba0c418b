"""Every recipe says how raw public files take the place of its JSON, and what they give goes through its pipeline."""

import ast
import fnmatch
import json
import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.data.datasets.published_layouts import LAYOUTS, PACKAGES
from x2vlm.building import argument_problems, build
from x2vlm.commands.shared.dataset_sources import parse_adapter_call
from x2vlm.config import load_config
from x2vlm.data.batch import Sample
from x2vlm.data.data_root import with_data_root
from x2vlm.registry import DATASETS

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
RECIPES = sorted(path for part in ("finetune", "pretrain", "zeroshot") for path in (CONFIGS / part).glob("*.py"))
CONVERTED = ("JsonLines", "LinesOrShards", "TarShards", "ParallelText", "PlainText")
"""Adapters whose files somebody has converted; the others read public files as they are."""

AS_PUBLISHED = "as published"
CHANGES = ("captions_apart",)
"""Options of a line, besides its pipeline, that change what a record is, besides where its files lie."""


def documents(path):
    """The docstrings of a config and of those that it is made of, the nearest first."""
    tree = ast.parse(path.read_text())
    yield ast.get_docstring(tree) or ""
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.level]
    for node in reversed(imports):
        yield from documents(path.parents[node.level - 1].joinpath(*node.module.split(".")).with_suffix(".py"))


def raw_lines(document):
    """What stands under "Raw files": patterns of data sets, and an adapter call or AS_PUBLISHED."""
    _, found, block = document.partition("Raw files in place of these, by data set (docs/public_data.md):\n\n")
    joined = re.sub(r"\n {8}", " ", block) if found else ""
    return [tuple(line.strip().split(": ", 1)) for line in joined.splitlines() if line.strip()]


@cache
def datasets(path):
    """The data sets of a config by their place, parts of a concatenation for themselves, with all of their pipeline."""
    cfg = load_config(str(path))
    return {
        place: dataset
        for kind in ("streams", "evaluations")
        for name, part in (cfg.get(kind) or {}).items()
        for place, dataset in leaves(f"{kind}.{name}", part["dataset"])
    }


def leaves(place, dataset, pipeline=()):
    if dataset["type"] == "Concat":
        for number, inner in enumerate(dataset["datasets"]):
            yield from leaves(f"{place}.datasets.{number}", inner, dataset.get("pipeline", ()))
    else:
        yield place, {**dataset, "pipeline": [*dataset.get("pipeline", ()), *pipeline]}


def raw_line(path, place):
    lines = (line for document in documents(path) for line in raw_lines(document))
    return next((said for pattern, said in lines if fnmatch.fnmatch(place, pattern)), None)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_data_set_of_a_recipe_has_a_line_for_the_raw_files(path):
    wanted = [place for place, dataset in datasets(path).items() if dataset["type"] in CONVERTED]
    lacking = [place for place in wanted if raw_line(path, place) is None]
    assert not lacking, f"{path.name}: no line under 'Raw files' fits {', '.join(lacking)}"


def replacements():
    """Which call takes the place of which data set, each once."""
    found = {}
    for path in RECIPES:
        for place, dataset in datasets(path).items():
            said = raw_line(path, place) if dataset["type"] in CONVERTED else None
            if said not in (None, AS_PUBLISHED):
                steps = " ".join(step["type"] for step in dataset["pipeline"])
                found.setdefault((said, steps), (f"{path.stem}:{place}", parse_adapter_call(said), dataset))
    return found.values()


@pytest.fixture(scope="module")
def layouts(tmp_path_factory):
    """Every layout that can be written here, with paths from the root."""
    written = []
    for name, write in LAYOUTS.items():
        if name not in PACKAGES or find_spec(PACKAGES[name]):
            folder = tmp_path_factory.mktemp(name)
            layout = write(folder)
            written.append(layout._replace(config=with_data_root(layout.config, str(folder))))
    return written


def options_of_files(config):
    return {key for key in config if key in DATASETS.get(config["type"]).paths}


def on_files(call, layouts):
    """The call on the files of a layout that has all of its kind; None if there is none here."""
    for layout in layouts:
        config = layout.config
        if config["type"] == call["type"] and options_of_files(call) <= options_of_files(config):
            left_out = options_of_files(config) - options_of_files(call)
            kept = {key: value for key, value in config.items() if key not in left_out}
            return kept | {key: call[key] for key in CHANGES if key in call}
    return None


@pytest.mark.slow
def test_records_of_raw_files_go_through_the_pipelines_of_the_recipes(layouts, tmp_path):
    read = 0
    for where, call, dataset in replacements():
        options = {key: value for key, value in call.items() if key != "type"}
        assert not argument_problems(DATASETS.get(call["type"]), options), where
        config = on_files(call, layouts)
        if config is None and not find_spec("pyarrow"):
            continue
        steps = [*call.get("pipeline", ()), *dataset["pipeline"]]
        pipeline = [with_classes(dict(step), tmp_path) for step in steps]
        sample = build(DATASETS, {**config, "pipeline": pipeline}, where)[0]
        assert isinstance(sample, Sample), where
        assert set((dataset.get("keys") or {}).get("extras", ())) <= sample.extras.keys(), where
        read += 1
    assert read > 60


def with_classes(step, folder):
    """A transform with a file of classes that knows the answers of the layouts."""
    if isinstance(step.get("classes"), str):
        step["classes"] = str(folder / "classes.json")
        (folder / "classes.json").write_text(json.dumps(["couch", "bird", "net", "paint"]))
    return step
