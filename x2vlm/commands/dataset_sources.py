"""How a command names data: a config and a stream of it, an adapter written out, an index, a tar file, or a folder."""

import ast
import json
import re
from argparse import ArgumentParser
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from glob import glob
from os import PathLike
from pathlib import Path
from typing import Any

from x2vlm.building import ConfigError, build, suggestion
from x2vlm.config import add_cfg_options, load_config
from x2vlm.data.data_root import with_data_root
from x2vlm.data.datasets.base import Adapter
from x2vlm.data.record import Record
from x2vlm.registry import DATASETS

PICTURE_ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")
KINDS = ("streams", "evaluations")
HELP = (
    "a config (CONFIG, or CONFIG:NAME for one stream or evaluation of it), an adapter written out "
    "(\"JsonLines(ann_file='a.jsonl', image_root='pictures')\"), an index (train-*.jsonl), tar files in WebDataset "
    "layout (train-*.tar), or a folder of pictures"
)


@dataclass(frozen=True)
class Source:
    """One data set.

    Attributes:
        name: What messages call it, e.g. ``streams.image``.
        adapter: Its adapter, built.
        dataset: The config the adapter was built from; what was asked for, for notes beside results.
    """

    name: str
    adapter: Adapter
    dataset: dict[str, Any]


class PictureFolder(Adapter):
    """Every picture below a folder; the identity is the path within it.

    Args:
        root: The folder.
    """

    def __init__(self, root: str | PathLike) -> None:
        super().__init__()
        self.root = Path(root)
        found = (path for path in self.root.rglob("*") if path.suffix.lower() in PICTURE_ENDINGS and path.is_file())
        self.names = sorted(path.relative_to(self.root).as_posix() for path in found)
        if not self.names:
            raise ConfigError(f"{root} holds no picture: no file ends in {', '.join(PICTURE_ENDINGS)}.")

    def __len__(self) -> int:
        return len(self.names)

    def record(self, index: int) -> Record:
        """The record of a picture."""
        name = self.names[index]
        return {"where": name, "id": name, "image": self.root / name, "extras": {}}


def add_source_options(parser: ArgumentParser) -> None:
    """Add what changes a config, and what reads in several processes."""
    parser.add_argument("--workers", type=int, default=0, help="processes that read (default: 0, this one)")
    add_cfg_options(parser)


def open_sources(
    spec: str,
    overrides: dict[str, Any] | None = None,
    names: Sequence[str] = (),
    kinds: Sequence[str] = KINDS,
    pipelines: bool = False,
) -> list[Source]:
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
        dataset = written_out(spec)
    elif Path(spec).is_dir():
        return [Source(spec, PictureFolder(spec), {"type": "PictureFolder", "root": spec})]
    else:
        dataset = _by_ending(spec)
    return [Source(spec, build(DATASETS, dataset, spec), dataset)]


def is_config(spec: str) -> bool:
    """Whether ``spec`` names a config, and not data itself."""
    return Path(_config_and_name(spec)[0]).suffix in (".py", ".yaml", ".yml", ".json")


def _config_and_name(spec: str) -> tuple[str, str]:
    config, _, name = spec.rpartition(":") if re.search(r"\.(py|yaml|yml|json):[\w.]+$", spec) else (spec, "", "")
    return config, name


def open_one(spec: str, overrides: dict[str, Any] | None = None) -> Source:
    """The one data set that ``spec`` names.

    Raises:
        ConfigError: If it names none, or several.
    """
    found = open_sources(spec, overrides)
    if len(found) > 1:
        raise ConfigError(f"{spec} has several data sets. Name one: {', '.join(f'{spec}:{s.name}' for s in found)}.")
    return found[0]


def written_out(spec: str) -> dict[str, Any]:
    """``"JsonLines(ann_file='a.jsonl')"`` as a config dict; only literal values, nothing is run.

    Raises:
        ConfigError: If it is written otherwise.
    """
    try:
        call = ast.parse(spec, mode="eval").body
        if call.args or any(keyword.arg is None for keyword in call.keywords):
            raise ValueError("arguments need names")
        return {"type": call.func.id, **{keyword.arg: ast.literal_eval(keyword.value) for keyword in call.keywords}}
    except (SyntaxError, ValueError, AttributeError) as error:
        raise ConfigError(
            f"{spec}: expected Adapter(name=value, ...) with plain values ({error}), "
            "e.g. \"TarShards(ann_file='train.jsonl')\"."
        ) from error


def _by_ending(spec: str) -> dict[str, Any]:
    files = sorted(glob(spec, recursive=True))
    if not files:
        raise FileNotFoundError(f"{spec} does not exist (looked from {Path.cwd()}). Data is named as {HELP}.")
    if spec.endswith(".tar"):
        return {"type": "WebDataset", "shards": spec}
    if spec.endswith(".jsonl"):
        return {"type": "TarShards" if _is_index(Path(files[0])) else "JsonLines", "ann_file": spec}
    raise ConfigError(f"{spec} is not understood. Data is named as {HELP}.")


def _is_index(file: Path) -> bool:
    with file.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            try:
                first = json.loads(line)
            except ValueError:
                continue  # a broken line is for the adapter to report
            return isinstance(first, dict) and "shard" in first
    return False


def _of_config(
    cfg: Mapping[str, Any], config: str, names: Sequence[str], kinds: Sequence[str], pipelines: bool
) -> list[Source]:
    there = {f"{kind}.{name}": one for kind in KINDS for name, one in (cfg.get(kind) or {}).items()}
    chosen: list[str] = []
    for name in names:
        fitting = [full for full in there if name in (full, full.partition(".")[2])]
        if not fitting:
            near = suggestion(name, [full.partition(".")[2] for full in there])
            raise ConfigError(f"{config} has no data set '{name}'.{near} It has: {', '.join(there) or 'none'}.")
        chosen += fitting
    chosen = chosen or [full for full in there if full.partition(".")[0] in kinds]
    if not chosen:
        raise ConfigError(f"{config} has no {' and no '.join(kinds)}, so it names no data.")
    return [_built(full, there[full]["dataset"], cfg.get("data_root"), pipelines) for full in chosen]


def _built(name: str, dataset: Mapping[str, Any], data_root: str | None, pipelines: bool) -> Source:
    wanted = {key: value for key, value in dataset.items() if pipelines or key != "pipeline"}
    rooted = with_data_root(wanted, data_root)
    return Source(name, build(DATASETS, rooted, f"{name}.dataset"), dict(rooted))
