"""VQA v2, OK-VQA and A-OKVQA as published: questions, and annotations with the answers of ten people."""

from collections.abc import Callable, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from x2vlm.data.datasets.numbered_adapter import NumberedAdapter
from x2vlm.data.datasets.subset import Subset
from x2vlm.data.io.entry_fields import id_field, list_field, number_field, text_field, texts_of
from x2vlm.data.io.limits import RecordLimits
from x2vlm.data.io.paths import FileNames, existing_files, existing_folder, path_inside
from x2vlm.data.io.row_readers.json_entries import JsonEntries, member
from x2vlm.data.record import Record, RecordError
from x2vlm.registry import DATASETS


@DATASETS.register_module()
class VqaQuestions(NumberedAdapter):
    """Questions about images of COCO with the answers of each annotator: VQA v1 and v2, OK-VQA.

    The identity is COCO's number of the image; ``extras`` hold ``question_id``, and ``question_type`` and
    ``answer_type`` where there are annotations.

    Args:
        questions_file: ``v2_OpenEnded_mscoco_train2014_questions.json``, or one like it.
        image_root: The folder of the images.
        annotations_file: ``v2_mscoco_train2014_annotations.json``; None for questions to be answered.
        file_pattern: What makes a path of the number of an image; None: ``COCO_train2014_{:012d}.jpg``, by what the
            questions say of themselves.
        pipeline: Transforms.
        subset: ``dict(start, stop, exclude_ids)``, see :class:`~x2vlm.data.datasets.subset.Subset`.
        limits: ``dict(max_bytes, max_chars, max_elems)``, see :class:`~x2vlm.data.io.limits.RecordLimits`.

    Raises:
        FileNotFoundError: If a file or the folder is not there.
        ValueError: If a file is of another shape, or the annotations answer none of the questions.
    """

    paths = ("questions_file", "annotations_file", "image_root")
    # VQA: its download pages, and for test-dev of v2 "Plug-and-Play VQA" (Tiong et al., 2022); OK-VQA: the card of
    # HuggingFaceM4/OK-VQA.
    published = {  # noqa: RUF012  (never changed)
        **{"v2 train2014": 443_757, "v2 val2014": 214_354, "v2 test2015": 447_793, "v2 test-dev2015": 107_394},
        **{"v1 train2014": 248_349, "v1 val2014": 121_512, "v1 test2015": 244_302},
        **{"okvqa train2014": 9_009, "okvqa val2014": 5_046},
    }

    def __init__(
        self,
        questions_file: str | PathLike,
        image_root: str | PathLike,
        annotations_file: str | PathLike | None = None,
        file_pattern: str | None = None,
        pipeline: Sequence[dict | Callable] = (),
        subset: dict | Subset | None = None,
        limits: dict | RecordLimits | None = None,
    ) -> None:
        super().__init__(pipeline, limits)
        most = self.limits.max_bytes
        self.image_root = existing_folder(image_root, "image_root")
        self.questions = JsonEntries(questions_file, "questions_file", "questions", _question_id, most)
        self.annotations = None
        if annotations_file is not None:
            self.annotations = JsonEntries(annotations_file, "annotations_file", "annotations", _question_id, most)
            if not {*self.annotations.ids} & {*self.questions.ids}:
                raise ValueError(
                    f"annotations_file: {annotations_file} answers none of the questions of {questions_file}"
                )
        data = member(questions_file, "questions_file", "data_subtype")
        if file_pattern is None and not isinstance(data, str):
            raise ValueError(f"file_pattern: {questions_file} does not say of which images it is; give file_pattern=")
        images = "test2015" if data == "test-dev2015" else data
        self.names = FileNames(file_pattern or f"COCO_{images}_{{:012d}}.jpg")
        kind = _edition(questions_file)
        self.split_name = f"{kind} {data}" if kind else None
        self._take(len(self.questions), subset)

    def _record(self, number: int) -> Record:
        where, entry = self.questions.where(number), self.questions.read(number)
        image, question = id_field(entry, "image_id", where), id_field(entry, "question_id", where)
        record: Record = {
            "where": where,
            "id": image,
            "image": path_inside(self.image_root, self.names(image, where), where),
            "question": text_field(entry, "question", where),
        }
        extras: dict[str, Any] = {"question_id": entry["question_id"]}
        if self.annotations is not None:
            row = self.annotations.position(question)
            if row is None:
                raise RecordError(where, f"question {question} has no annotation in {self.annotations.path.name}")
            there, answered = self.annotations.where(row), self.annotations.read(row)
            record["answers"] = [text_field(one, "answer", there) for one in list_field(answered, "answers", there)]
            extras |= {key: answered[key] for key in ("question_type", "answer_type") if key in answered}
        return {**record, "extras": extras}


