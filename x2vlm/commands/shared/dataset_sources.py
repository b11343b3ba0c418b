"""Data sets as commands name them: a stream of a config, an adapter call, an index, tar files, or a folder."""

import ast
import re
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from glob import glob
from pathlib import Path
from typing import TYPE_CHECKING, Any

from x2vlm.building import ConfigError, build, suggestion
from x2vlm.config import add_cfg_options, load_config
from x2vlm.registry import DATASETS

if TYPE_CHECKING:
    from x2vlm.data.datasets.base import Adapter

KINDS = ("streams", "evaluations")
HELP = (
    "a config (CONFIG, or CONFIG:NAME for one stream or evaluation of it), an adapter call "
    "(\"JsonLines(ann_file='a.jsonl', image_root='images')\"), an index (train-*.jsonl), tar files in WebDataset "
    "layout (train-*.tar), or a folder of images"
)


@dataclass(frozen=True)
class DatasetSource:
    """One data set.

    Attributes:
        name: What messages call it, e.g. ``streams.image``.
        adapter: Its adapter, built.
        dataset: The config the adapter was built from.
    """

    name: str
    adapter: "Adapter"
    dataset: dict[str, Any]


def add_source_options(parser: ArgumentParser) -> None:
    """Add ``--workers`` and ``--cfg-options``."""
    parser.add_argument(
        "--workers", type=number_of_workers, default=0, help="processes that read (default: none but this)"
    )
    add_cfg_options(parser)


def number_of_workers(word: str) -> int:
    """A number of processes from the command line, 0 for none."""
    number = int(word)
    if number < 0:
        raise ArgumentTypeError(f"{word} is no count from 0")
    return number


def open_sources(
    spec: str,
    overrides: dict[str, Any] | None = None,
    names: Sequence[str] = (),
    kinds: Sequence[str] = KINDS,
    pipelines: bool = False,
) -> list[DatasetSource]:
    """The data sets that ``spec`` names.

    Args:
        spec: See :data:`HELP`.
        overrides: Changes to a config.
        names: Only these streams and evaluations of a config.
        kinds: What of a config is taken where no name is given: ``streams``, ``evaluations``, or both.
        pipelines: Build the pipelines of a config too. False gives the records as the annotations have them.

    Raises:
        ConfigError: If nothing is named so, or a data set cannot be built.
        FileNotFoundError: If a file is missing.
    """
    config, name = _config_and_name(spec)
    if is_config(spec):
        cfg = load_config(config, overrides)
        return _of_config(cfg, config, [name] if name else names, kinds, pipelines)
    if overrides or names:
        raise ConfigError(f"'{spec}' is no config, so --cfg-options and --stream have nothing to act on.")
    if re.fullmatch(r"\w+\(.*\)", spec, flags=re.DOTALL):
        dataset = parse_adapter_call(spec)
    elif Path(spec).is_dir():
        dataset = {"type": "ImageFolder", "root": spec, "labels": False}
    else:
        dataset = _by_ending(spec)
    return [DatasetSource(spec, build(DATASETS, dataset, spec), dataset)]


def is_config(spec: str) -> bool:
    """Whether ``spec`` names a config, and not data itself."""
    return Path(_config_and_name(spec)[0]).suffix in (".py", ".yaml", ".yml", ".json")


def _config_and_name(spec: str) -> tuple[str, str]:
    config, _, name = spec.rpartition(":") if re.search(r"\.(py|yaml|yml|json):[\w.]+$", spec) else (spec, "", "")
    return config, name


def open_source(spec: str, overrides: dict[str, Any] | None = None) -> DatasetSource:
    """The one data set that ``spec`` names.

    Raises:
        ConfigError: If it names none, or several.
    """
    sources = open_sources(spec, overrides)
    if len(sources) > 1:
        raise ConfigError(f"{spec} has several data sets. Name one: {', '.join(f'{spec}:{s.name}' for s in sources)}.")
    return sources[0]


def parse_adapter_call(spec: str) -> dict[str, Any]:
    """``"JsonLines(ann_file='a.jsonl')"`` as a config dict; only literal values and ``dict(...)``, nothing is run.

    Raises:
        ConfigError: If it is written otherwise.
    """
    try:
        call = ast.parse(spec, mode="eval").body
        if call.args or any(keyword.arg is None for keyword in call.keywords):
            raise ValueError("arguments need names")
        return {"type": call.func.id, **{keyword.arg: _plain_value(keyword.value) for keyword in call.keywords}}
    except (SyntaxError, ValueError, AttributeError) as error:
        raise ConfigError(
            f"{spec}: expected Adapter(name=value, ...) with plain values ({error}), "
            "e.g. \"TarShards(ann_file='train.jsonl')\"."
        ) from error


def _plain_value(node: ast.expr) -> Any:
    """A literal, or ``dict(name=value, ...)`` of such as configs write it, or a list of these.

    Raises:
        ValueError: If it is anything else.
    """
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "dict" and not node.args:
        if any(keyword.arg is None for keyword in node.keywords):
            raise ValueError("arguments need names")
        return {keyword.arg: _plain_value(keyword.value) for keyword in node.keywords}
    if isinstance(node, ast.List):
        return [_plain_value(one) for one in node.elts]
    return ast.literal_eval(node)


def _by_ending(spec: str) -> dict[str, Any]:
    files = sorted(glob(spec, recursive=True))
    if not files:
        raise FileNotFoundError(f"{spec} does not exist (looked from {Path.cwd()}). Data is named as {HELP}.")
    if spec.endswith(".tar"):
        return {"type": "WebDataset", "shards": spec}
    if spec.endswith(".jsonl"):
        from x2vlm.data.datasets.file_formats.lines_or_shards import is_shard_index

        return {"type": "TarShards" if is_shard_index(Path(files[0])) else "JsonLines", "ann_file": spec}
    raise ConfigError(f"{spec} is not understood. Data is named as {HELP}.")


def _of_config(
    cfg: Mapping[str, Any], config: str, names: Sequence[str], kinds: Sequence[str], pipelines: bool
) -> list[DatasetSource]:
    datasets = {f"{kind}.{name}": member for kind in KINDS for name, member in (cfg.get(kind) or {}).items()}
    chosen: list[str] = []
    for name in names:
        matching = [full for full in datasets if name in (full, full.partition(".")[2])]
        if not matching:
            near = suggestion(name, [full.partition(".")[2] for full in datasets])
            raise ConfigError(f"{config} has no data set '{name}'.{near} It has: {', '.join(datasets) or 'none'}.")
        chosen += matching
    chosen = chosen or [full for full in datasets if full.partition(".")[0] in kinds]
    if not chosen:
        raise ConfigError(f"{config} has no {' and no '.join(kinds)}, so it names no data.")
    return [_built(full, datasets[full]["dataset"], cfg.get("data_root"), pipelines) for full in chosen]


def _built(name: str, dataset: Mapping[str, Any], data_root: str | None, pipelines: bool) -> DatasetSource:
    from x2vlm.data.data_root import with_data_root

    options = {key: value for key, value in dataset.items() if pipelines or key != "pipeline"}
    rooted = with_data_root(options, data_root)
    return DatasetSource(name, build(DATASETS, rooted, f"{name}.dataset"), dict(rooted))
