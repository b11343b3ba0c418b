"""A gallery of images, encoded once and searched with texts.

Galleries of millions, of data sets, over several processes, are the business of :mod:`x2vlm.gallery`; this one is for
folders of photographs.

Shape letters: C images, E embed_dim.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from math import inf
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from x2vlm.data.record import RecordError
from x2vlm.gallery.reranking.rerank_key_values import matching_logits
from x2vlm.inference.inputs import ImageInput, with_name
from x2vlm.inference.results import Retrieved
from x2vlm.models.eval_mode import eval_mode
from x2vlm.models.join_outputs import to_cpu
from x2vlm.weights.checkpoint_file import CheckpointError
from x2vlm.weights.read_weights import write_tensors

FEATURES = "images.safetensors"
SAVED_AT_ONCE = 1024  # images; an interrupted index loses the last of them


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
        """Encode images with an Inferencer; files that cannot be read are left out and named in ``broken``.

        Raises:
            ValueError: If none can be read.
        """
        index = cls._encode(inferencer, images, progress)
        if not len(index):
            raise ValueError(f"none of the {len(images)} images can be read. The first: {with_name(*index.broken[0])}")
        return index

    @classmethod
    def _encode(
        cls, inferencer: Any, images: Sequence[ImageInput], progress: Callable[[int], Any] | None
    ) -> "ImageIndex":
        kept, features, broken = [], [], []
        for start in range(0, len(images), inferencer.chunk):
            arrays = []
            for number, image in enumerate(images[start : start + inferencer.chunk], start):
                try:
                    arrays.append(inferencer.processor.read(image))
                    kept.append(image)
                except (RecordError, ValueError) as error:
                    broken.append((str(_name(image, number)), str(getattr(error, "reason", error))))
            if arrays:
                features.append(inferencer.encode_image(arrays))
            if progress is not None:
                progress(min(start + inferencer.chunk, len(images)))
        return cls(kept, torch.cat(features) if features else torch.zeros(0, 0), tuple(broken))

    def search(self, inferencer: Any, query: str, k: int = 10, rerank: int = 32) -> list[Retrieved]:
        """The ``k`` images that the query describes best.

        Args:
            inferencer: With the model that made the features.
            query: A text.
            k: How many to name.
            rerank: So many of the nearest by cosine are ordered anew by matching (plus the cosine, where the model's
                ``cosine_weight`` says so); 0: none.
        """
        if k < 1 or rerank < 0:
            raise ValueError(f"k is {k} and rerank {rerank}; expected k of 1 or more, and rerank of 0 or more.")
        similarity = self.features @ inferencer.encode_text(query)
        if "itm" not in inferencer.model.objectives:
            rerank = 0
        nearest = similarity.topk(min(max(k, rerank), len(self))).indices.tolist()
        logits = self._logits(inferencer, query, nearest[:rerank]) if rerank else {}
        weight = inferencer.processor.settings.cosine_weight

        def goodness(one: Retrieved) -> tuple[float, float]:
            if one.probability is None:
                return -inf, one.similarity
            matching = float(logits[one.index][1]) + weight * one.similarity if weight else one.probability
            return matching, one.similarity

        found = []
        for number in nearest:
            probability = float(logits[number].softmax(dim=0)[1]) if number in logits else None
            name = _name(self.images[number], number)
            found.append(Retrieved(name, number, float(similarity[number]), probability))
        return sorted(found, key=goodness, reverse=True)[:k]

    def _logits(self, inferencer: Any, query: str, numbers: Sequence[int]) -> dict[int, Tensor]:
        """``[2]`` of objective ``itm`` by image."""
        model, processor = inferencer.model, inferencer.processor
        with eval_mode(model):
            words = to_cpu(model.encode_text(*processor.captions([query])))
            found = {}
            for start in range(0, len(numbers), inferencer.chunk):
                part = numbers[start : start + inferencer.chunk]
                context = to_cpu(inferencer._context(processor.images([self.images[number] for number in part])))
                rows = torch.arange(len(part))
                values = matching_logits(model, context, rows, words, torch.zeros_like(rows))
                found |= dict(zip(part, values.float().cpu(), strict=True))
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
        file = Path(folder) / FEATURES
        known = _load(inferencer, file) if file.is_file() else {}
        if images is None and not known:
            raise ValueError(f"{folder} keeps no index yet: give the images.")
        states = {str(path): _state(path) for path in (known if images is None else images)}
        current = {path: known[path] for path in states if path in known and known[path][0] == states[path]}
        others = [path for path in states if path not in current]
        broken: list[tuple[str, str]] = []
        for start in range(0, len(others), SAVED_AT_ONCE):  # what is encoded is kept, should this be interrupted
            block = others[start : start + SAVED_AT_ONCE]
            new = cls._encode(
                inferencer, block, None if progress is None else lambda n, start=start: progress(start + n)
            )
            current |= {str(path): (states[str(path)], row) for path, row in zip(new.images, new.features, strict=True)}
            broken += new.broken
            if current:
                _save(inferencer, file, current)
        if not current:
            raise ValueError(f"none of the {len(states)} images can be read. The first: {with_name(*broken[0])}")
        if not others and len(known) != len(current):
            _save(inferencer, file, current)
        paths = [path for path in states if path in current]
        return cls(paths, torch.stack([current[path][1] for path in paths]), tuple(broken))


Known = dict[str, tuple[list[int], Tensor]]
"""By path, the state of a file when it was encoded, and its features."""


def _save(inferencer: Any, file: Path, known: Known) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    facts = {"model": fingerprint(inferencer), "files": [[path, state] for path, (state, _) in known.items()]}
    write_tensors(file, {"features": torch.stack([row for _, row in known.values()])}, {"facts": json.dumps(facts)})


def _load(inferencer: Any, file: Path) -> Known:
    try:
        with safe_open(file, framework="pt") as content:
            facts = json.loads(content.metadata()["facts"])
            features = content.get_tensor("features")
        known = {path: (state, row) for (path, state), row in zip(facts["files"], features, strict=True)}
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{file} is damaged or no index of images: {error!r:.100} Remove it.") from error
    if facts["model"] != fingerprint(inferencer):
        raise CheckpointError(
            f"the features in {file} are of another model or preprocessing. Name another folder, or remove it."
        )
    return known


def fingerprint(inferencer: Any) -> str:
    """A short name of all that features depend on: the weights, and how images are prepared."""
    settings = replace(inferencer.processor.settings, cosine_weight=0.0)  # features do not depend on that
    settings = json.dumps(settings.to_dict(), sort_keys=True, default=str)
    return f"{weights_fingerprint(inferencer.model)} {blake2b(settings.encode(), digest_size=8).hexdigest()}"


def weights_fingerprint(model: Any) -> str:
    """A short name of a model's weights: equal weights have the same, and others nearly always another one."""
    sums = blake2b(digest_size=16)
    for name, value in sorted(model.state_dict().items()):
        numbers = value.detach().cpu().double()
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
