"""SugarCrepe, ARO and VL-CheckList: an image, a caption that is true of it, and one or more that nearly are."""

import json
from collections.abc import Callable, Iterator, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

from x2vlm.building import suggestion
from x2vlm.data.datasets.base import Adapter
from x2vlm.data.datasets.subset import Subset
from x2vlm.data.io.limits import RecordLimits
from x2vlm.data.io.paths import existing_files, existing_folder, path_inside
from x2vlm.data.record import MALFORMED, Record, RecordError
from x2vlm.registry import DATASETS

VL_CHECKLIST_TYPES = ("Object", "Attribute", "Relation")
"""Folders of VL-CheckList's own files, one for each ability that it asks for."""


class Entry(NamedTuple):
    """An entry of a file as it stands: its place, its file, its key in an object (None in a list), its content."""

    where: str
    file: Path
    key: str | None
    content: Any


@DATASETS.register_module()
class HardNegatives(Adapter):
    """The JSON files of benchmarks that ask which of some captions is true; each is read whole.

    Records have ``image``, ``caption`` (the true one) and ``negatives``; ``extras["category"]`` says what is asked.

    - ``sugarcrepe``: an object of entries ``{filename, caption, negative_caption}``; the category is the file's name
      (``swap_att``).
    - ``aro``: a list of ``{image_path, true_caption, false_caption, bbox_x, bbox_y, bbox_w, bbox_h}`` with
      ``relation_name`` or ``attributes``, which are the category; the box goes to ``crop_px``
      (:class:`~x2vlm.data.transforms.images.classification_transforms.CropToBox`). Or a list of
      ``{image, caption_options}``, the true one first (COCO and Flickr30k order).
    - ``vl_checklist``: a list of pairs of an image and ``{"POS": [...], "NEG": [...]}``, of which the first of each
      count; the category is the folder (``Object``, ``Attribute``, ``Relation``), ``extras["part"]`` the file's name.

    Args:
        ann_file: A file, a pattern, or several of either.
        layout: Which of the three.
        image_root: The folder that the paths of images start from; None: that of the annotation file.
        pipeline: Transforms.
        subset: ``dict(start, stop, exclude_ids)``, see :class:`~x2vlm.data.datasets.subset.Subset`.
        limits: ``dict(max_bytes, max_chars, max_elems)``, see :class:`~x2vlm.data.io.limits.RecordLimits`.

    Raises:
        FileNotFoundError: If a file is not there.
        ValueError: If the layout is unknown, or a file holds something else.
    """

    paths = ("ann_file", "image_root")

    def __init__(
        self,
        ann_file: str | PathLike | Sequence[str | PathLike],
        layout: str,
        image_root: str | PathLike | None = None,
        pipeline: Sequence[dict | Callable] = (),
        subset: dict | Subset | None = None,
        limits: dict | RecordLimits | None = None,
    ) -> None:
        super().__init__(pipeline, limits)
        if layout not in LAYOUTS:
            raise ValueError(f"layout is {layout!r}.{suggestion(str(layout), LAYOUTS)} Accepted: {', '.join(LAYOUTS)}.")
        self.layout = layout
        self.image_root = None if image_root is None else existing_folder(image_root, "image_root")
        entries = [entry for file in existing_files(ann_file, "ann_file") for entry in _entries(file)]
        indices = Subset.of(subset).indices(len(entries), lambda index: str(self._parts(entries[index])[0]))
        self._entries = [entries[index] for index in indices.tolist()]

    def __len__(self) -> int:
        return len(self._entries)

    def record(self, index: int) -> Record:
        """The record of an entry.

        Raises:
            RecordError: If the entry is not of this layout, or names an image outside ``image_root``.
        """
        entry = self._entries[index]
        image, caption, negatives, extras, more = self._parts(entry)
        path = path_inside(self.image_root or entry.file.parent, str(image), entry.where)
        said = {"caption": caption, "negatives": negatives}
        return {"where": entry.where, "id": str(image), "image": path, **said, **more, "extras": extras}

    def _parts(self, entry: Entry) -> tuple[str, str, list[str], dict, dict]:
        """Image, caption, what is not true, extras and more of an entry."""
        try:
            parts = LAYOUTS[self.layout](entry)
        except MALFORMED as error:
            reason = f"is not as {self.layout} has it ({type(error).__name__}: {error}): {str(entry.content)[:80]}"
            raise RecordError(entry.where, reason) from error
        no_text = [text for text in (parts[1], *parts[2]) if not isinstance(text, str)]
        if no_text:
            raise RecordError(
                entry.where,
                f"expected texts, got {no_text[0]!r:.40}: is not as {self.layout} has it: {entry.content!s:.80}",
            )
        return parts


def _entries(file: Path) -> Iterator[Entry]:
    try:
        content = json.loads(file.read_text("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"ann_file: {file} is broken JSON: {error}") from error
    if isinstance(content, dict):
        keyed = list(content.items())
    elif isinstance(content, list):
        keyed = [(None, one) for one in content]
    else:
        raise ValueError(f"ann_file: {file} holds {str(content)[:40]!r}; expected a list or an object of entries")
    if not keyed:
        raise ValueError(f"ann_file: {file} is empty")
    for number, (key, one) in enumerate(keyed):
        yield Entry(f"{file.name}[{number if key is None else key}]", file, key, one)


def _sugarcrepe(entry: Entry) -> tuple[str, str, list[str], dict, dict]:
    one = entry.content
    return one["filename"], one["caption"], [one["negative_caption"]], {"category": entry.file.stem}, {}


def _aro(entry: Entry) -> tuple[str, str, list[str], dict, dict]:
    one = entry.content
    if "caption_options" in one:
        caption, *negatives = one["caption_options"]
        return one["image"], caption, negatives, {"category": entry.file.stem}, {}
    category = one["relation_name"] if "relation_name" in one else "_".join(one["attributes"])
    box = tuple(float(one[f"bbox_{side}"]) for side in "xywh")
    return one["image_path"], one["true_caption"], [one["false_caption"]], {"category": category}, {"crop_px": box}


def _vl_checklist(entry: Entry) -> tuple[str, str, list[str], dict, dict]:
    image, texts = entry.content
    kinds = [part for part in entry.file.parts if part in VL_CHECKLIST_TYPES]
    extras = {"category": kinds[-1] if kinds else entry.file.stem, "part": entry.file.stem}
    return image, texts["POS"][0], [texts["NEG"][0]], extras, {}


LAYOUTS: dict[str, Callable[[Entry], tuple[str, str, list[str], dict, dict]]] = {
    "sugarcrepe": _sugarcrepe,
    "aro": _aro,
    "vl_checklist": _vl_checklist,
}
