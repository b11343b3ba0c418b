"""RefCOCO, RefCOCO+ and RefCOCOg as published: ``refs(unc).p`` and ``instances.json``, with the images of COCO."""

import json
from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from typing import Any

from x2vlm.building import suggestion
from x2vlm.data.datasets.numbered_adapter import NumberedAdapter
from x2vlm.data.datasets.subset import Subset
from x2vlm.data.io.entry_fields import id_field, list_field, number_field, text_field
from x2vlm.data.io.limits import RecordLimits
from x2vlm.data.io.paths import existing_file, existing_folder, path_inside
from x2vlm.data.io.row_readers.plain_pickle import read_plain_pickle
from x2vlm.data.record import Record, RecordError
from x2vlm.registry import DATASETS


@DATASETS.register_module()
class RefCoco(NumberedAdapter):
    """Expressions that refer to one object each, with its box.

    The identity is COCO's number of the image; the element is of kind ``region``. ``extras`` hold ``ref_id`` and
    ``sent_id``. Nothing in the pickle is run: one that asks for more than lists, dicts, texts and numbers is refused.

    Args:
        refs_file: ``refs(unc).p``, ``refs(google).p`` or ``refs(umd).p``; or the same as JSON.
        instances_file: ``instances.json`` beside it.
        image_root: The folder of ``train2014`` of COCO.
        split: ``"train"``, ``"val"``, ``"test"``, ``"testA"``, ``"testB"``.
        expressions_apart: Each expression is a record, as in the published files, so that an image with many is drawn
            as often; else a record has all expressions of an object.
        pipeline: Transforms.
        subset: ``dict(start, stop, exclude_ids)``, see :class:`~x2vlm.data.datasets.subset.Subset`.
        limits: ``dict(max_bytes, max_chars, max_elems)``, see :class:`~x2vlm.data.io.limits.RecordLimits`.

    Raises:
        FileNotFoundError: If a file or the folder is not there.
        ValueError: If a file is of another shape, or there is no such split.
    """

    paths = ("refs_file", "instances_file", "image_root")
    # Expressions. They add up to the 142,210 of RefCOCO's files (142,209 in Yu et al., arXiv:1608.00272), the 141,564
    # of RefCOCO+ (ibid.), and, by either division of RefCOCOg, to 95,010 (Mao et al., arXiv:1511.02283: 85,474 of
    # them in training).
    published = {  # noqa: RUF012  (never changed)
        **{"refcoco train": 120_624, "refcoco val": 10_834, "refcoco testA": 5_657, "refcoco testB": 5_095},
        **{"refcoco+ train": 120_191, "refcoco+ val": 10_758, "refcoco+ testA": 5_726, "refcoco+ testB": 4_889},
        **{"refcocog umd train": 80_512, "refcocog umd val": 4_896, "refcocog umd test": 9_602},
        **{"refcocog google train": 85_474, "refcocog google val": 9_536},
    }

    def __init__(
        self,
        refs_file: str | PathLike,
        instances_file: str | PathLike,
        image_root: str | PathLike,
        split: str = "train",
        expressions_apart: bool = True,
        pipeline: Sequence[dict | Callable] = (),
        subset: dict | Subset | None = None,
        limits: dict | RecordLimits | None = None,
    ) -> None:
        super().__init__(pipeline, limits)
        self.image_root = existing_folder(image_root, "image_root")
        self.expressions_apart = expressions_apart
        path = existing_file(refs_file, "refs_file")
        refs = _json(path, "refs_file") if path.suffix == ".json" else read_plain_pickle(path, "refs_file")
        if not isinstance(refs, list) or not all(isinstance(ref, dict) for ref in refs):
            raise ValueError(f"refs_file: {path} is no list of references")
        there = sorted({str(ref.get("split")) for ref in refs})
        if split not in there:
            raise ValueError(f"split: {path} has no {split!r}.{suggestion(split, there)} It has: {', '.join(there)}.")
        self._name = path.name
        self._refs = [(row, ref) for row, ref in enumerate(refs) if ref.get("split") == split]
        self._boxes, self._images = _instances(instances_file)
        self.rows = [
            (place, number)
            for place, (_, ref) in enumerate(self._refs)
            for number in range(_count(ref) if expressions_apart else 1)
        ]
        self.split_name = f"{_set_of(path)} {split}" if expressions_apart else None
        self._take(len(self.rows), subset)

    def _record(self, number: int) -> Record:
        place, sentence = self.rows[number]
        row, ref = self._refs[place]
        where = f"{self._name}[{row}]"
        box = self._boxes.get(ref.get("ann_id"))
        if not isinstance(box, list):
            raise RecordError(where, f"ann_id {ref.get('ann_id')!r:.40} is no annotation with a box in the instances")
        image = self._images.get(ref.get("image_id"))
        if image is None:
            raise RecordError(where, f"image_id {ref.get('image_id')!r:.40} is no image of the instances")
        sentences = list_field(ref, "sentences", where)
        chosen = sentences[sentence : sentence + 1] if self.expressions_apart else sentences
        said = [text_field(one, "sent", where) for one in chosen]
        if not said:
            raise RecordError(where, "has no sentences")
        extras = {"ref_id": id_field(ref, "ref_id", where)}
        if self.expressions_apart:
            extras["sent_id"] = id_field(chosen[0], "sent_id", where)
        return {
            "where": f"{where} sentences[{sentence}]" if self.expressions_apart else where,
            "id": id_field(ref, "image_id", where),
            "image": path_inside(self.image_root, text_field(image, "file_name", where), where),
            "elems": [{"bb": box, "caption": said[0] if len(said) == 1 else said, "kind": "region"}],
            "stated_size": (number_field(image, "width", where), number_field(image, "height", where)),
            "extras": extras,
        }


def _count(ref: Mapping[str, Any]) -> int:
    sentences = ref.get("sentences")
    return max(len(sentences), 1) if isinstance(sentences, list) else 1


def _instances(path: str | PathLike) -> tuple[dict[Any, Any], dict[Any, dict[str, Any]]]:
    """The box of each annotation, and the entry of each image, by id."""
    path = existing_file(path, "instances_file")
    content = _json(path, "instances_file")
    lists = [content.get(name) if isinstance(content, dict) else None for name in ("annotations", "images")]
    if not all(isinstance(entries, list) for entries in lists):
        raise ValueError(f"instances_file: {path} is no COCO instances file: it lacks annotations or images")
    annotations, images = ([entry for entry in entries if isinstance(entry, dict)] for entries in lists)
    ids = [entry.get("id") for entry in images]
    if len(set(map(str, ids))) < len(ids):
        twice = next(one for one in ids if ids.count(one) > 1)
        raise ValueError(f"instances_file: {path}: the id {twice!r} is there several times under images")
    boxes = {entry["id"]: entry.get("bbox") for entry in annotations if isinstance(entry.get("id"), int | str)}
    return boxes, {entry["id"]: entry for entry in images if isinstance(entry.get("id"), int | str)}


def _json(path: Any, option: str) -> Any:
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{option}: {path} is broken JSON: {error}") from error


def _set_of(path: Any) -> str:
    """Which of the sets a file belongs to, by its folder and its maker: ``refcocog umd``."""
    maker = next((name for name in ("umd", "google", "unc") if f"({name})" in path.name), "")
    return f"{path.parent.name.lower()} {maker}".strip() if maker in ("umd", "google") else path.parent.name.lower()