def _edition(questions_file: str | PathLike) -> str | None:
    """Which collection a file is of: VQA v1 and OK-VQA name their files alike, but say in them what they are."""
    if Path(questions_file).name.startswith("v2_"):
        return "v2"
    info = member(questions_file, "questions_file", "info")
    about = str(info.get("description", "")) if isinstance(info, dict) else ""
    return "okvqa" if "OK-VQA" in about else "v1" if "VQA" in about else None


def _question_id(entry: Any) -> str | None:
    value = entry.get("question_id") if isinstance(entry, dict) else None
    return str(value) if isinstance(value, int | str) else None


@DATASETS.register_module()
class AOkVqa(NumberedAdapter):
    """A-OKVQA: questions with ten direct answers, and four choices of which one is right.

    The identity is COCO's number of the image. ``extras`` hold ``question_id``, and ``choices`` and ``correct_choice``
    for metrics.

    Args:
        ann_file: ``aokvqa_v1p0_train.json``: a file, a pattern, or several of either.
        image_root: The folder of the images (COCO 2017).
        file_pattern: What makes a path of the number of an image.
        pipeline: Transforms.
        subset: ``dict(start, stop, exclude_ids)``, see :class:`~x2vlm.data.datasets.subset.Subset`.
        limits: ``dict(max_bytes, max_chars, max_elems)``, see :class:`~x2vlm.data.io.limits.RecordLimits`.
    """

    paths = ("ann_file", "image_root")
    # Together the 24,903 of Schwenk et al., arXiv:2206.01718, who round the splits (17.1K, 1.1K, 6.7K), as the card of
    # HuggingFaceM4/A-OKVQA does (17.1k, 1.15k, 6.7k).
    published = {"train": 17_056, "val": 1_145, "test": 6_702}  # noqa: RUF012  (never changed)

    def __init__(
        self,
        ann_file: str | PathLike | Sequence[str | PathLike],
        image_root: str | PathLike,
        file_pattern: str = "{:012d}.jpg",
        pipeline: Sequence[dict | Callable] = (),
        subset: dict | Subset | None = None,
        limits: dict | RecordLimits | None = None,
    ) -> None:
        super().__init__(pipeline, limits)
        self.image_root, self.names = existing_folder(image_root, "image_root"), FileNames(file_pattern)
        files = existing_files(ann_file, "ann_file")
        self.files = [JsonEntries(file, "ann_file", max_bytes=self.limits.max_bytes) for file in files]
        self.rows = [(file, row) for file, entries in enumerate(self.files) for row in range(len(entries))]
        self.split_name = files[0].stem.rpartition("_")[2] if len(files) == 1 else None
        self._take(len(self.rows), subset)

    def _record(self, number: int) -> Record:
        file, row = self.rows[number]
        where, entry = self.files[file].where(row), self.files[file].read(row)
        image = id_field(entry, "image_id", where)
        extras: dict[str, Any] = {"question_id": id_field(entry, "question_id", where)}
        if "choices" in entry:
            extras["choices"] = texts_of(list_field(entry, "choices", where), "choices", where)
        if "correct_choice_idx" in entry:
            extras["correct_choice"] = int(number_field(entry, "correct_choice_idx", where))
        answers = {}
        if entry.get("direct_answers"):
            answers = {"answers": texts_of(list_field(entry, "direct_answers", where), "direct_answers", where)}
        return {
            "where": where,
            "id": image,
            "image": path_inside(self.image_root, self.names(image, where), where),
            "question": text_field(entry, "question", where),
            **answers,
            "extras": extras,
        }
