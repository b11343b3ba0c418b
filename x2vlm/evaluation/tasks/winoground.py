"""Winoground: matching two images with two captions of the same words in another order.

Shape letters: E examples, P pairs.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import torch
from mmengine.logging import print_log
from torch import Tensor

from x2vlm.data.batch import Batch
from x2vlm.distributed import all_gather_lists
from x2vlm.evaluation.metrics.percentages import percent, percent_by_group
from x2vlm.evaluation.record_fields import extras_of_texts
from x2vlm.evaluation.scorers import scorers
from x2vlm.gallery.score_check import check_not_nan
from x2vlm.models.eval_mode import eval_mode
from x2vlm.models.join_outputs import to_cpu
from x2vlm.registry import METRICS

CHANCE = {"text": 100 / 4, "image": 100 / 4, "group": 100 / 6}


@METRICS.register_module()
class WinogroundMetric:
    """Text, image and group score (arXiv:2204.03162), in percent, for each scorer.

    Text: for both images the correct caption scores higher than the other. Image: for both captions the correct image
    does. Group: both hold. An equal score is not higher. Random scores get 25, 25 and 16.67.

    It takes batches in which every record has two images and two texts, the first of the first image
    (``Sample.pixels`` ``[2, 3, H, W]``, ``num_contexts=2``, two ``texts``). ``E`` records make ``2E`` contexts, ``2E``
    texts and ``4E`` pairs: ``text_owner`` is 0, 0, 1, 1, 2, 2, 3, 3, ... and ``owner`` 0, 1, 0, 1, 2, 3, 2, 3, ...

    Args:
        scorer: Names of scorers, one or several: ``itc``, ``itm``, ``itc+itm``; see ``x2vlm.evaluation.scorers``.
        by: Keys of ``extras``; each value of one gets scores of its own. ``collapsed_tag`` is Object, Relation or Both,
            ``tag`` the benchmark's finer kinds.
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
            Percentages: ``itm_text``, ``itm_image``, ``itm_group`` (prefixed by the scorer's name); the same for
            each value of ``extras[by]``, e.g. ``itm_text_relation``; ``chance_text`` and so on.

        Raises:
            ValueError: If records do not have two images with two texts, there are none, a score is not a number, or
                the model lacks what a scorer needs.
        """
        with eval_mode(model):
            local = [self._score(model, batch) for batch in loader if len(batch)]
        batches = all_gather_lists(local)
        if not batches:
            raise ValueError("there is nothing to score: the loader yielded no examples.")
        tags = [tag for _, batch_tags, _ in batches for tag in batch_tags]
        results: dict[str, float] = {}
        for name in self.scorers:
            correct = winoground_scores(torch.cat([scores[name] for scores, _, _ in batches]))
            for kind, values in correct.items():
                results[f"{name}_{kind}"] = percent(values.tolist())
                for key in range(len(self.by)):
                    by_tag = percent_by_group(values.tolist(), [tag[key] for tag in tags])
                    results |= {f"{name}_{kind}_{_as_name(tag)}": value for tag, value in by_tag.items()}
        results |= {f"chance_{kind}": value for kind, value in CHANCE.items()}
        self._log(results, len(tags), sorted({size for *_, size in batches}))
        return results

    def _score(self, model: Any, batch: Batch) -> tuple[dict[str, Tensor], list[tuple[Any, ...]], tuple[int, int]]:
        """``[E, 2, 2]`` scores (caption, image) by each scorer, tags by ``by``, and the size of the images."""
        check_examples(batch)
        columns = [extras_of_texts(batch, key) for key in self.by]
        tags = list(zip(*columns, strict=True)) if columns else [()] * len(batch)
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
        pixels = ", ".join(f"{height}x{width}" for height, width in sizes)
        for name in self.scorers:
            scores = ", ".join(f"{kind} {results[f'{name}_{kind}']:.2f}" for kind in CHANCE)
            chance = ", ".join(f"{kind} {value:.2f}" for kind, value in CHANCE.items())
            print_log(
                f"Winoground, {examples} examples at {pixels} pixels, scored by {name}: {scores} %. Correct means a "
                f"score that is higher, not equal. Random scores would get {chance} %.",
                logger="current",
            )


def _as_name(tag: Any) -> str:
    return str(tag).lower().replace(" ", "_")


def winoground_scores(scores: Tensor) -> dict[str, Tensor]:
    """Text, image and group correctness of each example.

    Args:
        scores: ``[E, 2, 2]``, of each caption (second axis) with each image (last axis); caption i belongs to image i.

    Returns:
        ``text``, ``image`` and ``group``, ``[E]`` bool each.

    Raises:
        ValueError: If a score is not a number.
    """
    check_not_nan(scores)
    matching = scores.diagonal(dim1=1, dim2=2)
    text = (matching > scores.flip(1).diagonal(dim1=1, dim2=2)).all(dim=1)  # the other caption of the same image
    image = (matching > scores.flip(2).diagonal(dim1=1, dim2=2)).all(dim=1)  # the other image of the same caption
    return {"text": text, "image": image, "group": text & image}


def check_examples(batch: Batch) -> None:
    """Refuse a batch whose records are not of two images and two texts that read both.

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
        where = batch.where[0] if batch.where else "this batch"
        raise ValueError(
            f"Winoground needs records of two images and two texts, but {where} (and so on) do not have them: each "
            "text must read both images of its record, in the same order."
        )
