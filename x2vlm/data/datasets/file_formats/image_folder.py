"""A folder of images, with one inner folder for each class (as ImageNet is laid out) or without classes."""

from collections.abc import Callable, Sequence
from os import PathLike, walk
from pathlib import Path

from x2vlm.data.datasets.base import Adapter
from x2vlm.data.datasets.subset import Subset
from x2vlm.data.io.limits import RecordLimits
from x2vlm.data.io.paths import existing_folder
from x2vlm.data.record import Record
from x2vlm.data.transforms.class_names import read_classes
from x2vlm.registry import DATASETS

IMAGE_EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".avif")


@DATASETS.register_module()
class ImageFolder(Adapter):
    """Images whose class is the folder below ``root`` that holds them; the identity is the path within ``root``.

    The label is the number of the class, ``extras["class"]`` its name. Records have no text.

    Args:
        root: The folder of folders.
        classes: Names of the folders in the order of their numbers, or a file with them (one a line, or JSON); folders
            that are not named are left out. None: all folders, sorted.
        endings: File extensions of images.
        pipeline: Transforms.
        subset: ``dict(start, stop, exclude_ids)``, see :class:`~x2vlm.data.datasets.subset.Subset`.
        limits: ``dict(max_bytes, max_chars, max_elems)``, see :class:`~x2vlm.data.io.limits.RecordLimits`.
        labels: False: every image in ``root`` and below it, without label and class.

    Raises:
        FileNotFoundError: If ``root`` or the file of classes is not there.
        ValueError: If a named class has no folder, there is no image, or there are ``classes`` without ``labels``.
    """

    paths = ("root",)
    paths_or_names = ("classes",)

    def __init__(
        self,
        root: str | PathLike,
        classes: Sequence[str] | str | PathLike | None = None,
        endings: Sequence[str] = IMAGE_EXTENSIONS,
        pipeline: Sequence[dict | Callable] = (),
        subset: dict | Subset | None = None,
        limits: dict | RecordLimits | None = None,
        labels: bool = True,
    ) -> None:
        super().__init__(pipeline, limits)
        if classes is not None and not labels:
            raise ValueError("classes are given but labels=False: images have no class then. Leave one of them out.")
        self.root = existing_folder(root, "root")
        self.classes = self._read_classes(classes) if labels else None
        folders = [""] if self.classes is None else sorted(self.classes)
        names = [name for folder in folders for name in _image_names(self.root, folder, endings)]
        if not names:
            inner = "" if self.classes is None else "the folders of "
            raise ValueError(f"root: no image in {inner}{self.root} ends in {', '.join(endings)}")
        self.names = [names[index] for index in Subset.of(subset).indices(len(names), lambda index: names[index])]

    def __len__(self) -> int:
        return len(self.names)

    def record(self, index: int) -> Record:
        """The record of an image."""
        name = self.names[index]
        record = {"where": name, "id": name, "image": self.root / name, "extras": {}}
        if self.classes is None:
            return record
        folder = name.partition("/")[0]
        return record | {"label": self.classes[folder], "extras": {"class": folder}}

    def _read_classes(self, classes: Sequence[str] | str | PathLike | None) -> dict[str, int]:
        folders = sorted(path.name for path in self.root.iterdir() if path.is_dir())
        numbers = read_classes(folders if classes is None else classes, "classes")
        missing = [name for name in numbers if name not in folders]
        if missing:
            raise ValueError(f"classes: {self.root} has no folder {missing[0]!r} ({len(missing)} are missing)")
        return numbers


def _image_names(root: Path, folder: str, extensions: Sequence[str]) -> list[str]:
    extensions = tuple(extension.lower() for extension in extensions)
    paths = (
        Path(inner, name)
        for inner, _, names in walk(root / folder)
        for name in names
        if name.lower().endswith(extensions)
    )
    return sorted(path.relative_to(root).as_posix() for path in paths)
