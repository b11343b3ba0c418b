"""Phrase grounding: overlap of predicted and true boxes of phrases."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Any

import torch
from mmengine.logging import print_log
from torch import Tensor

from x2vlm.boxes import cxcywh_to_xyxy
from x2vlm.data.batch import Batch
from x2vlm.distributed import all_gather_lists
from x2vlm.evaluation.metrics.average_precision import average_precision
from x2vlm.evaluation.metrics.box_overlap import CONVENTIONS, accuracy_at, box_ious, mean_iou
from x2vlm.evaluation.metrics.percentages import percent
from x2vlm.evaluation.record_fields import extras_by_text
from x2vlm.evaluation.required_objective import require_objective
from x2vlm.evaluation.saved_predictions import Line, lines_of_texts, output_path, rounded, save_lines
from x2vlm.models.eval_mode import eval_mode
from x2vlm.models.outputs import EncodedBatch
from x2vlm.registry import METRICS


@METRICS.register_module()
class GroundingMetric:
    """Share of phrases whose predicted box has an IoU of at least ``threshold``, and the mean IoU, in percent.

    Every pair with a box counts once; captions of whole images do not count. The baseline predicts one box for every
    phrase, the mean of the true boxes, which needs no image.

    Args:
        threshold: IoU from which a box is correct.
        convention: ``"continuous"``, or ``"inclusive"`` for the published count of pixels, which needs the image sizes
            ``extras["image_size"]``; see :func:`~x2vlm.evaluation.metrics.box_overlap.box_ious`.
        average_box_cxcywh: The baseline's box, normalised, for instance the mean of the training set; by default the
            mean of the evaluated boxes, which favours the baseline.
        save_to: File for the predictions, one JSON object a line, in the order of the data set: ``where`` (the record),
            ``text``, ``box_xyxy`` and ``true_box_xyxy`` (0..1 of the image), ``iou``, ``kind`` (where records have
            kinds) and ``confidence`` (with objective ``itm``). Relative to the work folder; each evaluation overwrites
            it.
        save_extras: Keys of ``extras`` that are written too, such as ``ref_id``.
        work_dir: The run's work folder.
    """

    def __init__(
        self,
        threshold: float = 0.5,
        convention: str = "continuous",
        average_box_cxcywh: Sequence[float] | None = None,
        save_to: str | PathLike | None = None,
        save_extras: Sequence[str] = (),
        work_dir: str | PathLike | None = None,
    ) -> None:
        if convention not in CONVENTIONS:
            raise ValueError(f"convention is {convention!r}. Accepted: {', '.join(CONVENTIONS)}.")
        if not 0 < threshold <= 1:
            raise ValueError(f"threshold is {threshold}; an IoU is in 0..1.")
        self.threshold, self.convention = threshold, convention
        self.average_box = None if average_box_cxcywh is None else torch.tensor(tuple(average_box_cxcywh)).float()
        if self.average_box is not None and self.average_box.shape != (4,):
            raise ValueError(f"average_box_cxcywh is {average_box_cxcywh}; expected four numbers.")
        self.save_to, self.save_extras = output_path(save_to, work_dir), tuple(save_extras)

    def called_methods(self, objectives: Iterable[str]) -> dict[str, tuple[str, ...]]:
        """What an evaluation calls of the model's objectives, by their names."""
        return {"bbox": ("box",)} | ({"itm": ("score",)} if "itm" in objectives else {})

    def evaluate(self, model: Any, loader: Iterable[Batch]) -> dict[str, float]:
        """Ground every phrase that the loaders of all processes yield, each its own share.

        Returns:
            Percentages: ``accuracy_at_0.5`` (named after the threshold), ``mean_iou``; ``average_box_accuracy`` and
            ``average_box_mean_iou``, those of the baseline; with ``extras["kinds"]`` of the records, both accuracies
            for each kind, e.g. ``accuracy_at_0.5_object``; with objective ``itm``, how well its matching probability
            separates correct boxes from wrong ones: see :func:`confidence_summary`.

        Raises:
            ValueError: If the model predicts no boxes, there is no phrase with a box, or sizes are needed and missing.
        """
        require_objective(model, "bbox", "GroundingMetric")
        with eval_mode(model):
            local = [self._ground(model, batch.to(model.device)) for batch in loader if len(batch)]
        if self.save_to is not None:
            save_lines(self.save_to, [line for _, lines in local for line in lines])
        batches = all_gather_lists([phrases for phrases, _ in local])
        if not any(len(batch.true) for batch in batches):
            raise ValueError("there is nothing to ground: no text of this evaluation has a box of its own.")
        predicted, true, sizes, confidence = (
            torch.cat([getattr(batch, name) for batch in batches])
            for name in ("predicted", "true", "sizes", "confidence")
        )
        average = (true.mean(dim=0) if self.average_box is None else cxcywh_to_xyxy(self.average_box)).expand_as(true)
        overlaps = {
            "": box_ious(predicted, true, self.convention, sizes),
            "average_box_": box_ious(average, true, self.convention, sizes),
        }
        results = self._summary(overlaps, [kind for batch in batches for kind in batch.kinds])
        if "itm" in model.objectives:
            results |= confidence_summary(confidence, overlaps[""] >= self.threshold)
        self._log(results, len(true))
        return results

    def _ground(self, model: Any, batch: Batch) -> "tuple[_GroundedPhrases, list[Line]]":
        if batch.has_box is None or batch.boxes_xyxy is None:
            raise ValueError("grounding needs records with boxes, but these have none (plain text?).")
        has_box = batch.has_box.cpu()
        if not has_box.any():
            nothing = _GroundedPhrases(torch.zeros(0, 4), torch.zeros(0, 4), torch.zeros(0, 2), torch.zeros(0), [])
            return nothing, [(where, None) for where in batch.where]
        encoded = model.encode(batch)
        objective = model.objectives["bbox"]
        (phrases,) = model.read(objective.requests(encoded))
        predicted = cxcywh_to_xyxy(objective.box(phrases.states).float()).cpu()
        confidence = match_confidence(model, encoded).cpu() if "itm" in model.objectives else None
        kinds, sizes = extras_by_text(batch, "kinds"), self._sizes(batch)
        lines = [] if self.save_to is None else self._lines(batch, predicted, sizes, confidence, kinds)
        confidence = torch.zeros(len(has_box)) if confidence is None else confidence
        tensors = predicted, batch.boxes_xyxy.float().cpu(), sizes, confidence
        kinds = [kind for kind, keep in zip(kinds, has_box.tolist(), strict=True) if keep]
        return _GroundedPhrases(*(tensor[has_box] for tensor in tensors), kinds), lines

    def _lines(
        self, batch: Batch, predicted: Tensor, sizes: Tensor, confidence: Tensor | None, kinds: list[str | None]
    ) -> list[Line]:
        true = batch.boxes_xyxy.float().cpu()
        fields = {
            "box_xyxy": [rounded(box) for box in predicted.tolist()],
            "true_box_xyxy": [rounded(box) for box in true.tolist()],
            "iou": rounded(box_ious(predicted, true, self.convention, sizes).tolist()),
        }
        fields |= {} if confidence is None else {"confidence": rounded(confidence.tolist())}
        fields |= {"kind": kinds} if any(kind is not None for kind in kinds) else {}
        return lines_of_texts(batch, fields, self.save_extras, keep=batch.has_box.tolist())

    def _sizes(self, batch: Batch) -> Tensor:
        if self.convention != "inclusive":
            return torch.ones(len(batch), 2)
        missing = [extras for extras in batch.extras if "image_size" not in extras]
        if missing or not batch.extras:
            raise ValueError(
                "convention 'inclusive' counts pixels of the original image, but a record has no extras['image_size'] "
                "(height, width). LoadImage writes it; add it, or use convention='continuous'."
            )
        return torch.tensor([batch.extras[owner]["image_size"] for owner in batch.owner.tolist()]).float()

    def _summary(self, overlaps: dict[str, Tensor], kinds: list[str | None]) -> dict[str, float]:
        accuracy = {"": f"accuracy_at_{self.threshold:g}", "average_box_": "average_box_accuracy"}
        results = {}
        for prefix, ious in overlaps.items():
            results[accuracy[prefix]] = 100 * accuracy_at(ious, self.threshold)
            results[f"{prefix}mean_iou"] = 100 * mean_iou(ious)
        for kind in sorted({kind for kind in kinds if kind is not None}):
            of_kind = torch.tensor([other == kind for other in kinds])
            for prefix, ious in overlaps.items():
                results[f"{accuracy[prefix]}_{kind}"] = 100 * accuracy_at(ious[of_kind], self.threshold)
        return results

    def _log(self, results: dict[str, float], phrases: int) -> None:
        print_log(
            f"grounding of {phrases} phrases: one predicted box each, correct if its IoU with the true box "
            f"({self.convention}) is at least {self.threshold:g}. Always predicting the average box would be correct "
            f"for {results['average_box_accuracy']:.2f} %.",
            logger="current",
        )


