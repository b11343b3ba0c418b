"""GQA as published: objects of questions by number (also xGQA), and scene graphs with the boxes of objects."""

from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from typing import Any

from x2vlm.data.datasets.numbered_adapter import NumberedAdapter
from x2vlm.data.datasets.subset import Subset
from x2vlm.data.io.entry_fields import id_field, list_field, number_field, object_field, rows_of, text_field, texts_of
from x2vlm.data.io.limits import RecordLimits
from x2vlm.data.io.paths import FileNames, existing_files, existing_folder, path_inside
from x2vlm.data.io.phrase_boxes import enclosing_box
from x2vlm.data.io.row_readers.json_entries import JsonEntries
from x2vlm.data.record import Record
from x2vlm.registry import DATASETS


@DATASETS.register_module()
class GqaQuestions(NumberedAdapter):
    """Questions of GQA, and of xGQA in other languages, each with its one answer.

    The identity is ``imageId``; ``extras["question_id"]`` is the name of the question in its file.

    Args:
        questions_file: ``train_balanced_questions.json``: a file, a pattern (the parts of ``train_all_questions``), or
            several of either.
        image_root: The folder of the images.
        file_pattern: What makes a path of an ``imageId``.
        pipeline: Transforms.
        subset: ``dict(start, stop, exclude_ids)``, see :class:`~x2vlm.data.datasets.subset.Subset`.
        limits: ``dict(max_bytes, max_chars, max_elems)``, see :class:`~x2vlm.data.io.limits.RecordLimits`.
    """

    paths = ("questions_file", "image_root")
    # The card of Mineru/GQA, a copy of the balanced splits.
    published = {  # noqa: RUF012  (never changed)
        **{"train_balanced_questions": 943_000, "val_balanced_questions": 132_062},
        **{"testdev_balanced_questions": 12_578},
    }

    def __init__(
        self,
        questions_file: str | PathLike | Sequence[str | PathLike],
        image_root: str | PathLike,
        file_pattern: str = "{}.jpg",
        pipeline: Sequence[dict | Callable] = (),
        subset: dict | Subset | None = None,
        limits: dict | RecordLimits | None = None,
    ) -> None:
        super().__init__(pipeline, limits)
        self.image_root, self.names = existing_folder(image_root, "image_root"), FileNames(file_pattern)
        files = existing_files(questions_file, "questions_file")
        self.files = [JsonEntries(file, "questions_file", max_bytes=self.limits.max_bytes) for file in files]
        for entries in self.files:
            if entries.names is None:
                raise ValueError(
                    f"questions_file: {entries.path} is an array; expected an object from number to question"
                )
        self.rows = [(file, row) for file, entries in enumerate(self.files) for row in range(len(entries))]
        self.split_name = files[0].stem if len(files) == 1 else None
        self._take(len(self.rows), subset)

    def _record(self, number: int) -> Record:
        file, row = self.rows[number]
        entries = self.files[file]
        where, entry = entries.where(row), entries.read(row)
        image = id_field(entry, "imageId", where)
        answers = {} if entry.get("answer") is None else {"answers": [text_field(entry, "answer", where)]}
        return {
            "where": where,
            "id": image,
            "image": path_inside(self.image_root, self.names(image, where), where),
            "question": text_field(entry, "question", where),
            **answers,
            "extras": {"question_id": entries.names[row]},
        }


@DATASETS.register_module()
class GqaSceneGraphs(NumberedAdapter):
    """Scene graphs of GQA: objects with attributes (kind ``object``), and relations between two (kind ``region``).

    Args:
        graphs_file: ``train_sceneGraphs.json`` or ``val_sceneGraphs.json``.
        image_root: The folder of the images.
        relations: Relations too: "man to the left of horse", with the box around both.
        file_pattern: What makes a path of the name of an image.
        pipeline: Transforms.
        subset: ``dict(start, stop, exclude_ids)``, see :class:`~x2vlm.data.datasets.subset.Subset`.
        limits: ``dict(max_bytes, max_chars, max_elems)``, see :class:`~x2vlm.data.io.limits.RecordLimits`.
    """

    paths = ("graphs_file", "image_root")
    # As those report who read the files (github.com/XiaoxinHe/G-Retriever, issue 5).
    published = {"train_sceneGraphs": 74_942, "val_sceneGraphs": 10_696}  # noqa: RUF012  (never changed)

    def __init__(
        self,
        graphs_file: str | PathLike,
        image_root: str | PathLike,
        relations: bool = False,
        file_pattern: str = "{}.jpg",
        pipeline: Sequence[dict | Callable] = (),
        subset: dict | Subset | None = None,
        limits: dict | RecordLimits | None = None,
    ) -> None:
        super().__init__(pipeline, limits)
        self.image_root, self.names = existing_folder(image_root, "image_root"), FileNames(file_pattern)
        self.relations = relations
        self.graphs = JsonEntries(graphs_file, "graphs_file", max_bytes=self.limits.max_bytes)
        if self.graphs.names is None:
            raise ValueError(f"graphs_file: {graphs_file} is an array; expected an object from image to scene graph")
        self.split_name = self.graphs.path.stem
        self._take(len(self.graphs), subset)

    def _record(self, number: int) -> Record:
        where, graph, image = self.graphs.where(number), self.graphs.read(number), self.graphs.names[number]
        objects = object_field(graph, "objects", where)
        there = rows_of([*objects.values()], "objects", where)
        elems = [_object(one, where) for one in there]
        if self.relations:
            elems += [elem for one in there for elem in _relations(one, objects, where)]
        return {
            "where": where,
            "id": image,
            "image": path_inside(self.image_root, self.names(image, where), where),
            "elems": elems,
            "stated_size": (number_field(graph, "width", where), number_field(graph, "height", where)),
            "extras": {},
        }


def _box(one: Mapping[str, Any], where: str) -> tuple[float, float, float, float]:
    return tuple(number_field(one, key, where) for key in ("x", "y", "w", "h"))


def _object(one: Mapping[str, Any], where: str) -> dict[str, Any]:
    elem = {"bb": _box(one, where), "caption": text_field(one, "name", where), "kind": "object"}
    words = texts_of(list_field({"attributes": [], **one}, "attributes", where), "attributes", where)
    return elem | ({"attributes": words} if words else {})


def _relations(one: Mapping[str, Any], objects: Mapping[str, Any], where: str) -> list[dict[str, Any]]:
    elems = []
    for relation in rows_of(list_field({"relations": [], **one}, "relations", where), "relations", where):
        other = object_field(objects, id_field(relation, "object", where), where)
        words = text_field(one, "name", where), text_field(relation, "name", where), text_field(other, "name", where)
        box = enclosing_box([_box(one, where), _box(other, where)])
        elems.append({"bb": box, "caption": " ".join(words), "kind": "region"})
    return elems
