"""SugarCrepe, ARO, VL-CheckList: does the true caption score higher than those that nearly are?

Shape letters: B texts, P pairs.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from mmengine.logging import print_log

from x2vlm.data.batch import Batch
from x2vlm.distributed import all_gather_objects
from x2vlm.evaluation.record_fields import extras_of_texts, record_of_texts
from x2vlm.evaluation.scorers import scorers
from x2vlm.gallery.encode_in_memory import to_cpu
from x2vlm.models.eval_mode import eval_mode
from x2vlm.registry import METRICS


class Judged(NamedTuple):
    """One image: by each scorer whether its caption scored highest, how many texts there were, and of which kind."""

    right: dict[str, bool]
    texts: int
    kinds: tuple[Any, ...]


@METRICS.register_module()
class HardNegativeMetric:
    """Share of images whose true caption scores higher than every wrong one, by each of some named scorers.

    An equal score is not higher. Records have one image and several texts, the first of them true
    (:class:`~x2vlm.data.transforms.texts.answer_choices.PickHardNegatives`).

    Args:
        scorer: Names of scorers, one or several: ``itc``, ``itm``, ``itc+itm``; see ``x2vlm.evaluation.scorers``.
        by: Keys of ``extras``; each of their values gets an accuracy, and their plain mean is given.
        least: Values of ``by`` with fewer images are left out of that mean (ARO's attributes: 25).
        chunk: Pairs scored at once.
    """

    def __init__(
        self,
        scorer: str | Sequence[str] = ("itc", "itm", "itc+itm"),
        by: Sequence[str] = ("category",),
        least: int = 1,
        chunk: int = 256,
    ) -> None:
        self.scorers, self.by, self.least, self.chunk = scorers(scorer), tuple(by), least, chunk

    def evaluate(self, model: Any, loader: Iterable[Batch]) -> dict[str, float]:
        """Score every image that the loaders of all processes yield, each its own share.

        Returns:
            Percentages: ``itm_accuracy`` (with the scorer's name in front), ``itm_accuracy_swap_att`` and so on,
            ``itm_accuracy_mean_over_category``; ``chance_accuracy`` of random scores.

        Raises:
            ValueError: If there is nothing to score, a record has one text only, a score is not a number, or the model
                lacks what a scorer needs.
        """
        found, sizes = [], set()
        with eval_mode(model):
            for batch in loader:
                if len(batch):
                    sizes.add(tuple(batch.pixels.shape[-2:]))
                    found += self._score(model, batch)
        everywhere = [one for process in all_gather_objects(found) for one in process]
        if not everywhere:
            raise ValueError("there is nothing to score: the loader yielded no images.")
        results = self._numbers(everywhere)
        self._log(results, len(everywhere), sizes)
        return results

    def _score(self, model: Any, batch: Batch) -> list[Judged]:
        records = torch.tensor(record_of_texts(batch))
        counts = torch.bincount(records)
        if int(counts.min()) < 2:
            raise ValueError(f"{batch.where[0]} (and so on): expected a caption and one or more that are wrong.")
        whole = replace(batch, boxes_xyxy=None, has_box=None, patch_mask=None).to(model.device)
        contexts = to_cpu(model.encode_context(whole))
        texts = to_cpu(model.encode_text(whole.text_ids, whole.text_mask))
        every = torch.arange(len(batch))
        right = {
            name: first_is_highest(score(model, contexts, every, texts, every, self.chunk), counts.tolist())
            for name, score in self.scorers.items()
        }
        first = (counts.cumsum(0) - counts).tolist()
        kinds = [extras_of_texts(batch, key) for key in self.by]
        return [
            Judged({name: made[i] for name, made in right.items()}, int(counts[i]), tuple(kind[at] for kind in kinds))
            for i, at in enumerate(first)
        ]

    def _numbers(self, judged: Sequence[Judged]) -> dict[str, float]:
        results: dict[str, float] = {}
        for name in self.scorers:
            results[f"{name}_accuracy"] = _percent([one.right[name] for one in judged])
            for place, key in enumerate(self.by):
                means = []
                for kind in sorted({one.kinds[place] for one in judged if one.kinds[place] is not None}, key=str):
                    of_kind = [one.right[name] for one in judged if one.kinds[place] == kind]
                    if len(of_kind) < self.least:
                        continue
                    means.append(_percent(of_kind))
                    results[f"{name}_accuracy_{str(kind).replace(' ', '_')}"] = means[-1]
                if means:
                    results[f"{name}_accuracy_mean_over_{key}"] = sum(means) / len(means)
        results["chance_accuracy"] = 100 * sum(1 / one.texts for one in judged) / len(judged)
        return results

    def _log(self, results: dict[str, float], images: int, sizes: set[tuple[int, int]]) -> None:
        shown = ", ".join(f"{height}x{width}" for height, width in sorted(sizes))
        for name in self.scorers:
            print_log(
                f"hard negatives, {images} images at {shown} pixels, scored by {name}: accuracy "
                f"{results[f'{name}_accuracy']:.2f} %; random scores would get {results['chance_accuracy']:.2f} %. "
                "Right means that the true caption scores higher, not equal.",
                logger="current",
            )


def first_is_highest(scores: torch.Tensor, counts: Sequence[int]) -> list[bool]:
    """For groups of ``counts`` scores one behind the other, whether the first of each is higher than all others.

    Args:
        scores: ``[P]``.
        counts: Scores of each group, 2 or more.

    Raises:
        ValueError: If a score is not a number.
    """
    if torch.isnan(scores).any():
        raise ValueError("some scores are not a number (NaN): the model has diverged, or its weights were not loaded.")
    return [bool(group[0] > group[1:].max()) for group in scores.split(list(counts))]


def _percent(values: Sequence[bool]) -> float:
    return 100 * sum(values) / len(values)