@dataclass(frozen=True)
class _GroundedPhrases:
    """Predicted and true boxes, image sizes, confidences and kinds of the ``P`` pairs that have a box."""

    predicted: Tensor
    true: Tensor
    sizes: Tensor
    confidence: Tensor
    kinds: list[str | None]


def match_confidence(model: Any, encoded: EncodedBatch) -> Tensor:
    """Confidence in a predicted box: the matching probability (``itm``) of the phrase and the whole image.

    Not of the region, which would leak the true box.

    Returns:
        ``[B]`` in 0..1.
    """
    states = model.fuse(encoded.full_context, encoded.text, at=0)
    return model.objectives["itm"].score(states).float().softmax(dim=-1)[:, 1]


def confidence_summary(confidence: Tensor, correct: Tensor) -> dict[str, float]:
    """Mean confidence of correct and wrong boxes, and average precision by confidence.

    Args:
        confidence: ``[P]`` in 0..1.
        correct: ``[P]`` bool.

    Returns:
        Percentages: ``confidence_right`` and ``confidence_wrong``, the mean confidence of each; ``confidence_ap``, the
        average precision of the boxes ranked by confidence, which equals the accuracy if confidence is uninformative.
        Means of nothing are left out.
    """
    values = {"confidence_right": confidence[correct], "confidence_wrong": confidence[~correct]}
    results = {name: percent(some.tolist()) for name, some in values.items() if len(some)}
    return results | ({"confidence_ap": 100 * average_precision(confidence, correct)} if correct.any() else {})
