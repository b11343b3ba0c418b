"""NLVR2 and MaRVL as published: sentences about two photographs, true or false."""

from collections.abc import Callable, Sequence
from os import PathLike
from os.path import isfile
from pathlib import Path
from typing import Any

from x2vlm.data.datasets.numbered_adapter import NumberedAdapter
from x2vlm.data.datasets.subset import Subset
from x2vlm.data.io.entry_fields import id_field, text_field
from x2vlm.data.io.limits import RecordLimits
from x2vlm.data.io.line_index import json_lines
from x2vlm.data.io.paths import existing_files, existing_folder, path_inside
from x2vlm.data.record import Record, RecordError
from x2vlm.registry import DATASETS

_TRUTH = {"true": "True", "false": "False"}


class ImagePairs(NumberedAdapter):
    """JSON lines with a sentence about two images each, and the folder of the images."""

    paths = ("ann_file", "image_root")

    def __init__(
        self,
        ann_file: str | PathLike | Sequence[str | PathLike],
        image_root: str | PathLike,
        pipeline: Sequence[dict | Callable] = (),
        subset: dict | Subset | None = None,
        limits: dict | RecordLimits | None = None,
    ) -> None:
        super().__init__(pipeline, limits)
        files = existing_files(ann_file, "ann_file")
        self.image_root = existing_folder(image_root, "image_root")
        self.lines = json_lines(files, "ann_file", self.limits.max_bytes)
        self.split_name = files[0].stem if len(files) == 1 else None
        self._take(len(self.lines), subset)


@DATASETS.register_module()
class Nlvr2(ImagePairs):
    """Sentences about two photographs, which a text reads together; the label is ``"True"`` or ``"False"``.

    The identity is the pair of photographs: sentences about one pair share it. ``extras`` hold ``identifier`` and
    ``text``, by which consistency is counted.

    Args:
        ann_file: ``train.json``, ``dev.json``, ``test1.json``, JSON lines: a file, a pattern, or several of either.
        image_root: The folder of the images: ``dev-850-0-img0.png``; those of training may lie in the numbered folders
            that the annotations name (``directory``).
        pipeline: Transforms.
        subset: ``dict(start, stop, exclude_ids)``, see :class:`~x2vlm.data.datasets.subset.Subset`.
        limits: ``dict(max_bytes, max_chars, max_elems)``, see :class:`~x2vlm.data.io.limits.RecordLimits`.
    """

    # Suhr et al., arXiv:1811.00491: with the 6,970 of the hidden test set, 107,292 in all.
    published = {"train": 86_373, "dev": 6_982, "test1": 6_967}  # noqa: RUF012  (never changed)

    def _record(self, number: int) -> Record:
        where, line = self.lines.where(number), self.lines.json(number)
        identifier = text_field(line, "identifier", where)
        pair = identifier.rpartition("-")[0]
        if pair.count("-") < 2:
            raise RecordError(where, f"identifier: expected split-set-pair-sentence, got {identifier!r:.60}")
        sentence = text_field(line, "sentence", where)
        images = [self._image(line, f"{pair}-img{side}.png", where) for side in (0, 1)]
        extras = {"identifier": identifier, "text": sentence}
        return {
            "where": where,
            "id": pair,
            "images": images,
            "caption": sentence,
            **_label(line, where),
            "extras": extras,
        }

    def _image(self, line: dict[str, Any], name: str, where: str) -> Path:
        if "directory" in line:
            path = path_inside(self.image_root, f"{id_field(line, 'directory', where)}/{name}", where)
            if isfile(path):
                return path
        return path_inside(self.image_root, name, where)


@DATASETS.register_module()
class Marvl(ImagePairs):
    """MaRVL: sentences in five languages about two photographs, as NLVR2 has them in English.

    Args:
        ann_file: ``marvl-id.jsonl``, ...: a file, a pattern, or several of either.
        image_root: The folder of the images of that language, with a folder for each concept.
        pipeline: Transforms.
        subset: ``dict(start, stop, exclude_ids)``, see :class:`~x2vlm.data.datasets.subset.Subset`.
        limits: ``dict(max_bytes, max_chars, max_elems)``, see :class:`~x2vlm.data.io.limits.RecordLimits`.
    """

    # The card of neulab/PangeaBench-marvl, a copy of the original repository.
    published = {  # noqa: RUF012  (never changed)
        **{"marvl-id": 1_128, "marvl-sw": 1_108, "marvl-ta": 1_242, "marvl-tr": 1_180, "marvl-zh": 1_012},
    }

    def _record(self, number: int) -> Record:
        where, line = self.lines.where(number), self.lines.json(number)
        names = [text_field(line, key, where) for key in ("left_img", "right_img")]
        folder = f"{text_field(line, 'concept', where)}/" if line.get("concept") else ""
        return {
            "where": where,
            "id": f"{folder}{' '.join(names)}",
            "images": [path_inside(self.image_root, f"{folder}{name}", where) for name in names],
            "caption": text_field(line, "caption", where),
            **_label(line, where),
            "extras": {"language": str(line.get("language", "")), "text": text_field(line, "caption", where)},
        }


def _label(line: dict[str, Any], where: str) -> dict[str, str]:
    """``label``, if there is one: test sets may keep theirs."""
    if line.get("label") is None:
        return {}
    label = _TRUTH.get(str(line["label"]).lower())
    if label is None:
        raise RecordError(where, f"label: expected true or false, got {line['label']!r:.40}")
    return {"label": label}
