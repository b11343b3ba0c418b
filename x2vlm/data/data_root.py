"""``data_root``: the folder that relative paths of data sets start from."""

from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from mmengine.registry import Registry

from x2vlm.building import resolve
from x2vlm.registry import DATASETS, TRANSFORMS

NESTED = {"datasets": DATASETS, "pipeline": TRANSFORMS}
"""Arguments of adapters that are lists of components with paths of their own, which start from the same folder."""


def with_data_root(cfg: Any, data_root: str | None, registry: Registry = DATASETS) -> Any:
    """One data set's config, with ``data_root`` in front of its relative paths and those of nested components.

    The class lists its path arguments in ``paths``, and in ``paths_or_names`` those that are a path if they are a
    single string, and a list of names otherwise; classes without either read no files. Nested components are the
    transforms of a pipeline (a file of answers), and the data sets of a ``Concat``.

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
    if key in NESTED and isinstance(value, (list, tuple)):
        return [with_data_root(component, str(root), NESTED[key]) for component in value]
    return value


def _paths_or_names(target: Any) -> tuple[str, ...]:
    return getattr(target, "paths_or_names", ())


def _below(root: Path, value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _below(root, each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_below(root, each) for each in value]
    return str(root / Path(value).expanduser())  # an absolute path stays what it is
