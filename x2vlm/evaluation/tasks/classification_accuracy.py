"""Classification accuracy, and correlations of predicted numbers.

Shape letters: B texts (or images), C classes.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from os import PathLike
from typing import Any

import torch
from mmengine.logging import print_log
from torch import Tensor

from x2vlm.building import suggestion
from x2vlm.constants import IGNORE_INDEX
from x2vlm.data.batch import Batch
from x2vlm.distributed import all_gather_lists
from x2vlm.evaluation.class_predictions import (
    Predictions,
    all_correct,
    class_predictions,
    concat_predictions,
    nlvr2_sentence,
    number_predictions,
)
from x2vlm.evaluation.metrics.agreement import CLASS_METRICS, pearson, spearman
from x2vlm.evaluation.metrics.percentages import percent, percent_by_group
from x2vlm.evaluation.record_fields import extras_of_texts
from x2vlm.evaluation.required_objective import require_objective
from x2vlm.evaluation.saved_predictions import Line, lines_of_texts, output_path, rounded, save_lines
from x2vlm.models.eval_mode import eval_mode
from x2vlm.registry import METRICS

UNKNOWN = ("wrong", "left_out")


@METRICS.register_module()
class ClassificationMetric:
    """Accuracy in percent, beside that of the most frequent class; correlations where numbers are predicted.

    For every task of objective ``classification``: NLVR2 and MaRVL, visual entailment, question answering with a
    fixed list of answers, GLUE, ImageNet.

    Args:
        objective: Name of the objective that predicts.
        at: The k of top-k accuracies. A k that is not below the number of classes is left out.
        also: More metrics of the predicted classes: ``f1`` (of class 1) and ``matthews``.
        by: A key of ``extras``, usually the language; each of its values gets an accuracy, and their arithmetic mean is
            reported.
        consistency: A key of ``extras`` that names the sentence, or ``"text"`` for the text itself: reports the
            share of sentences that are correct for every image. The identifiers of NLVR2 (``dev-850-0-1``: split, set,
            image pair, sentence) are reduced to the sentence of their set.
        unknown: Texts without a label (-100), such as a question whose answer is not in the list: ``wrong`` counts them
            as wrong, since they are part of the task; ``left_out`` skips them.
        save_to: File for the predictions, one JSON object a line, in the order of the data set: ``where`` (the record),
            ``text``, ``predicted`` (number of the class, or the number), ``label`` (null without one) and, for classes,
            ``probability`` and ``correct``. Relative to the work folder; each evaluation overwrites it. A test set
            without labels is then only predicted.
        save_extras: Keys of ``extras`` that are written too, such as ``identifier``.
        work_dir: The run's work folder.
    """

    def __init__(
        self,
        objective: str = "classification",
        at: Sequence[int] = (1, 5),
        also: Sequence[str] = (),
        by: str | None = "language",
        consistency: str | None = None,
        unknown: str = "wrong",
        save_to: str | PathLike | None = None,
        save_extras: Sequence[str] = (),
        work_dir: str | PathLike | None = None,
    ) -> None:
        if not at or min(at) < 1:
            raise ValueError(f"at is {tuple(at)}; expected counts from 1.")
        options = [("unknown", unknown, UNKNOWN), *(("also", metric, CLASS_METRICS) for metric in also)]
        for name, value, accepted in options:
            if value not in accepted:
                near = suggestion(value, accepted)
                raise ValueError(f"{name}: {value!r} is not known.{near} Accepted: {', '.join(accepted)}.")
        self.objective, self.at, self.also = objective, tuple(sorted({1, *at})), tuple(also)
        self.by, self.consistency, self.unknown = by, consistency, unknown
        self.save_to, self.save_extras = output_path(save_to, work_dir), tuple(save_extras)

    def called_methods(self, objectives: Iterable[str]) -> dict[str, tuple[str, ...]]:
        """What an evaluation calls of the model's objectives, by their names."""
        return {self.objective: ("logits",)}

    def evaluate(self, model: Any, loader: Iterable[Batch]) -> dict[str, float]:
        """Classify everything that the loaders of all processes yield, each its own share.

        Returns:
            For classes, percentages: ``accuracy``, ``accuracy_top5``; ``majority_accuracy``, of always predicting the
            most frequent class; ``weighted_accuracy``, the mean weight of the predicted class, where several are
            correct; ``consistency``; ``f1``, ``matthews``; ``accuracy_de`` and so on for each value of
            ``by``, with their mean as ``accuracy_mean_over_language``. For numbers: ``pearson`` and ``spearman`` times
            100, ``mse``, and ``mean_guess_mse``, of always predicting the mean. Nothing where predictions are saved
            and there is no label.

        Raises:
            ValueError: If the model has no such objective, there is nothing to classify, or scores are not numbers.
        """
        require_objective(model, self.objective, "ClassificationMetric")
        with eval_mode(model):
            local = [self._predict(model, batch) for batch in loader if len(batch)]
        batches = all_gather_lists([predictions for predictions, _ in local])
        if not batches:
            raise ValueError("there is nothing to classify: the loader yielded no records.")
        if self.save_to is not None:
            save_lines(self.save_to, [line for _, lines in local for line in lines])
        predictions = concat_predictions(batches)
        if self.unknown == "left_out" or predictions.class_counts is None:
            predictions = predictions.select_labelled()
        if not predictions.labelled.any():
            if self.save_to is not None:
                return {}
            raise ValueError("there is nothing to classify: no text of this evaluation has a label.")
        if predictions.class_counts is None:
            return self._correlations(predictions)
        return self._accuracies(predictions)

    def _predict(self, model: Any, batch: Batch) -> tuple[Predictions, list[Line]]:
        if batch.labels is None and batch.label_weights is None:
            if self.save_to is None:
                raise ValueError(
                    "classification needs Batch.labels or Batch.label_weights, but this batch has neither."
                )
            batch = replace(batch, labels=torch.full((len(batch),), IGNORE_INDEX))
        groups = [None] * len(batch) if self.by is None else extras_of_texts(batch, self.by)
        sentences = [None] * len(batch) if self.consistency is None else self._sentences(batch)
        objective, encoded = model.objectives[self.objective], model.encode(batch.to(model.device))
        scores = objective.logits(encoded, model.read(objective.requests(encoded))).float().cpu()
        if scores.shape[1] == 1:
            predictions = number_predictions(scores[:, 0], batch.labels.float().cpu())
        else:
            labels, weights = (None if x is None else x.cpu() for x in (batch.labels, batch.label_weights))
            predictions = class_predictions(scores, labels, weights)
        lines = [] if self.save_to is None else self._lines(batch, predictions, scores)
        return replace(predictions, groups=groups, sentences=sentences), lines

    def _lines(self, batch: Batch, predictions: Predictions, scores: Tensor) -> list[Line]:
        labelled = predictions.labelled.tolist()
        labels = [label if known else None for label, known in zip(predictions.true.tolist(), labelled, strict=True)]
        fields = {"predicted": predictions.predicted.tolist(), "label": labels}
        if predictions.class_counts is not None:
            fields["probability"] = rounded(scores.softmax(dim=1).amax(dim=1).tolist())
            correct = (predictions.ranks == 0).tolist()
            fields["correct"] = [right if known else None for right, known in zip(correct, labelled, strict=True)]
        return lines_of_texts(batch, fields, self.save_extras)

    def _sentences(self, batch: Batch) -> list[Any]:
        if self.consistency == "text":
            return list(batch.texts)
        names = extras_of_texts(batch, self.consistency)
        if None in names:
            where = batch.where[names.index(None)] if batch.where else "a record"
            raise ValueError(
                f"consistency={self.consistency!r} groups texts by extras[{self.consistency!r}], but {where} does not "
                "have it. Let the data set pass it on, or use consistency='text'."
            )
        return [nlvr2_sentence(name) for name in names]

    def _accuracies(self, predictions: Predictions) -> dict[str, float]:
        num_classes = len(predictions.class_counts)
        hits = {k: predictions.ranks < k for k in self.at if k == 1 or k < num_classes}
        results = {"accuracy" if k == 1 else f"accuracy_top{k}": percent(hit.tolist()) for k, hit in hits.items()}
        results["majority_accuracy"] = 100 * predictions.class_counts.max().item() / len(predictions)
        if predictions.weights is not None:
            results["weighted_accuracy"] = 100 * predictions.weights.double().mean().item()
        for name in self.also:
            labelled = predictions.labelled
            results[name] = 100 * CLASS_METRICS[name](predictions.predicted[labelled], predictions.true[labelled])
        if self.consistency is not None:
            results["consistency"] = percent(all_correct(hits[1], predictions.sentences).tolist())
        by_group = percent_by_group(hits[1].tolist(), predictions.groups)
        results |= {f"accuracy_{group}": value for group, value in by_group.items()}
        if by_group:
            results[f"accuracy_mean_over_{self.by}"] = sum(by_group.values()) / len(by_group)
        self._log(results, predictions)
        return results

    def _correlations(self, predictions: Predictions) -> dict[str, float]:
        results = {
            "pearson": 100 * pearson(predictions.predicted, predictions.true),
            "spearman": 100 * spearman(predictions.predicted, predictions.true),
            "mse": (predictions.predicted - predictions.true).double().square().mean().item(),
            "mean_guess_mse": predictions.true.double().var(correction=0).item(),
        }
        print_log(
            f"regression of {len(predictions)} numbers: Pearson and Spearman (rank) correlation, times 100. Always "
            f"predicting the mean would have a mean squared error of {results['mean_guess_mse']:.4f} and no "
            "correlation.",
            logger="current",
        )
        return results

    def _log(self, results: dict[str, float], predictions: Predictions) -> None:
        unlabelled = int((~predictions.labelled).sum())
        print_log(
            f"classification of {len(predictions)} records among {len(predictions.class_counts)} classes"
            f"{f'; {unlabelled} without a label count as wrong' if unlabelled else ''}. Always predicting the most "
            f"frequent class would be correct for {results['majority_accuracy']:.2f} %.",
            logger="current",
        )
