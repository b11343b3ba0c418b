"""Visual Genome as published: ``image_data.json``, and beside it regions, objects, attributes and relationships."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from x2vlm.data.datasets.numbered_adapter import NumberedAdapter
from x2vlm.data.datasets.subset import Subset
from x2vlm.data.io.entry_fields import (
    id_field,
    list_field,
    number_field,
    object_field,
    rows_of,
    text_field,
    texts_of,
    url_parts,
)
from x2vlm.data.io.limits import RecordLimits
from x2vlm.data.io.paths import existing_folder, path_inside
from x2vlm.data.io.phrase_boxes import enclosing_box
from x2vlm.data.io.row_readers.json_entries import JsonEntries
from x2vlm.data.record import Record, RecordError
from x2vlm.registry import DATASETS


@DATASETS.register_module()
class VisualGenome(NumberedAdapter):
    """Images with their regions (kind ``region``) and objects (kind ``object``), boxes in pixels.

    The identity is Visual Genome's ``image_id``. Width and height are compared with the image when it is read. An entry
    of an image that cannot be read costs that image alone; an image that a file does not know has nothing from it. For
    captions of images, as in the 4M pre-training, follow it by
    :class:`~x2vlm.data.transforms.regions.RegionsAsCaptions`.

    Args:
        image_data: ``image_data.json``: the images, and the end of whose address (``VG_100K_2/1.jpg``) is the file.
        image_root: The folder that holds ``VG_100K`` and ``VG_100K_2``.
        regions: ``region_descriptions.json``.
        objects: ``objects.json``; where ``attributes.json`` is given too, that one is enough.
        attributes: ``attributes.json``: objects with their attributes.
        relationships: ``relationships.json``: "man on horse", with the box around both, of kind ``region``.
        flat: All images lie in ``image_root`` itself.
        pipeline: Transforms.
        subset: ``dict(start, stop, exclude_ids)``, see :class:`~x2vlm.data.datasets.subset.Subset`.
        limits: ``dict(max_bytes, max_chars, max_elems)``, see :class:`~x2vlm.data.io.limits.RecordLimits`.

    Raises:
        FileNotFoundError: If a file or the folder is not there.
        ValueError: If no file of elements is given, or a file is of another shape.
    """

    paths = ("image_data", "image_root", "regions", "objects", "attributes", "relationships")
    # Visual Genome's own page (version 1.2 on).
    published = {"images": 108_077}  # noqa: RUF012  (never changed)
    split_name = "images"

    def __init__(
        self,
        image_data: str | PathLike,
        image_root: str | PathLike,
        regions: str | PathLike | None = None,
        objects: str | PathLike | None = None,
        attributes: str | PathLike | None = None,
        relationships: str | PathLike | None = None,
        flat: bool = False,
        pipeline: Sequence[dict | Callable] = (),
        subset: dict | Subset | None = None,
        limits: dict | RecordLimits | None = None,
    ) -> None:
        super().__init__(pipeline, limits)
        given = {"regions": regions, "objects": objects, "attributes": attributes, "relationships": relationships}
        given = {name: path for name, path in given.items() if path is not None}
        if not given:
            raise ValueError(
                f"VisualGenome needs one of {', '.join(READERS)}, or several; there is nothing to say else"
            )
        self.image_root, self.flat = existing_folder(image_root, "image_root"), flat
        self.images = JsonEntries(image_data, "image_data", id_of=image_id, max_bytes=self.limits.max_bytes)
        self.files = {
            name: JsonEntries(path, name, id_of=image_id, max_bytes=self.limits.max_bytes)
            for name, path in given.items()
        }
        check_that_they_meet(self.images, self.files)
        self._take(len(self.images), subset)

    def _record(self, number: int) -> Record:
        where, entry = self.images.where(number), self.images.read(number)
        identity = self.images.ids[number]
        if identity is None:
            raise RecordError(where, "has no 'image_id'")
        elems: list[dict[str, Any]] = []
        for name, file in self.files.items():
            row = file.position(identity)
            if row is not None:
                elems += READERS[name](file.read(row), file.where(row))
        size = {"stated_size": (number_field(entry, "width", where), number_field(entry, "height", where))}
        return {
            "where": where,
            "id": str(identity),
            "image": vg_image(self.image_root, entry, self.flat, where),
            "elems": elems,
            **size,
            "extras": {},
        }


def vg_image(root: Path, entry: Mapping[str, Any], flat: bool, where: str) -> Path:
    """The file of an image of Visual Genome, from its entry in ``image_data.json``."""
    return path_inside(root, url_parts(text_field(entry, "url", where), 1 if flat else 2), where)


def image_id(entry: Any) -> int | None:
    """The image an entry is about, whichever of the names it has in the several files (and their versions)."""
    entry = entry if isinstance(entry, dict) else {}
    found = next((entry[key] for key in ("image_id", "id") if isinstance(entry.get(key), int)), None)
    if found is None and isinstance(entry.get("regions"), list) and entry["regions"]:
        return image_id(entry["regions"][0]) if isinstance(entry["regions"][0], dict) else None
    return found


def check_that_they_meet(images: JsonEntries, files: Mapping[str, JsonEntries]) -> None:
    """Refuse files that are about other images.

    Raises:
        ValueError: If one has no image in common with ``images``.
    """
    for name, file in files.items():
        if not {*file.ids} - {None} & {*images.ids}:
            raise ValueError(f"{name}: {file.path} has no image of {images.path}: their image ids do not meet")


def _box(entry: Mapping[str, Any], where: str) -> tuple[float, float, float, float]:
    wide, high = ("w", "h") if "w" in entry else ("width", "height")
    return tuple(number_field(entry, key, where) for key in ("x", "y", wide, high))


def _name(entry: Mapping[str, Any], where: str) -> str:
    names = entry.get("names")
    if isinstance(names, list) and names and isinstance(names[0], str):
        return names[0]
    return text_field(entry, "name", where)


def _regions(entry: Mapping[str, Any], where: str) -> Iterator[dict[str, Any]]:
    for one in rows_of(list_field(entry, "regions", where), "regions", where):
        yield {"bb": _box(one, where), "caption": text_field(one, "phrase", where), "kind": "region"}


def _objects(entry: Mapping[str, Any], where: str) -> Iterator[dict[str, Any]]:
    for one in rows_of(list_field(entry, "objects", where), "objects", where):
        yield {"bb": _box(one, where), "caption": _name(one, where), "kind": "object"}


def _attributes(entry: Mapping[str, Any], where: str) -> Iterator[dict[str, Any]]:
    for one in rows_of(list_field(entry, "attributes", where), "attributes", where):
        words = texts_of(list_field({"attributes": [], **one}, "attributes", where), "attributes", where)
        elem = {"bb": _box(one, where), "caption": _name(one, where), "kind": "object"}
        yield elem | ({"attributes": words} if words else {})


def _relationships(entry: Mapping[str, Any], where: str) -> Iterator[dict[str, Any]]:
    for one in rows_of(list_field(entry, "relationships", where), "relationships", where):
        ends = object_field(one, "subject", where), object_field(one, "object", where)
        words = _name(ends[0], where), text_field(one, "predicate", where).lower(), _name(ends[1], where)
        yield {"bb": enclosing_box([_box(end, where) for end in ends]), "caption": " ".join(words), "kind": "region"}


READERS: dict[str, Callable[[Mapping[str, Any], str], Iterator[dict[str, Any]]]] = {
    "regions": _regions,
    "objects": _objects,
    "attributes": _attributes,
    "relationships": _relationships,
}
"""How the entries of each file become elements."""


@DATASETS.register_module()
class VisualGenomeQuestions(NumberedAdapter):
    """The questions of Visual Genome, each a record with its one answer (published training weighs it 0.5).

    The identity is that of the image; ``extras["question_id"]`` is ``qa_id``.

    Args:
        image_data: ``image_data.json``.
        questions: ``question_answers.json``.
        image_root: The folder that holds ``VG_100K`` and ``VG_100K_2``.
        flat: All images lie in ``image_root`` itself.
        pipeline: Transforms.
        subset: ``dict(start, stop, exclude_ids)``, see :class:`~x2vlm.data.datasets.subset.Subset`.
        limits: ``dict(max_bytes, max_chars, max_elems)``, see :class:`~x2vlm.data.io.limits.RecordLimits`.
    """

    paths = ("image_data", "questions", "image_root")
    # Version 1.2 as surveys of VQA data count it; the authors' page still has the 1.7 million of the first version.
    published = {"questions": 1_445_322}  # noqa: RUF012  (never changed)
    split_name = "questions"

    def __init__(
        self,
        image_data: str | PathLike,
        questions: str | PathLike,
        image_root: str | PathLike,
        flat: bool = False,
        pipeline: Sequence[dict | Callable] = (),
        subset: dict | Subset | None = None,
        limits: dict | RecordLimits | None = None,
    ) -> None:
        super().__init__(pipeline, limits)
        self.image_root, self.flat = existing_folder(image_root, "image_root"), flat
        self.images = JsonEntries(image_data, "image_data", id_of=image_id, max_bytes=self.limits.max_bytes)
        self.file = JsonEntries(questions, "questions", id_of=_asked_of, max_bytes=self.limits.max_bytes)
        self.rows = [(row, number) for row, (_, count) in enumerate(self.file.ids) for number in range(count)]
        self._take(len(self.rows), subset)

    def _record(self, number: int) -> Record:
        row, question = self.rows[number]
        where = f"{self.file.where(row)} qas[{question}]"
        entry = list_field(self.file.read(row), "qas", where)[question]
        image = self.file.ids[row][0]
        place = self.images.position(image)
        if place is None:
            raise RecordError(where, f"is about image {image}, which {self.images.path.name} does not have")
        return {
            "where": where,
            "id": str(image),
            "image": vg_image(self.image_root, self.images.read(place), self.flat, where),
            "question": text_field(entry, "question", where),
            "answers": [text_field(entry, "answer", where).strip().rstrip(".")],
            "extras": {"question_id": id_field(entry, "qa_id", where)},
        }


def _asked_of(entry: Any) -> tuple[int | None, int]:
    questions = entry.get("qas") if isinstance(entry, dict) else None
    return image_id(entry), len(questions) if isinstance(questions, list) else 1
