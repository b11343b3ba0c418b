"""OpenMMLab's index of models: ``model-index.yml`` and a ``metafile.yml`` for each folder of models.

They are made from the tree (names and docstrings of the configs) and from ``configs/published_numbers.tsv``;
``python tools/metafiles.py`` writes them anew, and a test holds them to it.
"""

import ast
from pathlib import Path
from typing import Any

import yaml

from x2vlm.config.published_numbers import NUMBERS, Number, read_numbers
from x2vlm.config.shipped import MODEL_FOLDERS

INDEX = "model-index.yml"
# By the first word of a config's name.
COLLECTIONS = {
    "x2vlm": ("X2-VLM", "X2-VLM: All-In-One Pre-trained Model For Vision-Language Tasks", "2211.12402"),
    "xvlm": ("X-VLM", "Multi-Grained Vision Language Pre-Training: Aligning Texts with Visual Concepts", "2111.08276"),
    "cclm": (
        "CCLM",
        "Cross-View Language Modeling: Towards Unified Cross-Lingual Cross-Modal Pre-training",
        "2206.00621",
    ),
    "xfm": (
        "X-FM",
        "Toward Building General Foundation Models for Language, Vision, and Vision-Language Understanding Tasks",
        "2301.05065",
    ),
}
SMALL = ("Small models", "Models of this library for trying out, trained from nothing", None)


def metafiles(root: Path) -> dict[str, str]:
    """The content of each file, by its path below the root of the repository.

    Args:
        root: The repository, with ``configs/``.
    """
    numbers: dict[str, list[Number]] = {}
    for number in read_numbers(root / NUMBERS):
        numbers.setdefault(number.config, []).append(number)
    files = {}
    for folder in MODEL_FOLDERS:
        configs = sorted((root / "configs" / folder).glob("[!_]*.py"))
        if configs:
            files[f"configs/{folder}/metafile.yml"] = _dump(_metafile(root, configs, numbers))
    return {INDEX: _dump({"Import": list(files)})} | files


def _metafile(root: Path, configs: list[Path], numbers: dict[str, list[Number]]) -> dict[str, Any]:
    used = dict.fromkeys(_collection(path) for path in configs)
    return {
        "Collections": [_collection_entry(*one) for one in used],
        "Models": [_model_entry(path, path.relative_to(root).as_posix(), numbers) for path in configs],
    }


def _collection(config: Path) -> tuple[str, str, str | None]:
    return COLLECTIONS.get(config.stem.partition("_")[0], SMALL)


def _collection_entry(name: str, title: str, paper: str | None) -> dict[str, Any]:
    entry: dict[str, Any] = {"Name": name, "README": "README.md"}
    return entry | ({"Paper": {"Title": title, "URL": f"https://arxiv.org/abs/{paper}"}} if paper else {})


def _model_entry(config: Path, path: str, numbers: dict[str, list[Number]]) -> dict[str, Any]:
    described = (ast.get_docstring(ast.parse(config.read_text("utf-8"))) or "").partition("\n")[0]
    metadata: dict[str, Any] = {"Description": described}
    if published := numbers.get(path):
        metadata["Published Settings"] = {key: number.published for number in published for key in number.keys}
    name = f"{config.parent.name}/{config.stem}"  # as x2vlm.create_model takes it
    return {"Name": name, "In Collection": _collection(config)[0], "Config": path, "Metadata": metadata}


def _dump(content: dict[str, Any]) -> str:
    head = "# Made by `python tools/metafiles.py` from the configs and configs/published_numbers.tsv.\n"
    return head + yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=110)
