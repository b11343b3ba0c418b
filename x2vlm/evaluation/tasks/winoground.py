"""Winoground: two pictures, two captions of the same words in another order; which belongs to which?

Shape letters: E examples, P pairs.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import torch
from mmengine.logging import print_log
from torch import Tensor

from x2vlm.data.batch import Batch
from x2vlm.distributed import all_gather_objects
from x2vlm.evaluation.record_fields import extras_of_texts
from x2vlm.evaluation.scorers import scorers
from x2vlm.gallery.retrieval_features import to_cpu
from x2vlm.models.eval_mode import eval_mode
from x2vlm.registry import METRICS

CHANCE = {"text": 100 / 4, "image": 100 / 4, "group": 100 / 6}


@METRICS.register_module()
class WinogroundMetric:
    """Text, image and group score (arXiv:2204.03162), in percent, by each of some named scorers.

    Text: for both pictures the right caption scores higher than the wrong one. Image: for both captions the right
    picture does. Group: both hold. An equal score is not higher. Random scores get 25, 25 and 16.67.

    It reads batches in which every record shows two images and has two texts, the first of the first image
    (``Sample.pixels`` ``[2, 3, H, W]``, ``num_contexts=2``, two ``texts``). ``E`` records make ``2E`` contexts, ``2E``
    texts and ``4E`` pairs: ``text_owner`` is 0, 0, 1, 1, 2, 2, 3, 3, ... and ``owner`` 0, 1, 0, 1, 2, 3, 2, 3, ...

    Args:
        scorer: Names of scorers, one or several: ``itc``, ``itm``, ``itc+itm``; see ``x2vlm.evaluation.scorers``.
        by: Keys of ``extras``; where records tell one, each of its values gets scores of its own. ``collapsed_tag`` is
            Object, Relation or Both, ``tag`` the benchmark's finer kinds.
        chunk: Pairs scored at once.
    """

    def __init__(
        self,
        scorer: str | Sequence[str] = ("itc", "itm", "itc+itm"),
        by: str | Sequence[str] | None = ("collapsed_tag", "tag"),
        chunk: int = 256,
    ) -> None:
        self.scorers, self.chunk = scorers(scorer), chunk
        self.by = (by,) if isinstance(by, str) else tuple(by or ())

    def evaluate(self, model: Any, loader: Iterable[Batch]) -> dict[str, float]:
        """Score the four pairs of every example that the loaders of all processes yield, each its own share.

        Returns:
            Percentages: ``itm_text``, ``itm_image``, ``itm_group`` (with the scorer's name in front); where records
            tell ``extras[by]``, the same again for each value, e.g. ``itm_text_relation``; ``chance_text`` and so on.

        Raises:
            ValueError: If records do not show two images with two texts, there are none, a score is not a number, or
                the model lacks what a scorer needs.
        """
        with eval_mode(model):
            found = [self._score(model, batch) for batch in loader if len(batch)]
        everywhere = [one for process in all_gather_objects(found) for one in process]
        if not everywhere:
            raise ValueError("there is nothing to score: the loader yielded no examples.")
        tags = [tag for one in everywhere for tag in one[1]]
        sizes = sorted({one[2] for one in everywhere})
        results: dict[str, float] = {}
        for name in self.scorers:
            right = winoground_scores(torch.cat([one[0][name] for one in everywhere]))
            for kind, rows in right.items():
                results[f"{name}_{kind}"] = 100 * rows.double().mean().item()
            for place in range(len(self.by)):
                for tag in sorted({tag[place] for tag in tags if tag[place] is not None}, key=str):
                    of_tag = torch.tensor([one[place] == tag for one in tags])
                    for kind, rows in right.items():
                        key = f"{name}_{kind}_{str(tag).lower().replace(' ', '_')}"
                        results[key] = 100 * rows[of_tag].double().mean().item()
        results |= {f"chance_{kind}": value for kind, value in CHANCE.items()}
        self._log(results, len(tags), sizes)
        return results

    def _score(self, model: Any, batch: Batch) -> tuple[dict[str, Tensor], list[tuple[Any, ...]], tuple[int, int]]:
        """``[E, 2, 2]`` scores (caption, image) by each scorer, tags by ``by``, the size of the images."""
        check_examples(batch)
        tags = (
            list(zip(*(extras_of_texts(batch, key) for key in self.by), strict=True)) if self.by else [()] * len(batch)
        )
        whole = replace(batch, boxes_xyxy=None, has_box=None, patch_mask=None).to(model.device)
        contexts = to_cpu(model.encode_context(whole))
        texts = to_cpu(model.encode_text(whole.text_ids, whole.text_mask))
        pairs = torch.arange(len(batch.owner))
        scores = {
            name: score(model, contexts, pairs, texts, batch.text_owner.cpu(), self.chunk).view(-1, 2, 2)
            for name, score in self.scorers.items()
        }
        return scores, tags[::2], tuple(batch.pixels.shape[-2:])

    def _log(self, results: dict[str, float], examples: int, sizes: Sequence[tuple[int, int]]) -> None:
        shown = ", ".join(f"{height}x{width}" for height, width in sizes)
        for name in self.scorers:
            found = ", ".join(f"{kind} {results[f'{name}_{kind}']:.2f}" for kind in CHANCE)
            chance = ", ".join(f"{kind} {value:.2f}" for kind, value in CHANCE.items())
            print_log(
                f"Winoground, {examples} examples at {shown} pixels, scored by {name}: {found} %. Right means a "
                f"score that is higher, not equal. Random scores would get {chance} %.",
                logger="current",
            )


def winoground_scores(scores: Tensor) -> dict[str, Tensor]:
    """Which examples are right.

    Args:
        scores: ``[E, 2, 2]``, of each caption (second axis) with each image (last axis); caption i belongs to image i.

    Returns:
        ``text``, ``image`` and ``group``, ``[E]`` bool each.

    Raises:
        ValueError: If a score is not a number.
    """
    if torch.isnan(scores).any():
        raise ValueError("some scores are not a number (NaN): the model has diverged, or its weights were not loaded.")
    right, other = scores.diagonal(dim1=1, dim2=2), scores.flip(1).diagonal(dim1=1, dim2=2)
    text = (right > other).all(dim=1)  # the other caption of the same image
    image = (right > scores.flip(2).diagonal(dim1=1, dim2=2)).all(dim=1)  # the other image of the same caption
    return {"text": text, "image": image, "group": text & image}


def check_examples(batch: Batch) -> None:
    """Refuse a batch that is not made of two texts about two images each.

    Raises:
        ValueError: If it is not.
    """
    texts = len(batch)
    fits = batch.text_owner is not None and batch.owner is not None and texts % 2 == 0
    fits = fits and batch.text_owner.tolist() == [text for text in range(texts) for _ in range(2)]
    if fits:
        first, second = batch.owner.view(-1, 2, 2).unbind(dim=1)
        fits = torch.equal(first, second) and bool((first[:, 0] != first[:, 1]).all())
    if not fits:
        place = batch.where[0] if batch.where else "this batch"
        raise ValueError(
            f"Winoground needs records that show two images and have two texts, but {place} (and so on) do not: each "
            "text must read both images of its record, in the same order."
        )
