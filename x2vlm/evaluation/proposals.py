"""Files of box proposals: by image, in pixels."""

import json
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor


def read_proposals(path: str | PathLike) -> dict[str, Tensor]:
    """Box proposals by image.

    Args:
        path: A JSON object from image to a list of ``[x, y, width, height]`` boxes in pixels (or of objects with
            ``box`` or ``bbox``), or a COCO list of results with ``image_id`` and ``bbox``.

    Returns:
        ``[proposals, 4]`` xyxy in pixels by the name of the image, as text.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it holds anything else.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"GradCamGroundingMetric.proposals: there is no file {path}.")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not JSON: {error}.") from error
    listed: dict[str, list[Any]] = {}
    if isinstance(content, Mapping):
        listed = {str(image): list(boxes) for image, boxes in content.items()}
    else:
        for entry in content:
            listed.setdefault(str(_field(path, entry, ("image_id",))), []).append(entry)
    return {image: _xyxy(path, image, boxes) for image, boxes in listed.items()}


def _xyxy(path: Path, image: str, boxes: list[Any]) -> Tensor:
    boxes = [_field(path, box, ("bbox", "box")) if isinstance(box, Mapping) else box for box in boxes]
    for box in boxes:
        if not isinstance(box, list) or len(box) != 4 or not all(isinstance(value, int | float) for value in box):
            raise ValueError(f"{path}: a proposal of image {image} is {box!r:.60}; expected [x, y, width, height].")
    xywh = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    return torch.cat([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], dim=1)


def _field(path: Path, entry: Any, names: tuple[str, ...]) -> Any:
    found = [entry[name] for name in names if isinstance(entry, Mapping) and name in entry]
    if not found:
        raise ValueError(f"{path}: an entry is {entry!r:.80}; expected an object with {' or '.join(names)}.")
    return found[0]
