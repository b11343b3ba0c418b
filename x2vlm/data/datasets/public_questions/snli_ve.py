"""SNLI-VE and XVNLI as published: does a photograph of Flickr30K entail a sentence?"""

from collections.abc import Callable, Sequence
from os import PathLike

from x2vlm.data.datasets.numbered_adapter import NumberedAdapter
from x2vlm.data.datasets.subset import Subset
from x2vlm.data.io.entry_fields import id_field, text_field
from x2vlm.data.io.limits import RecordLimits
from x2vlm.data.io.line_index import json_lines
from x2vlm.data.io.paths import FileNames, existing_files, existing_folder, path_inside
from x2vlm.data.record import Record, RecordError
from x2vlm.registry import DATASETS

LABELS = ("entailment", "neutral", "contradiction")


@DATASETS.register_module()
class SnliVe(NumberedAdapter):
    """A photograph (the premise), a sentence (the hypothesis, as the caption), and one of three labels.

    The identity is the number of the photograph; ``extras["pair_id"]`` is ``pairID``. A sentence without a label that
    most annotators agree on (``"-"``) is a bad record.

    Args:
        ann_file: ``snli_ve_train.jsonl``, XVNLI's ``ar_test.jsonl``, ...: a file, a pattern, or several of either.
        image_root: The folder of the images of Flickr30K.
        file_pattern: What makes a path of the number of a photograph.
        pipeline: Transforms.
        subset: ``dict(start, stop, exclude_ids)``, see :class:`~x2vlm.data.datasets.subset.Subset`.
        limits: ``dict(max_bytes, max_chars, max_elems)``, see :class:`~x2vlm.data.io.limits.RecordLimits`.
    """

    paths = ("ann_file", "image_root")
    # The README of SNLI-VE.
    published = {"snli_ve_train": 529_527, "snli_ve_dev": 17_858, "snli_ve_test": 17_901}  # noqa: RUF012  (never changed)

    def __init__(
        self,
        ann_file: str | PathLike | Sequence[str | PathLike],
        image_root: str | PathLike,
        file_pattern: str = "{}.jpg",
        pipeline: Sequence[dict | Callable] = (),
        subset: dict | Subset | None = None,
        limits: dict | RecordLimits | None = None,
    ) -> None:
        super().__init__(pipeline, limits)
        files = existing_files(ann_file, "ann_file")
        self.image_root, self.names = existing_folder(image_root, "image_root"), FileNames(file_pattern)
        self.lines = json_lines(files, "ann_file", self.limits.max_bytes)
        self.split_name = files[0].stem if len(files) == 1 else None
        self._take(len(self.lines), subset)

    def _record(self, number: int) -> Record:
        where, line = self.lines.where(number), self.lines.json(number)
        key = "Flikr30kID" if "Flikr30kID" in line else "Flickr30K_ID"  # XVNLI spells it so
        image, label = id_field(line, key, where).removesuffix(".jpg"), text_field(line, "gold_label", where)
        if label not in LABELS:
            raise RecordError(where, f"gold_label: expected {', '.join(LABELS)}, got {label!r:.40}")
        return {
            "where": where,
            "id": image,
            "image": path_inside(self.image_root, self.names(image, where), where),
            "caption": text_field(line, "sentence2", where),
            "label": label,
            "extras": {"pair_id": str(line.get("pairID", where))},
        }
