"""A gallery of images, encoded once and searched with texts.

Galleries of millions, of data sets, over several processes, are the business of :mod:`x2vlm.gallery`; this one is for
folders of photographs.

Shape letters: C images, E embed_dim.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from mmengine.logging import print_log
from torch import Tensor

from x2vlm.data.record import RecordError
from x2vlm.inference.inputs import ImageInput
from x2vlm.inference.match import pair_scores
from x2vlm.inference.results import Retrieved
from x2vlm.models.eval_mode import eval_mode
from x2vlm.models.join_outputs import to_cpu
from x2vlm.weights.checkpoint_file import CheckpointError
from x2vlm.weights.weight_files import read_tensors, write_tensors

FEATURES, NAMES = "features.safetensors", "images.json"


@dataclass(frozen=True)
class ImageIndex:
    """Features of images.

    Attributes:
        images: What was encoded; paths, where paths were given. Broken files are left out.
        features: ``[C, E]``, L2-normalised.
        broken: Files that could not be read, with the reason.
    """

    images: list[ImageInput]
    features: Tensor
    broken: tuple[tuple[str, str], ...] = ()

    def __len__(self) -> int:
        return len(self.images)

    @classmethod
    def of(
        cls, inferencer: Any, images: Sequence[ImageInput], progress: Callable[[int], Any] | None = None
    ) -> "ImageIndex":
        """Encode images with an Inferencer; files that cannot be read are left out and named in ``broken`` and the log.

        Raises:
            ValueError: If none can be read.
        """
        kept, features, broken = [], [], []
        for start in range(0, len(images), inferencer.chunk):
            arrays = []
            for number, image in enumerate(images[start : start + inferencer.chunk], start):
                try:
                    arrays.append(inferencer.processor.read(image))
                    kept.append(image)
                except (RecordError, ValueError) as error:
                    broken.append((_name(image, number), str(getattr(error, "reason", error))))
            if arrays:
                features.append(inferencer.encode_image(arrays))
            if progress is not None:
                progress(min(start + inferencer.chunk, len(images)))
        if broken:
            first = "; ".join(f"{name}: {reason}" for name, reason in broken[:3])
            print_log(f"{len(broken)} of {len(images)} images cannot be read and are left out: {first}", "current", 30)
        if not kept:
            raise ValueError(f"none of the {len(images)} images can be read. The first: {': '.join(broken[0])}")
        return cls(kept, torch.cat(features), tuple(broken))

    def search(self, inferencer: Any, query: str, k: int = 10, rerank: int = 32) -> list[Retrieved]:
        """The ``k`` images that the query describes best.

        Args:
            inferencer: With the model that made the features.
            query: A text.
            k: How many to name.
            rerank: So many of the nearest by cosine are ordered anew by the probability of matching; 0: none.
        """
        if k < 1 or rerank < 0:
            raise ValueError(f"k is {k} and rerank {rerank}; expected k of 1 or more, and rerank of 0 or more.")
        similarity = self.features @ inferencer.encode_text(query)
        if "itm" not in inferencer.model.objectives:
            rerank = 0
        nearest = similarity.topk(min(max(k, rerank), len(self))).indices.tolist()
        probability = self._probabilities(inferencer, query, nearest[:rerank]) if rerank else {}
        found = [
            Retrieved(_name(self.images[number], number), number, float(similarity[number]), probability.get(number))
            for number in nearest
        ]
        key = lambda one: (-1.0 if one.probability is None else one.probability, one.similarity)  # noqa: E731
        return sorted(found, key=key, reverse=True)[:k]

    def _probabilities(self, inferencer: Any, query: str, numbers: Sequence[int]) -> dict[int, float]:
        model, processor = inferencer.model, inferencer.processor
        with eval_mode(model):
            words = to_cpu(model.encode_text(*processor.captions([query])))
            found = {}
            for start in range(0, len(numbers), inferencer.chunk):
                part = numbers[start : start + inferencer.chunk]
                context = to_cpu(inferencer._context(processor.images([self.images[number] for number in part])))
                values = pair_scores(model, context, words)[1]
                found |= {number: value[0] for number, value in zip(part, values, strict=True)}
        return found

    def save(self, folder: str | PathLike) -> None:
        """Write the features and the paths of the images.

        Raises:
            ValueError: If images were not given as paths.
        """
        if not all(isinstance(image, str | PathLike) for image in self.images):
            raise ValueError("only an index of image files can be saved: these images were given in memory.")
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        write_tensors(folder / FEATURES, {"features": self.features})
        (folder / NAMES).write_text(json.dumps([str(image) for image in self.images], indent=0) + "\n", "utf-8")

    @classmethod
    def load(cls, folder: str | PathLike) -> "ImageIndex":
        """What :meth:`save` wrote.

        Raises:
            CheckpointError: If a file is missing or damaged, or they do not belong together.
        """
        folder = Path(folder)
        features = read_tensors(folder / FEATURES)["features"]
        try:
            images = json.loads((folder / NAMES).read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{folder / NAMES} cannot be read: {error}") from error
        if len(images) != len(features):
            raise CheckpointError(f"{folder} holds {len(features)} features but names {len(images)} images.")
        return cls(images, features)


def _name(image: ImageInput, number: int) -> str | int:
    return str(image) if isinstance(image, str | PathLike) else number
