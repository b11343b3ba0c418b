"""``data_root``: one folder that the relative paths of every data set start from."""

from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from mmengine.registry import Registry

from x2vlm.building import resolve
from x2vlm.registry import DATASETS, TRANSFORMS

PARTS = {"datasets": DATASETS, "pipeline": TRANSFORMS}
"""Arguments of adapters that hold lists of other parts, whose paths start from the same folder."""


def with_data_root(cfg: Any, data_root: str | None, registry: Registry = DATASETS) -> Any:
    """One data set's config, with ``data_root`` in front of the relative paths in it and in its parts.

    Which arguments are paths is what the class says in ``paths``, and in ``paths_or_names`` those that are one if they
    are a single string, and a list of names otherwise; classes without either read no files. Parts are the transforms
    of a pipeline (a file of answers), and the data sets that another one joins.

    Args:
        cfg: ``dict(type=..., ...)`` of an adapter; anything else (an adapter that is built) comes back.
        data_root: A folder; ``~`` is the home folder. None leaves the config as it is.
        registry: The family of the type.
    """
    if data_root is None or not isinstance(cfg, Mapping) or "type" not in cfg:
        return cfg
    target, root = resolve(registry, cfg["type"]), Path(data_root).expanduser()
    return {key: _rooted(key, value, root, target) for key, value in cfg.items()}


def _rooted(key: str, value: Any, root: Path, target: Any) -> Any:
    single = isinstance(value, (str, PathLike))
    if value is not None and (key in getattr(target, "paths", ()) or (single and key in _paths_or_names(target))):
        return _below(root, value)
    if key in PARTS and isinstance(value, (list, tuple)):
        return [with_data_root(part, str(root), PARTS[key]) for part in value]
    return value


def _paths_or_names(target: Any) -> tuple[str, ...]:
    return getattr(target, "paths_or_names", ())


def _below(root: Path, value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _below(root, each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_below(root, each) for each in value]
    return str(root / Path(value).expanduser())  # an absolute path stays what it is
