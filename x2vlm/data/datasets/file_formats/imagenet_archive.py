"""ImageNet-1K in the archives in which it is downloaded: nothing is unpacked."""

import re
from collections.abc import Callable, Sequence
from os import PathLike
from pathlib import Path
from typing import NamedTuple

import numpy as np

from x2vlm.data.datasets.numbered_adapter import NumberedAdapter
from x2vlm.data.datasets.subset import Subset
from x2vlm.data.io.limits import RecordLimits
from x2vlm.data.io.paths import existing_file
from x2vlm.data.io.row_readers.imagenet_devkit import read_devkit
from x2vlm.data.io.tar_index import TarIndex
from x2vlm.data.record import Record, RecordError
from x2vlm.registry import DATASETS

_VAL = re.compile(r"(?:.*/)?ILSVRC2012_val_(\d{8})\.JPEG")


@DATASETS.register_module()
class ImageNetArchive(NumberedAdapter):
    """Images of ImageNet with their class: of the tar file of tar files for training, or of that for validation.

    The label is the number of the class among all WordNet identities in order, as ``ImageFolder`` numbers the folders;
    ``extras["class"]`` is its identity (``n01440764``), the record's identity the name of the file. What a torn tar
    file has lost is one bad record.

    Args:
        archive: ``ILSVRC2012_img_train.tar``, which holds a tar file for each class, or ``ILSVRC2012_img_val.tar``.
        devkit: ``ILSVRC2012_devkit_t12.tar.gz``, or the folder that it unpacks to, where the classes of the validation
            images stand; not needed for training.
        index_dir: A folder that caches the offsets of the images for the next run; None scans the archive each time.
        pipeline: Transforms.
        subset: ``dict(start, stop, exclude_ids)``, see :class:`~x2vlm.data.datasets.subset.Subset`.
        limits: ``dict(max_bytes, max_chars, max_elems)``, see :class:`~x2vlm.data.io.limits.RecordLimits`.

    Raises:
        FileNotFoundError: If the archive or the devkit is not there.
        ValueError: If the archive holds neither, or validation images have no devkit.
    """

    paths = ("archive", "devkit", "index_dir")
    published = {"ImageNet train": 1_281_167, "ImageNet val": 50_000}  # noqa: RUF012  (never changed)

    def __init__(
        self,
        archive: str | PathLike,
        devkit: str | PathLike | None = None,
        index_dir: str | PathLike | None = None,
        pipeline: Sequence[dict | Callable] = (),
        subset: dict | Subset | None = None,
        limits: dict | RecordLimits | None = None,
    ) -> None:
        super().__init__(pipeline, limits)
        path = existing_file(archive, "archive")
        outer = TarIndex(path, index_dir, self.limits.max_bytes)
        names = [outer.name(position) for position in range(len(outer))]
        if not names:
            raise ValueError(f"archive: {path} has no member: {outer.problem or 'it is empty'}")
        inner = [position for position, name in enumerate(names) if name.endswith(".tar")]
        if inner:
            self.split_name = "ImageNet train"
            self._parts = _class_tars(outer, inner, index_dir, self.limits.max_bytes)
            self._truth = None
        else:
            self.split_name = "ImageNet val"
            if devkit is None:
                raise ValueError(
                    f"archive: {path} holds no tar files, so its images are those for validation, whose classes stand "
                    "in the devkit: devkit='ILSVRC2012_devkit_t12.tar.gz'"
                )
            self._parts = [_Part("", 0, outer)]
            self._truth = read_devkit(devkit, "devkit")
        counts = [len(part.tar) + bool(part.tar.problem) for part in self._parts]
        if inner and outer.problem:
            counts.append(1)
        self._problem = outer.problem
        self._ends = np.cumsum(counts)
        self._take(int(self._ends[-1]), subset)

    def _record(self, number: int) -> Record:
        which = int(np.searchsorted(self._ends, number, side="right"))
        first = self._parts[0].tar.path.name
        if which == len(self._parts):
            raise RecordError(first, f"{self._problem}; the classes behind it are lost")
        part, position = self._parts[which], number - (int(self._ends[which - 1]) if which else 0)
        if position == len(part.tar):
            raise RecordError(f"{first}:{part.synset or 'end'}", f"{part.tar.problem}; what comes after is lost")
        name = part.tar.name(position)
        where = f"{first}:{name}"
        synset, label = (part.synset, part.label) if self._truth is None else self._val_class(name, where)
        image = part.tar.read_at(position, where)
        return {"where": where, "id": name, "image": image, "label": label, "extras": {"class": synset}}

    def _val_class(self, name: str, where: str) -> tuple[str, int]:
        found = _VAL.fullmatch(name)
        number = int(found[1]) if found else 0
        if not 1 <= number <= len(self._truth.labels):
            raise RecordError(
                where, f"expected ILSVRC2012_val_00000001.JPEG to {len(self._truth.labels):08d}, got {name!r:.80}"
            )
        label = int(self._truth.labels[number - 1])
        return self._truth.synsets[label], label


class _Part(NamedTuple):
    """A tar file of images: their class (empty: not of one), its number, and the index."""

    synset: str
    label: int
    tar: TarIndex


def _class_tars(outer: TarIndex, positions: Sequence[int], index_dir: PathLike | None, max_bytes: int) -> list[_Part]:
    """The tar file of each class, in the order of the archive."""
    synsets = [Path(outer.name(position)).stem for position in positions]
    numbers = {synset: number for number, synset in enumerate(sorted(set(synsets)))}
    spans = [(int(outer.offsets[position]), int(outer.sizes[position])) for position in positions]
    return [
        _Part(synset, numbers[synset], TarIndex(outer.path, index_dir, max_bytes, span))
        for synset, span in zip(synsets, spans, strict=True)
    ]
