"""What a gallery was made of (``gallery.json``): a gallery of another model or of other data is refused."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mmengine.config import Config

from x2vlm.building import ConfigError
from x2vlm.gallery.gallery_layout import GalleryStorage
from x2vlm.gallery.resumable import write_or_compare_facts
from x2vlm.weights.integrity import sha256_of_file

FORMAT = 1
FACTS_FILE = "gallery.json"


def gallery_facts(
    cfg: Mapping[str, Any], evaluation: str, checkpoint: Path, records: int, storage: GalleryStorage
) -> dict[str, Any]:
    """What the content of a gallery depends on.

    Args:
        cfg: The config of the model.
        evaluation: Whose data the gallery is of, a name in ``cfg.evaluations``.
        checkpoint: The weights; their SHA-256 is taken.
        records: Records of the data.
        storage: What is stored beside the features.
    """
    data = cfg["evaluations"][evaluation]
    hashed = {key: cfg.get(key) for key in ("model", "tokenizer", "data_root")}
    hashed |= {key: data.get(key) for key in ("dataset", "collate")}
    return {
        "format": FORMAT,
        "evaluation": evaluation,
        "checkpoint_sha256": sha256_of_file(checkpoint),
        "config_sha256": hashlib.sha256(_text(hashed).encode()).hexdigest(),
        "precision": cfg["test_cfg"].get("precision", "fp32"),
        "records": records,
        "batch_size": data["batch_size"],
        **asdict(storage),
    }


def check_gallery_facts(folder: Path, facts: Mapping[str, Any]) -> None:
    """Write ``gallery.json``, or compare it.

    Raises:
        ConfigError: If the folder holds a gallery of another model or other data.
    """
    write_or_compare_facts(folder / FACTS_FILE, facts, "a gallery")


def read_gallery_facts(folder: Path) -> dict:
    """The contents of ``gallery.json``: what the gallery was made of.

    Raises:
        ConfigError: If the folder holds no gallery.
    """
    file = folder / FACTS_FILE
    if not file.is_file():
        raise ConfigError(f"{folder} holds no gallery (no gallery.json). Make one: x2vlm gallery encode.")
    return json.loads(file.read_text(encoding="utf-8"))


def _text(sections: Mapping[str, Any]) -> str:
    return Config({key: value for key, value in sections.items() if value is not None}).pretty_text
