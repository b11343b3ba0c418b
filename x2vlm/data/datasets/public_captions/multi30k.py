"""Multi30K as published: a list of images, and for each language files whose lines describe the image of that line."""

from collections.abc import Callable, Mapping, Sequence
from os import PathLike

from x2vlm.data.datasets.numbered_adapter import NumberedAdapter
from x2vlm.data.datasets.subset import Subset
from x2vlm.data.io.limits import RecordLimits
from x2vlm.data.io.line_index import LineIndex
from x2vlm.data.io.paths import FileNames, existing_file, existing_files, existing_folder, path_inside
from x2vlm.data.record import Record, RecordError
from x2vlm.registry import DATASETS


@DATASETS.register_module()
class Multi30k(NumberedAdapter):
    """Images with their captions by language, one of each file.

    The identity is the name of the image without its ending. An empty line is no caption; an image without any is a
    bad record.

    Args:
        images_file: The list of images, a file name a line (``task1/image_splits/train.txt``).
        captions: By language, a file or several of as many lines: ``dict(en="train.en", de="train.de")`` of task 1,
            ``dict(en=("train.1.en", ..., "train.5.en"), de=...)`` of task 2.
        image_root: The folder of the images of Flickr30K.
        file_pattern: What makes a file of a line of the list: ``"{}.jpg"`` for lists of numbers; None: it is one.
        captions_apart: Each caption is a record, as in published training files: those of the first language and file
            first. Else a record has all of an image.
        pipeline: Transforms; ``PickCaption(language="de")`` and ``AllCaptions(language="de")`` take one language.
        subset: ``dict(start, stop, exclude_ids)``, see :class:`~x2vlm.data.datasets.subset.Subset`.
        limits: ``dict(max_bytes, max_chars, max_elems)``, see :class:`~x2vlm.data.io.limits.RecordLimits`.

    Raises:
        FileNotFoundError: If a file or the folder is not there.
        ValueError: If no language is given, or a file has another number of lines than the list of images.
    """

    paths = ("images_file", "captions", "image_root")
    published = {"train": 29_000, "val": 1_014, "test_2016_flickr": 1_000}  # noqa: RUF012  (never changed)

    def __init__(
        self,
        images_file: str | PathLike,
        captions: Mapping[str, str | PathLike | Sequence[str | PathLike]],
        image_root: str | PathLike,
        file_pattern: str | None = None,
        captions_apart: bool = False,
        pipeline: Sequence[dict | Callable] = (),
        subset: dict | Subset | None = None,
        limits: dict | RecordLimits | None = None,
    ) -> None:
        super().__init__(pipeline, limits)
        if not isinstance(captions, Mapping) or not captions:
            raise ValueError(
                f"captions is {captions!r}; expected files by language: dict(en='train.en', de='train.de')"
            )
        self.image_root, self.names = existing_folder(image_root, "image_root"), FileNames(file_pattern)
        self.images = LineIndex([existing_file(images_file, "images_file")], max_bytes=self.limits.max_bytes)
        self.captions = {
            language: [
                LineIndex([file], skip_blank=False, max_bytes=self.limits.max_bytes)
                for file in existing_files(files, f"captions.{language}")
            ]
            for language, files in captions.items()
        }
        for language, indexes in self.captions.items():
            for index in indexes:
                if len(index) != len(self.images):
                    raise ValueError(
                        f"captions.{language}: {index.files[0]} has {len(index)} lines, but {images_file} names "
                        f"{len(self.images)} images; line n describes image n. Take both from the same task and split"
                    )
        self.split_name = self.images.files[0].stem
        self.captions_apart = captions_apart
        #: Language and index of lines of each turn over the images, where captions are apart.
        self.turns = [(language, index) for language, indexes in self.captions.items() for index in indexes]
        if captions_apart:
            self.split_name = None
        self._take(len(self.images) * (len(self.turns) if captions_apart else 1), subset)

    def _said(self, turn: int, number: int) -> dict[str, list[str]]:
        """The captions of an image by language: all, or that of one turn."""
        said: dict[str, list[str]] = {}
        for language, index in self.turns[turn : turn + 1] if self.captions_apart else self.turns:
            text = index.text(number).strip()
            if text:
                said.setdefault(language, []).append(text)
        return said

    def _record(self, number: int) -> Record:
        turn, number = divmod(number, len(self.images))
        where = self.images.where(number)
        name = self.images.text(number).partition("#")[0].strip()
        said = self._said(turn, number)
        if not said:
            raise RecordError(where, f"no file has a caption of {name!r:.60} in {', '.join(self.captions)}")
        return {
            "where": where,
            "id": name.removesuffix(".jpg"),
            "image": path_inside(self.image_root, self.names(name, where), where),
            "caption": said,
            "extras": {},
        }
