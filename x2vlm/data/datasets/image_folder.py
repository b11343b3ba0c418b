"""A folder of pictures with one inner folder for each class, as ImageNet is laid out."""

from collections.abc import Callable, Sequence
from os import PathLike, walk
from pathlib import Path

from x2vlm.data.datasets.base import Adapter
from x2vlm.data.datasets.subset import Subset
from x2vlm.data.io.limits import Limits
from x2vlm.data.io.paths import existing_folder
from x2vlm.data.record import Record
from x2vlm.data.transforms.labels import read_classes
from x2vlm.registry import DATASETS

ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".avif")


@DATASETS.register_module()
class ImageFolder(Adapter):
    """Pictures whose class is the folder below ``root`` that holds them; the identity is the path within ``root``.

    The label is the number of the class, ``extras["class"]`` its name. Records have no text.

    Args:
        root: The folder of folders.
        classes: Names of the folders in the order of their numbers, or a file with them (one a line, or JSON); folders
            that are not named are left out. None: all folders, sorted.
        endings: What counts as a picture.
        pipeline: Transforms.
        subset: ``dict(start, stop, exclude_ids)``, see :class:`~x2vlm.data.datasets.subset.Subset`.
        limits: ``dict(max_bytes, max_chars, max_elems)``, see :class:`~x2vlm.data.io.limits.Limits`.

    Raises:
        FileNotFoundError: If ``root`` or the file of classes is not there.
        ValueError: If a named class has no folder, or there is no picture.
    """

    paths = ("root",)
    paths_or_names = ("classes",)

    def __init__(
        self,
        root: str | PathLike,
        classes: Sequence[str] | str | PathLike | None = None,
        endings: Sequence[str] = ENDINGS,
        pipeline: Sequence[dict | Callable] = (),
        subset: dict | Subset | None = None,
        limits: dict | Limits | None = None,
    ) -> None:
        super().__init__(pipeline, limits)
        self.root = existing_folder(root, "root")
        folders = sorted(path.name for path in self.root.iterdir() if path.is_dir())
        self.classes = read_classes(folders if classes is None else classes, "classes")
        missing = [name for name in self.classes if name not in folders]
        if missing:
            raise ValueError(f"classes: {self.root} has no folder {missing[0]!r} ({len(missing)} are missing)")
        names = [name for one in sorted(self.classes) for name in _pictures(self.root, one, endings)]
        if not names:
            raise ValueError(f"root: no picture in the folders of {self.root} ends in {', '.join(endings)}")
        self.names = [names[row] for row in Subset.of(subset).rows(len(names), lambda row: names[row])]

    def __len__(self) -> int:
        return len(self.names)

    def record(self, index: int) -> Record:
        """The record of a picture."""
        name = self.names[index]
        folder = name.partition("/")[0]
        label = self.classes[folder]
        return {"where": name, "id": name, "image": self.root / name, "label": label, "extras": {"class": folder}}


def _pictures(root: Path, folder: str, endings: Sequence[str]) -> list[str]:
    wanted = tuple(ending.lower() for ending in endings)
    found = (
        Path(inner, name) for inner, _, names in walk(root / folder) for name in names if name.lower().endswith(wanted)
    )
    return sorted(path.relative_to(root).as_posix() for path in found)
