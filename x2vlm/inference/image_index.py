"""A gallery of images, encoded once and searched with texts.

Galleries of millions, of data sets, over several processes, are the business of :mod:`x2vlm.gallery`; this one is for
folders of photographs.

Shape letters: C images, E embed_dim.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from mmengine.logging import print_log
from torch import Tensor

from x2vlm.data.io.atomic_files import sha256_of_file, write_atomically
from x2vlm.data.record import RecordError
from x2vlm.inference.inputs import ImageInput
from x2vlm.inference.match import pair_scores
from x2vlm.inference.results import Retrieved
from x2vlm.models.eval_mode import eval_mode
from x2vlm.models.join_outputs import to_cpu
from x2vlm.weights.checkpoint_file import CheckpointError
from x2vlm.weights.weight_files import read_tensors, write_tensors

FEATURES, FACTS = "features.safetensors", "images.json"


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

    @classmethod
    def kept(
        cls,
        inferencer: Any,
        images: Sequence[str | PathLike] | None,
        folder: str | PathLike,
        progress: Callable[[int], Any] | None = None,
    ) -> "ImageIndex":
        """The index of image files, with its features kept in a folder: only new and changed files are encoded.

        Args:
            inferencer: The model.
            images: Files; None: those that are kept.
            folder: Where the features are, or will be.
            progress: As of :meth:`of`, over the files that are encoded.

        Raises:
            CheckpointError: If the folder is damaged, or its features are of another model.
            ValueError: If none of the images can be read.
        """
        known = cls._load(inferencer, Path(folder)) if (Path(folder) / FACTS).is_file() else {}
        if images is None and not known:
            raise ValueError(f"{folder} keeps no index yet: give the images.")
        states = {str(path): _state(path) for path in (known if images is None else images)}
        same = [path for path, state in states.items() if path in known and known[path][0] == state]
        others = [path for path in states if path not in set(same)]
        broken: tuple[tuple[str, str], ...] = ()
        features = {path: known[path][1] for path in same}
        if others:
            try:
                new = cls.of(inferencer, others, progress)
            except ValueError:
                if not same:
                    raise
            else:
                features |= dict(zip(map(str, new.images), new.features, strict=True))
                broken = new.broken
        paths = [path for path in states if path in features]
        index = cls(paths, torch.stack([features[path] for path in paths]), broken)
        if others or len(known) != len(same):
            index._save(inferencer, Path(folder), states)
        return index

    def _save(self, inferencer: Any, folder: Path, states: Mapping[str, Any]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        files = [{"path": path, "state": states[path]} for path in self.images]
        write_tensors(folder / FEATURES, {"features": self.features})
        facts = {"model": weights_fingerprint(inferencer.model), "features": sha256_of_file(folder / FEATURES)}
        write_atomically(folder / FACTS, json.dumps(facts | {"files": files}, indent=0) + "\n")

    @staticmethod
    def _load(inferencer: Any, folder: Path) -> dict[str, tuple[Any, Tensor]]:
        """By path, the state of the file when it was encoded, and its features."""
        features = read_tensors(folder / FEATURES).get("features")
        try:
            facts = json.loads((folder / FACTS).read_text("utf-8"))
            model, digest = facts["model"], facts["features"]
            files = [(one["path"], one["state"]) for one in facts["files"]]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CheckpointError(f"{folder / FACTS} is not what this library writes: {error!r:.100}") from error
        if features is None or len(files) != len(features) or digest != sha256_of_file(folder / FEATURES):
            raise CheckpointError(f"{folder / FEATURES} is not what {FACTS} beside it describes. Remove the folder.")
        if model != weights_fingerprint(inferencer.model):
            raise CheckpointError(f"the features in {folder} are of another model. Name another folder, or remove it.")
        return {path: (state, feature) for (path, state), feature in zip(files, features, strict=True)}


def weights_fingerprint(model: Any) -> str:
    """A short name of a model's weights: equal weights have the same, and others nearly always another one."""
    sums = blake2b(digest_size=16)
    for name, value in sorted(model.state_dict().items()):
        numbers = value.detach().double()
        sums.update(f"{name} {tuple(value.shape)} {numbers.sum():.6e} {numbers.abs().sum():.6e}".encode())
    return sums.hexdigest()


def _state(path: str | PathLike) -> list[int]:
    """What changes when a file does: its size, and when it was written."""
    try:
        stat = Path(path).stat()
    except OSError:  # reading it will say why
        return []
    return [stat.st_size, stat.st_mtime_ns]


def _name(image: ImageInput, number: int) -> str | int:
    return str(image) if isinstance(image, str | PathLike) else number
