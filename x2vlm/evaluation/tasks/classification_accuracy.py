"""Classification: how often is the likeliest class the right one?

Shape letters: B texts (or pictures), C classes.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import torch
from mmengine.logging import print_log
from torch import Tensor

from x2vlm.building import suggestion
from x2vlm.data.batch import Batch
from x2vlm.distributed import all_gather_objects
from x2vlm.evaluation.metrics.agreement import OF_CLASSES, pearson, spearman
from x2vlm.evaluation.predictions import (
    Predictions,
    all_right,
    joined,
    predictions_of_classes,
    predictions_of_numbers,
    sentence_of,
)
from x2vlm.evaluation.record_fields import extras_of_texts
from x2vlm.models.eval_mode import eval_mode
from x2vlm.registry import METRICS

UNKNOWN = ("wrong", "left_out")


@METRICS.register_module()
class ClassificationMetric:
    """Accuracy in percent, beside what the most frequent class would get; correlations where numbers are predicted.

    Serves every task of objective ``classification``: NLVR2 and MaRVL, visual entailment, question answering with a
    fixed list of answers, GLUE, ImageNet.

    Args:
        objective: Name of the objective whose scores are judged.
        at: The k of accuracies: the right class is among the k likeliest. Those that reach all classes are left out.
        also: More figures of the predicted classes: ``f1`` (of class 1) and ``matthews``.
        by: A key of ``extras``, usually the language; where records tell it, each of its values gets an accuracy, and
            their plain mean is given.
        consistency: A key of ``extras`` that names the sentence, or ``"text"`` for the text itself: gives the share of
            sentences that are right about every picture. The identifiers of NLVR2 (``dev-850-0-1``: split, set, pair of
            pictures, sentence) are understood as the sentence of their set.
        unknown: Texts without a label (-100), say a question whose answer is not in the list: ``wrong`` counts them as
            wrong, since the task asks them all the same; ``left_out`` passes them over.
    """

    def __init__(
        self,
        objective: str = "classification",
        at: Sequence[int] = (1, 5),
        also: Sequence[str] = (),
        by: str | None = "language",
        consistency: str | None = None,
        unknown: str = "wrong",
    ) -> None:
        if not at or min(at) < 1:
            raise ValueError(f"at is {tuple(at)}; expected counts from 1.")
        for name, value, known in (("unknown", unknown, UNKNOWN), *(("also", one, OF_CLASSES) for one in also)):
            if value not in known:
                raise ValueError(
                    f"{name}: {value!r} is not known.{suggestion(value, known)} Accepted: {', '.join(known)}."
                )
        self.objective, self.at, self.also = objective, tuple(sorted({1, *at})), tuple(also)
        self.by, self.consistency, self.unknown = by, consistency, unknown

    def evaluate(self, model: Any, loader: Iterable[Batch]) -> dict[str, float]:
        """Classify everything that the loaders of all processes yield, each its own share.

        Returns:
            For classes, percentages: ``accuracy``, ``accuracy_top5``; ``majority_accuracy``, of answering always with
            the class that is right most often; ``weighted_accuracy``, the mean weight of the predicted class, where
            several are right; ``consistency``; ``f1``, ``matthews``; ``accuracy_de`` and so on for each value of
            ``by``, with their mean as ``accuracy_mean_over_language``. For numbers: ``pearson`` and ``spearman`` times
            100, ``mse``, and ``mean_guess_mse``, of answering always with the mean.

        Raises:
            ValueError: If the model has no such objective, there is nothing to classify, or scores are not numbers.
        """
        if self.objective not in model.objectives:
            raise ValueError(
                f"ClassificationMetric needs objective '{self.objective}', but this model's objectives are: "
                f"{', '.join(model.objectives) or 'none'}. Add it, or leave this evaluation out."
            )
        with eval_mode(model):
            found = [self._judge(model, batch) for batch in loader if len(batch)]
        everywhere = [one for process in all_gather_objects(found) for one in process]
        if not everywhere:
            raise ValueError("there is nothing to classify: the loader yielded no records.")
        everything = joined(everywhere)
        if self.unknown == "left_out" or everything.right_of_class is None:
            everything = everything.only_known()
        if not everything.known.any():
            raise ValueError("there is nothing to classify: no text of this evaluation has a label.")
        if everything.right_of_class is None:
            return self._correlations(everything)
        return self._accuracies(everything)

    def _judge(self, model: Any, batch: Batch) -> Predictions:
        if batch.labels is None and batch.label_weights is None:
            raise ValueError("classification needs Batch.labels or Batch.label_weights, but this batch has neither.")
        groups = [None] * len(batch) if self.by is None else extras_of_texts(batch, self.by)
        sentences = [None] * len(batch) if self.consistency is None else self._sentences(batch)
        objective, encoded = model.objectives[self.objective], model.encode(batch.to(model.device))
        scores = objective.logits(encoded, model.read(objective.requests(encoded))).float().cpu()
        if scores.shape[1] == 1:
            made = predictions_of_numbers(scores[:, 0], batch.labels.float().cpu())
        else:
            labels, weights = (None if x is None else x.cpu() for x in (batch.labels, batch.label_weights))
            made = predictions_of_classes(scores, labels, weights)
        return replace(made, groups=groups, sentences=sentences)

    def _sentences(self, batch: Batch) -> list[Any]:
        if self.consistency == "text":
            return list(batch.texts)
        names = extras_of_texts(batch, self.consistency)
        if None in names:
            place = batch.where[names.index(None)] if batch.where else "a record"
            raise ValueError(
                f"consistency={self.consistency!r} groups texts by extras[{self.consistency!r}], but {place} does not "
                "tell it. Let the data set pass it on, or use consistency='text'."
            )
        return [sentence_of(name) for name in names]

    def _accuracies(self, made: Predictions) -> dict[str, float]:
        hits = {k: made.places < k for k in self.at if k == 1 or k < len(made.right_of_class)}
        results = {"accuracy" if k == 1 else f"accuracy_top{k}": percent(hit) for k, hit in hits.items()}
        results["majority_accuracy"] = 100 * made.right_of_class.max().item() / len(made)
        if made.weights is not None:
            results["weighted_accuracy"] = 100 * made.weights.double().mean().item()
        for name in self.also:
            results[name] = 100 * OF_CLASSES[name](made.predicted[made.known], made.true[made.known])
        if self.consistency is not None:
            results["consistency"] = percent(all_right(hits[1], made.sentences))
        groups = sorted({group for group in made.groups if group is not None}, key=str)
        each = [percent(hits[1][torch.tensor([one == group for one in made.groups])]) for group in groups]
        results |= {f"accuracy_{group}": value for group, value in zip(groups, each, strict=True)}
        if groups:
            results[f"accuracy_mean_over_{self.by}"] = sum(each) / len(each)
        self._log(results, made)
        return results

    def _correlations(self, made: Predictions) -> dict[str, float]:
        results = {
            "pearson": 100 * pearson(made.predicted, made.true),
            "spearman": 100 * spearman(made.predicted, made.true),
            "mse": (made.predicted - made.true).double().square().mean().item(),
            "mean_guess_mse": made.true.double().var(correction=0).item(),
        }
        print_log(
            f"regression of {len(made)} numbers: correlation (Pearson) and correlation of ranks (Spearman), times 100. "
            f"Answering always with the mean would err by {results['mean_guess_mse']:.4f} (mean squared) and correlate "
            "with nothing.",
            logger="current",
        )
        return results

    def _log(self, results: dict[str, float], made: Predictions) -> None:
        lacking = int((~made.known).sum())
        print_log(
            f"classification of {len(made)} records among {len(made.right_of_class)} classes, by the likeliest class"
            f"{f'; {lacking} without a label count as wrong' if lacking else ''}. Answering always with the most "
            f"frequent class would be right for {results['majority_accuracy']:.2f} %.",
            logger="current",
        )


def percent(hits: Tensor) -> float:
    """Share of a bool tensor that is True, in percent."""
    return 100 * hits.double().mean().item()
