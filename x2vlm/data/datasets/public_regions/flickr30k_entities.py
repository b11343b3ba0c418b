"""Flickr30K Entities as published: ``Sentences/*.txt`` with marked phrases, ``Annotations/*.xml`` with boxes."""

import re
from collections.abc import Callable, Sequence
from os import PathLike
from typing import Any
from xml.etree import ElementTree

from x2vlm.data.datasets.numbered_adapter import NumberedAdapter
from x2vlm.data.datasets.subset import Subset
from x2vlm.data.io.limits import RecordLimits
from x2vlm.data.io.paths import existing_file, existing_folder, path_inside, read_bytes, read_lines
from x2vlm.data.io.phrase_boxes import MULTI_BOX, phrase_elements
from x2vlm.data.record import Record, RecordError
from x2vlm.registry import DATASETS

_PHRASE = re.compile(r"\[/EN#(\d+)((?:/\w+)+) ([^\]]*)\]")
_NO_ENTITY = "0"  # of phrases that mean nothing one can see


@DATASETS.register_module()
class Flickr30kEntities(NumberedAdapter):
    """Images with their five captions, and the phrases in these with the boxes of what they mean.

    The identity is the number of the photograph. Phrases are of kind ``region``. Boxes are the corners as they stand in
    the files: x, y, and what lies between the corners.

    Args:
        root: The folder that holds ``Sentences`` and ``Annotations``.
        image_root: The folder of the images.
        split_file: A text file with a number a line (``train.txt``, ``val.txt``, ``test.txt``); None takes all.
        multi_box: The box of a phrase that means several things; see
            :func:`~x2vlm.data.io.phrase_boxes.phrase_elements`.
        unique_phrases: Keep one of several equal phrases for the same thing in one image.
        pipeline: Transforms.
        subset: ``dict(start, stop, exclude_ids)``, see :class:`~x2vlm.data.datasets.subset.Subset`.
        limits: ``dict(max_bytes, max_chars, max_elems)``, see :class:`~x2vlm.data.io.limits.RecordLimits`.
    """

    paths = ("root", "image_root", "split_file")
    # All: the README of Flickr30K Entities. The splits: that of SNLI-VE, which has the same images.
    published = {"train": 29_783, "val": 1_000, "test": 1_000, "all": 31_783}  # noqa: RUF012  (never changed)

    def __init__(
        self,
        root: str | PathLike,
        image_root: str | PathLike,
        split_file: str | PathLike | None = None,
        multi_box: str = "union",
        unique_phrases: bool = False,
        pipeline: Sequence[dict | Callable] = (),
        subset: dict | Subset | None = None,
        limits: dict | RecordLimits | None = None,
    ) -> None:
        super().__init__(pipeline, limits)
        if multi_box not in MULTI_BOX:
            raise ValueError(f"multi_box is {multi_box!r}; expected one of {', '.join(MULTI_BOX)}")
        self.root, self.image_root = existing_folder(root, "root"), existing_folder(image_root, "image_root")
        self.multi_box, self.unique_phrases = multi_box, unique_phrases
        if split_file is None:
            self.names = sorted(path.stem for path in existing_folder(self.root / "Sentences", "root").glob("*.txt"))
            self.split_name = "all"
        else:
            path = existing_file(split_file, "split_file")
            self.names = read_lines(path, "split_file")
            self.split_name = path.stem
        if not self.names:
            raise ValueError(f"root: {self.root} has no Sentences/*.txt")
        self._take(len(self.names), subset)

    def _record(self, number: int) -> Record:
        name = self.names[number]
        where = f"Sentences/{name}.txt"
        path = path_inside(self.root, where, where)
        try:
            lines = read_bytes(path, where, self.limits.max_bytes).decode("utf-8-sig").splitlines()
        except UnicodeDecodeError as error:
            raise RecordError(where, f"not UTF-8: {error}") from error
        lines = [line for line in lines if line.strip()]
        if not lines:
            raise RecordError(where, "has no sentence")
        phrases = [{"text": m[3], "ent": m[1]} for line in lines for m in _PHRASE.finditer(line) if m[1] != _NO_ENTITY]
        types = {m[1]: m[2].strip("/").split("/") for line in lines for m in _PHRASE.finditer(line)}
        entities, size = self._boxes(name)
        entities = {entity: {"boxes": boxes, "types": types.get(entity, [])} for entity, boxes in entities.items()}
        elems = phrase_elements(phrases, entities, where, self.multi_box, self.unique_phrases)
        return {
            "where": where,
            "id": name,
            "image": path_inside(self.image_root, f"{name}.jpg", where),
            "caption": [_PHRASE.sub(r"\3", line) for line in lines],
            **({"elems": elems} if elems else {}),
            **size,
            "extras": {},
        }

    def _boxes(self, name: str) -> tuple[dict[str, list[list[float]]], dict[str, Any]]:
        """The boxes of each entity, and the size that the file states."""
        where = f"Annotations/{name}.xml"
        data = read_bytes(path_inside(self.root, where, where), where, self.limits.max_bytes)
        if b"<!" in data and re.search(rb"<!(DOCTYPE|ENTITY)", data):
            raise RecordError(where, "declares entities of XML, which are not read")
        try:
            tree = ElementTree.fromstring(data)
            boxes: dict[str, list[list[float]]] = {}
            for one in tree.iter("object"):
                box = one.find("bndbox")
                if box is not None:
                    x0, y0, x1, y1 = (float(box.findtext(key)) for key in ("xmin", "ymin", "xmax", "ymax"))
                    for entity in one.iter("name"):
                        boxes.setdefault(str(entity.text), []).append([x0, y0, x1 - x0, y1 - y0])
            sides = [tree.findtext(f"size/{key}") for key in ("width", "height")]
            size = {} if None in sides else {"stated_size": tuple(int(side) for side in sides)}
        except (ElementTree.ParseError, TypeError, ValueError) as error:
            raise RecordError(where, f"is no annotation of boxes: {error}") from error
        return boxes, size
