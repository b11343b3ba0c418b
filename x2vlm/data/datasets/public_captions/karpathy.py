"""Karpathy's splits of COCO, Flickr30K and Flickr8K: ``dataset_coco.json``, ``dataset_flickr30k.json``, ..."""

from collections.abc import Callable, Sequence
from os import PathLike
from typing import Any

import numpy as np

from x2vlm.building import suggestion
from x2vlm.data.datasets.numbered_adapter import NumberedAdapter
from x2vlm.data.datasets.subset import Subset
from x2vlm.data.io.entry_fields import list_field, text_field
from x2vlm.data.io.limits import RecordLimits
from x2vlm.data.io.paths import existing_folder, path_inside
from x2vlm.data.io.row_readers.json_entries import JsonEntries, member
from x2vlm.data.record import Record, RecordError
from x2vlm.registry import DATASETS


@DATASETS.register_module()
class KarpathySplit(NumberedAdapter):
    """Images with their five captions, by Karpathy's splits.

    The identity is COCO's number of the image (``cocoid``), elsewhere ``imgid``; ``extras["image_id"]`` is that as a
    number, for the files of captions that are scored. Captions are the raw ones.

    Args:
        ann_file: ``dataset_coco.json``, ``dataset_flickr30k.json`` or ``dataset_flickr8k.json``.
        image_root: The folder of the images; that of COCO holds ``train2014`` and ``val2014``.
        split: ``"train"``, ``"val"``, ``"test"``, or several: training on COCO takes ``("train", "restval")``.
        captions_apart: Each caption is a record, as in published training files; else a record has all of an image.
        pipeline: Transforms.
        subset: ``dict(start, stop, exclude_ids)``, see :class:`~x2vlm.data.datasets.subset.Subset`.
        limits: ``dict(max_bytes, max_chars, max_elems)``, see :class:`~x2vlm.data.io.limits.RecordLimits`.

    Raises:
        FileNotFoundError: If the file or the folder is not there.
        ValueError: If the file is of another shape, or has no image of that split.
    """

    paths = ("ann_file", "image_root")
    # COCO: the TensorFlow Datasets catalogue (coco_captions, by Karpathy and Li); Flickr30K and Flickr8K: the cards of
    # copies that keep these splits (AnyModal/flickr30k, jxie/flickr8k).
    published = {  # noqa: RUF012  (never changed)
        **{"coco train": 82_783, "coco restval": 30_504, "coco train+restval": 113_287},
        **{"coco val": 5_000, "coco test": 5_000},
        **{"flickr30k train": 29_000, "flickr30k val": 1_014, "flickr30k test": 1_000},
        **{"flickr8k train": 6_000, "flickr8k val": 1_000, "flickr8k test": 1_000},
    }

    def __init__(
        self,
        ann_file: str | PathLike,
        image_root: str | PathLike,
        split: str | Sequence[str] = "train",
        captions_apart: bool = False,
        pipeline: Sequence[dict | Callable] = (),
        subset: dict | Subset | None = None,
        limits: dict | RecordLimits | None = None,
    ) -> None:
        super().__init__(pipeline, limits)
        self.image_root = existing_folder(image_root, "image_root")
        self.captions_apart = captions_apart
        self.entries = JsonEntries(ann_file, "ann_file", "images", _split_and_count, self.limits.max_bytes)
        wanted = (split,) if isinstance(split, str) else tuple(split)
        there = sorted({name for name, _ in self.entries.ids if name})
        for name in wanted:
            if name not in there:
                near = suggestion(name, there)
                raise ValueError(f"split: {ann_file} has no {name!r}.{near} It has: {', '.join(there)}.")
        counts = [(row, count) for row, (name, count) in enumerate(self.entries.ids) if name in (*wanted, "")]
        #: ``[n, 2]``: the entry of each record, and which of its captions (0 where all are taken).
        self.rows = np.array(
            [(row, sentence) for row, count in counts for sentence in range(max(count, 1) if captions_apart else 1)]
        )
        name = member(ann_file, "ann_file", "dataset")
        self.split_name = None if captions_apart else f"{name} {'+'.join(wanted)}"
        self._take(len(self.rows), subset)

    def _record(self, number: int) -> Record:
        row, sentence = self.rows[number].tolist()
        where = self.entries.where(row)
        entry = self.entries.read(row)
        captions = [text_field(one, "raw", where) for one in list_field(entry, "sentences", where)]
        if sentence >= len(captions):
            raise RecordError(where, "has no sentences")
        folder = f"{text_field(entry, 'filepath', where)}/" if entry.get("filepath") else ""
        name = folder + text_field(entry, "filename", where)
        number = entry.get("cocoid", entry.get("imgid", where))
        return {
            "where": where,
            "id": str(number),
            "image": path_inside(self.image_root, name, where),
            "caption": captions[sentence] if self.captions_apart else captions,
            "extras": {"image_id": number},
        }


def _split_and_count(entry: Any) -> tuple[str, int]:
    """The split of an image, empty where it has none (reported when it is read), and its number of captions."""
    if not isinstance(entry, dict) or not isinstance(entry.get("split"), str):
        return "", 0
    sentences = entry.get("sentences")
    return entry["split"], len(sentences) if isinstance(sentences, list) else 0
